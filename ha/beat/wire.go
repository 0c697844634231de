package beat

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"time"
)

// Bounds of a datagram.
const (
	MaxPaths  = 8   // between two nodes
	MaxGroups = 128 // that two nodes share
	MaxSize   = headSize + 1 + MaxPaths*pathSize + 1 + MaxGroups*groupSize + macSize
)

// The form of a datagram: all numbers are big-endian, the MAC (HMAC-SHA256, RFC 2104) is over everything before it.
//
//	magic 4, version 1, flags 1, path 1, sender 8, boot 16, sequence 8, echo (boot 16, sequence 8)
//	paths: count 1, of each: path 1, age 2
//	groups: count 1, of each: id 8, role 1, flags 1, skew 1, reasons 2, released 8, answered 8
//	MAC 32
const (
	magic     = 0x6b764842 // "kvHB"
	version   = 1
	headSize  = 4 + 1 + 1 + 1 + 8 + bootSize + 8 + bootSize + 8
	bootSize  = 16
	pathSize  = 3
	groupSize = 8 + 1 + 1 + 1 + 2 + 8 + 8
	macSize   = sha256.Size

	flagTick       = 1 << 0
	flagRestarting = 1 << 1

	groupPreempt  = 1 << 0
	groupDeclined = 1 << 1
	groupGateway  = 1 << 2
)

// NodeID names the sender of a datagram: it finds the key.
type NodeID [8]byte

// GroupID names a group.
type GroupID [8]byte

// IDOf gives the identifier of a node by its public key.
func IDOf(public []byte) (id NodeID) { return NodeID(shortHash("kvmha node ", public)) }

// GroupOf gives the identifier of a group by its name.
func GroupOf(name string) GroupID { return GroupID(shortHash("kvmha group ", []byte(name))) }

func shortHash(purpose string, of []byte) (id [8]byte) {
	sum := sha256.Sum256(append([]byte(purpose), of...))
	copy(id[:], sum[:])
	return id
}

// Boot names one boot of a machine (random(4), boot_id).
type Boot [bootSize]byte

// BootOf gives the boot that a text names, as /proc/sys/kernel/random/boot_id does.
func BootOf(text string) (b Boot) {
	sum := sha256.Sum256([]byte("kvmha boot " + text))
	copy(b[:], sum[:])
	return b
}

// Mark names one datagram of a node. Sequences are the time since that boot, in nanoseconds: they grow across every restart of the agent, without a
// file, and their sender sees by the clock alone how old one of its own is that comes back.
type Mark struct {
	Boot     Boot
	Sequence uint64
}

// Role is what the sender does for a group. The numbers are the wire's.
type Role uint8

// The roles: those of package failover.
const (
	Starting Role = iota
	Waiting
	Standby
	Promoting
	Active
	Demoting
	Stuck
	roles
)

// String gives the word that status and log show.
func (r Role) String() string {
	if r >= roles {
		return "unknown"
	}
	return [...]string{"starting", "waiting", "standby", "promoting", "active", "demoting", "stuck"}[r]
}

// Group is one group as its sender sees it.
type Group struct {
	ID       GroupID
	Role     Role
	Skew     uint8  // of CARP: the node with the smaller one goes first
	Reasons  uint16 // a bit for each reason of package failover that keeps it from standing by
	Preempt  bool   // it stands by, and wants to take over from a node that goes after it
	Released uint64 // the hand-over in which it lets go and that nobody has answered yet; 0: none
	Answered uint64 // the hand-over of the receiver that it has taken, or declined; 0: none
	Declined bool   // Answered was declined
	Gateway  bool   // a gateway of the group's link has answered the last question; false: it has not, or there is none, or an older agent does not ask
}

// Path is when the sender last heard the receiver on one of its paths.
type Path struct {
	Number uint8         // as the receiver counts its paths: what its datagrams that came in there said
	Age    time.Duration // in whole milliseconds, at most MaxAge
}

// MaxAge is the greatest age of a path that a datagram can say; it means never, too.
const MaxAge = 65535 * time.Millisecond

// Datagram is one heartbeat.
type Datagram struct {
	Sender     NodeID
	Mark       Mark
	Number     uint8 // of the path on which it was sent, as the sender counts
	Echo       Mark  // the newest of the receiver's that has come in; zero: none
	Tick       bool  // kvmha-tick runs: the kernel ends a lease of a dead agent within 1.3 s, else within 2.4 s (lease.md)
	Restarting bool  // the agent is about to be replaced in place
	Paths      []Path
	Groups     []Group
}

// Errors of Parse.
var (
	ErrMalformed = errors.New("this is no heartbeat")
	ErrVersion   = errors.New("a heartbeat of another version")
	ErrMAC       = errors.New("a heartbeat that the peer has not made")
)

// Append adds the datagram to b, signed. Paths and groups beyond the bounds are left out.
func (d Datagram) Append(b []byte, key [32]byte) []byte {
	start := len(b)
	b = binary.BigEndian.AppendUint32(b, magic)
	b = append(b, version, bits(d.Tick, flagTick)|bits(d.Restarting, flagRestarting), d.Number)
	b = append(b, d.Sender[:]...)
	b = appendMark(appendMark(b, d.Mark), d.Echo)
	paths, groups := d.Paths[:min(len(d.Paths), MaxPaths)], d.Groups[:min(len(d.Groups), MaxGroups)]
	b = append(b, byte(len(paths)))
	for _, p := range paths {
		b = binary.BigEndian.AppendUint16(append(b, p.Number), uint16(min(max(p.Age, 0), MaxAge)/time.Millisecond))
	}
	b = append(b, byte(len(groups)))
	for _, g := range groups {
		b = append(append(b, g.ID[:]...), byte(g.Role), bits(g.Preempt, groupPreempt)|bits(g.Declined, groupDeclined)|bits(g.Gateway, groupGateway), g.Skew)
		b = binary.BigEndian.AppendUint16(b, g.Reasons)
		b = binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint64(b, g.Released), g.Answered)
	}
	mac := hmac.New(sha256.New, key[:])
	mac.Write(b[start:])
	return mac.Sum(b)
}

func appendMark(b []byte, m Mark) []byte {
	return binary.BigEndian.AppendUint64(append(b, m.Boot[:]...), m.Sequence)
}

func bits(on bool, bit byte) byte {
	if on {
		return bit
	}
	return 0
}
