package drbd

import (
	"bytes"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// Proc is /proc/drbd of DRBD 8.2 to 8.4. DRBD 9 has only the version there.
type Proc struct {
	Version string // such as 8.4.11; empty: the text had none
	Minors  []ProcMinor
}

// ProcMinor is one device. /proc/drbd knows no resource's name.
type ProcMinor struct {
	Minor          int
	Configured     bool // false: "cs:Unconfigured", and the rest is empty
	Connection     Connection
	Replication    Replication
	Role, PeerRole Role
	Disk, PeerDisk Disk          // here, and at the peer
	Suspended      bool          // writes stand still
	Paused         bool          // a resync stands still
	OutOfSync      uint64        // in KiB
	Done           float64       // percent of this resync or verification; 0 where there is none
	Left           time.Duration // until its end, as DRBD reckons; 0: not told
}

var (
	procLine   = regexp.MustCompile(`^\s*(?:(\d{1,7}): ?)?cs:(\w+)(?: (?:ro|st):(\w+)/(\w+) ds:(\w+)/(\w+)\s+(?:([ABC])\s+)?([a-zA-Z-]{4,9}))?\s*$`)
	procOOS    = regexp.MustCompile(`\boos:(\d{1,19})\b`)
	procDone   = regexp.MustCompile(`^\s*\[[=>.]+\] (?:sync'ed|verified):\s*(\d{1,3}(?:\.\d+)?)%`)
	procFinish = regexp.MustCompile(`^\s*finish: (\d{1,6}):(\d\d):(\d\d) `)
)

// ParseProc reads /proc/drbd. A first device without a number, as people copy it into their notes, is 0.
func ParseProc(data []byte) (Proc, error) {
	if err := bounded(data); err != nil {
		return Proc{}, fmt.Errorf("/proc/drbd: %w", err)
	}
	var p Proc
	number := 0
	for line := range bytes.Lines(data) {
		number++
		if err := p.line(string(line)); err != nil {
			return Proc{}, fmt.Errorf("/proc/drbd line %d: %w", number, err)
		}
	}
	return p, nil
}

func (p *Proc) line(line string) error {
	if len(line) > maxLine || len(p.Minors) > maxParts {
		return ErrTooLong
	}
	if rest, ok := strings.CutPrefix(line, "version: "); ok && p.Version == "" {
		p.Version, _, _ = strings.Cut(strings.TrimSpace(rest), " ")
		return nil
	}
	if strings.Contains(line, "cs:") {
		m, err := parseMinor(line)
		if err != nil {
			return err
		}
		p.Minors = append(p.Minors, m)
		return nil
	}
	if len(p.Minors) == 0 {
		return nil
	}
	m := &p.Minors[len(p.Minors)-1]
	var err error
	if f := procOOS.FindStringSubmatch(line); f != nil {
		m.OutOfSync, err = amount("oos", f[1])
	} else if f := procDone.FindStringSubmatch(line); f != nil {
		m.Done, err = percent(f[1])
	} else if f := procFinish.FindStringSubmatch(line); f != nil {
		m.Left, err = time.ParseDuration(f[1] + "h" + f[2] + "m" + f[3] + "s")
	}
	return err
}

func parseMinor(line string) (ProcMinor, error) {
	f := procLine.FindStringSubmatch(line)
	if f == nil || (f[3] == "") != (f[2] == "Unconfigured") {
		return ProcMinor{}, fmt.Errorf("%q is no device's state", clip(strings.TrimSpace(line)))
	}
	var m ProcMinor
	if f[1] != "" {
		n, err := strconv.Atoi(f[1])
		if err != nil {
			return ProcMinor{}, err
		}
		m.Minor = n
	}
	if f[3] == "" {
		return m, nil
	}
	m.Configured = true
	m.Connection, m.Replication = parseCS(f[2])
	m.Role, m.PeerRole = Role(find(roleNames, f[3])), Role(find(roleNames, f[4]))
	m.Disk, m.PeerDisk = Disk(find(diskNames, f[5])), Disk(find(diskNames, f[6]))
	flags := f[8] // drbd_proc.c: suspended, a (depends on another), p (by the peer), u (by the user), …
	m.Suspended, m.Paused = flags[0] == 's', flags[1:4] != "---"
	return m, nil
}

// State puts the devices together to resources, by what place says of each minor: its resource and volume. Devices that place does not know, and such
// without a configuration, are left out; a peer is 8.4's.
func (p Proc) State(place func(minor int) (resource string, volume int, ok bool)) State {
	var s State
	for _, m := range p.Minors {
		name, volume, ok := place(m.Minor)
		if !ok || !m.Configured {
			continue
		}
		i := s.index(name)
		if i < 0 {
			i = len(s.Resources)
			s.Resources = append(s.Resources, Resource{Name: name, Role: m.Role, Peers: []Peer{{Name: "peer", Connection: m.Connection, Role: m.PeerRole}}})
		}
		r := &s.Resources[i]
		if m.Suspended {
			r.Suspended = BySomebody
		}
		r.Volumes = append(r.Volumes, Volume{Number: volume, Minor: m.Minor, Disk: m.Disk})
		peer := &r.Peers[0]
		peer.Volumes = append(peer.Volumes, PeerVolume{Number: volume, Replication: m.Replication, Disk: m.PeerDisk, Paused: m.Paused, OutOfSync: m.OutOfSync, Done: m.Done})
	}
	return s
}
