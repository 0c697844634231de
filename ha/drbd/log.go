package drbd

import (
	"bytes"
	"regexp"
	"strconv"
	"strings"
)

// Cause is why a resource is StandAlone, which DRBD shows in its states all alike.
type Cause int

// The causes. Unclear: the log does not say, because it does not reach back so far, or because the resource was never told to connect.
const (
	Unclear       Cause = iota
	ByAdmin             // somebody disconnected it here
	WrongSecret         // the shared secrets differ
	SplitBrain          // each side has what the other one lacks
	OtherProtocol       // the peer speaks no version of the protocol that this DRBD does
	OtherSettings       // a setting that has to be the same is not
	Unrelated           // the disks never were copies of each other
	TwoPrimaries        // both were Primary when they met, and nobody had split: it connects when one of them is not any more
)

var causeNames = []string{"unclear", "disconnected by an admin", "wrong secret", "split brain", "another protocol", "other settings", "unrelated data", "both were primary"}

func (c Cause) String() string {
	if c < 0 || int(c) >= len(causeNames) {
		return causeNames[0]
	}
	return causeNames[c]
}

// Apart says why a resource stopped to connect, and how much each side had changed when they met last.
type Apart struct {
	Cause       Cause
	Said        string // the kernel's words for it; empty with ByAdmin and Unclear
	Met         int    // how many volumes they compared when they met last; with fewer than the resource has, the amounts are not those of all
	Here, There uint64 // what each side of these had changed until then since they parted, in KiB. What came later is in no log
}

// complaints are what the kernel says before it gives a connection up (drbd_receiver.c of 8.4).
var complaints = []struct {
	part  string
	cause Cause
}{
	{"Authentication of peer failed", WrongSecret},
	{"Split-Brain detected but unresolved", SplitBrain},
	{"incompatible DRBD dialects", OtherProtocol},
	{"Unrelated data, aborting", Unrelated},
	{"Multiple primaries not allowed by config", TwoPrimaries},
	{"I shall become SyncTarget, but I am primary", TwoPrimaries},
	{"incompatible ", OtherSettings},
}

var (
	logLine    = regexp.MustCompile(`(?:^|[\]; ])(?:block drbd(\d{1,7})|drbd ([^\s:/]+)(/\d{1,7})?(?: [^:]*)?): (.*)$`)
	transition = regexp.MustCompile(`\bconn\( (\w+) -> (\w+) \)`)
	changes    = regexp.MustCompile(`^(self|peer) [0-9A-F:]+ bits:(\d{1,15}) flags:`)
)

// blockSize is what a bit of DRBD's bitmap stands for, in KiB.
const blockSize = 4

// ReadLog finds in the kernel's log (dmesg, or the records of /dev/kmsg) why resources are StandAlone, for those of which it tells. place says which
// resource a minor belongs to. Only the last MaxInput bytes are read.
func ReadLog(data []byte, place func(minor int) (resource string, volume int, ok bool)) map[string]Apart {
	if len(data) > MaxInput {
		data = data[len(data)-MaxInput:]
	}
	stories := map[string]*story{}
	for line := range bytes.Lines(data) {
		m := logLine.FindSubmatch(bytes.TrimRight(line, "\r\n"))
		if m == nil || len(line) > maxLine {
			continue
		}
		name := string(m[2])
		if len(m[1]) > 0 {
			minor, err := strconv.Atoi(string(m[1]))
			if err != nil {
				continue
			}
			var ok bool
			if name, _, ok = place(minor); !ok {
				continue
			}
		}
		if stories[name] == nil {
			if len(stories) >= maxParts {
				continue
			}
			stories[name] = &story{}
		}
		stories[name].hears(string(m[1])+string(m[3]), string(m[4]))
	}
	apart := map[string]Apart{}
	for name, s := range stories {
		if s.apart {
			apart[name] = s.told()
		}
	}
	return apart
}

// story is what the log tells of one resource.
type story struct {
	apart       bool // it has stopped to connect
	cause       Cause
	said        string
	here, there map[string]uint64 // by volume
}

// hears takes a message about a volume, named by its minor (8.4) or number (9), or about none.
func (s *story) hears(volume, text string) {
	if m := changes.FindStringSubmatch(text); m != nil {
		n, err := strconv.ParseUint(m[2], 10, 63)
		if err != nil {
			return
		}
		if s.here == nil {
			s.here, s.there = map[string]uint64{}, map[string]uint64{}
		}
		map[bool]map[string]uint64{true: s.here, false: s.there}[m[1] == "self"][volume] = n * blockSize
		return
	}
	for _, c := range complaints {
		if s.cause == Unclear && strings.Contains(text, c.part) {
			s.cause, s.said = c.cause, text
			return
		}
	}
	m := transition.FindStringSubmatch(text)
	if m == nil {
		return
	}
	to, replication := parseCS(m[2])
	switch {
	case to == Connected && replication != Off: // they are together
		*s = story{}
	case to == Unconnected || to == Connecting: // a new try
		s.apart, s.cause, s.said = false, Unclear, ""
	case to == Disconnecting && s.cause == Unclear:
		s.cause = ByAdmin
	case to == StandAlone:
		s.apart = true
	}
}

func (s *story) told() Apart {
	a := Apart{Cause: s.cause, Said: clip(s.said)}
	for volume, here := range s.here {
		if there, ok := s.there[volume]; ok {
			a.Met, a.Here, a.There = a.Met+1, a.Here+here, a.There+there
		}
	}
	return a
}
