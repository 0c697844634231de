package beat

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"time"
)

// Sender gives who a datagram says to be from, so that its key can be found. It looks at nothing that costs more than a comparison: most of what a
// stranger sends ends here.
func Sender(b []byte) (NodeID, error) {
	if len(b) < headSize+2+macSize || len(b) > MaxSize || binary.BigEndian.Uint32(b) != magic {
		return NodeID{}, ErrMalformed
	}
	if b[4] != version {
		return NodeID{}, ErrVersion
	}
	return NodeID(b[7:15]), nil
}

// Parse reads what Append made with the same key. Nothing in b is looked at before its MAC is right, but for its length.
func Parse(b []byte, key [32]byte) (Datagram, error) {
	sender, err := Sender(b)
	if err != nil {
		return Datagram{}, err
	}
	body := b[:len(b)-macSize]
	mac := hmac.New(sha256.New, key[:])
	mac.Write(body)
	var sum [macSize]byte
	if !hmac.Equal(mac.Sum(sum[:0]), b[len(body):]) {
		return Datagram{}, ErrMAC
	}
	d := Datagram{Sender: sender, Tick: b[5]&flagTick != 0, Restarting: b[5]&flagRestarting != 0, Number: b[6]}
	d.Mark, d.Echo = markOf(b[15:]), markOf(b[15+bootSize+8:])
	rest := body[headSize:]
	n := int(rest[0])
	rest = rest[1:]
	if n > MaxPaths || len(rest) < n*pathSize+1 {
		return Datagram{}, ErrMalformed
	}
	for ; n > 0; n-- {
		d.Paths = append(d.Paths, Path{rest[0], time.Duration(binary.BigEndian.Uint16(rest[1:])) * time.Millisecond})
		rest = rest[pathSize:]
	}
	n = int(rest[0])
	rest = rest[1:]
	if n > MaxGroups || len(rest) != n*groupSize {
		return Datagram{}, ErrMalformed
	}
	for ; n > 0; n-- {
		g := Group{
			ID: GroupID(rest[:8]), Role: Role(rest[8]), Preempt: rest[9]&groupPreempt != 0, Declined: rest[9]&groupDeclined != 0,
			Gateway: rest[9]&groupGateway != 0, Skew: rest[10], Reasons: binary.BigEndian.Uint16(rest[11:]), Released: binary.BigEndian.Uint64(rest[13:]), Answered: binary.BigEndian.Uint64(rest[21:]),
		}
		if g.Role >= roles {
			return Datagram{}, ErrMalformed
		}
		d.Groups = append(d.Groups, g)
		rest = rest[groupSize:]
	}
	return d, nil
}

func markOf(b []byte) Mark { return Mark{Boot(b[:bootSize]), binary.BigEndian.Uint64(b[bootSize:])} }
