package control

import (
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"
)

// Reason is why an act failed or was refused: one thing to tell a person, and to decide by. It is itself an error, for errors.Is.
type Reason int

// The reasons. The numbers are drbd's own (enum drbd_state_rv and drbd_ret_code of linux/drbd.h).
const (
	Other           Reason = iota
	NotUpToDate            // -2: no good data here or at the peer
	TwoPrimaries           // -1: the peer is Primary
	HeldOpen               // -12: somebody has the device open
	PeerNotFenced          // -7: the fence handler did not say that the peer is outdated or gone
	PeerRefused            // -10: the peer said no
	SyncRuns               // -8: a resync or verification is under way
	NoPeer                 // -15, -9: not connected
	NoAlgorithm            // -14: no verify-alg is configured
	NoDisk                 // -4, -11, 104…: the disk here is missing or cannot be opened
	BadMetadata            // 119…: no metadata, or such as DRBD does not take
	NotConfigured          // 127, 158, 162: the resource is down
	Undefined              // the resource is not in drbd.conf, or there for other hosts
	BadConfig              // drbd.conf is missing or cannot be parsed
	NoModule               // drbd.ko is not loaded and cannot be
	NoPrograms             // drbd-utils are not installed
	Hangs                  // the command did not end by its deadline
	IsConnected            // refused: the resource is connected, or tries to be
	IsPrimary              // refused: the resource is Primary
	IsSuspended            // writes still stand still
	NotDone                // drbdadm said yes, and the state says no
	PeerNotUpToDate        // refused: the peer's data are not good
	IsSecondary            // refused: the resource is Secondary
	NotSuspended           // refused: its writes do not stand still
	NoRoom                 // refused: a file system is where the metadata would be
)

var reasons = []string{"drbd says no", "no up-to-date data", "the peer is primary", "the device is held open", "the peer is not known to be fenced",
	"the peer refused", "a resync or a verification runs", "not connected", "no verify-alg is configured", "the disk cannot be used",
	"no valid metadata on the disk", "the resource is down", "the resource is not in drbd.conf for this host", "drbd.conf cannot be read",
	"the kernel module drbd is missing", "drbd-utils are missing", "the command hangs", "it is connected or tries to be", "it is primary",
	"writes stand still", "it was told and did not happen", "the peer's data are not up to date", "it is secondary", "its writes do not stand still",
	"a file system is where its metadata would be"}

func (r Reason) Error() string {
	if r < 0 || int(r) >= len(reasons) {
		return reasons[Other]
	}
	return reasons[r]
}

// Error says which act failed on which resource. errors.Is finds the Reason.
type Error struct {
	Act      string // such as primary
	Resource string // empty: the act was about none
	Reason   Reason
	Code     int    // drbd's number; 0: it gave none
	Said     string // what drbdadm said, in one line and without a secret; may be empty
	cause    error
}

func (e *Error) Error() string {
	text := "drbd " + e.Act
	if e.Resource != "" {
		text += " " + e.Resource
	}
	text += ": " + e.Reason.Error()
	switch {
	case e.Code != 0:
		text += fmt.Sprintf(" (%d %s)", e.Code, e.Said)
	case e.Said != "":
		text += ": " + e.Said
	}
	return text
}

// Unwrap gives the Reason, and what ended the command where something did.
func (e *Error) Unwrap() []error {
	if e.cause == nil {
		return []error{e.Reason}
	}
	return []error{e.Reason, e.cause}
}

// byCode is the reason for a number of drbd's.
var byCode = map[int]Reason{
	-1: TwoPrimaries, -2: NotUpToDate, -4: NoDisk, -7: PeerNotFenced, -8: SyncRuns, -9: NoPeer, -10: PeerRefused, -11: NoDisk, -12: HeldOpen,
	-13: NoPeer, -14: NoAlgorithm, -15: NoPeer,
	104: NoDisk, 105: NoDisk, 107: NoDisk, 108: NoDisk, 111: NoDisk, 112: NoDisk, 114: NoDisk, 115: NoDisk, 118: BadMetadata, 119: BadMetadata,
	127: NotConfigured, 158: NotConfigured, 162: NotConfigured, 165: BadMetadata, 166: BadMetadata,
}

// bySentence is what the programs say of what the kernel was not asked for. The first that is found holds.
var bySentence = []struct {
	part   string
	reason Reason
}{
	{"Failed to modprobe drbd", NoModule},
	{"Could not connect to 'drbd' generic netlink family", NoModule},
	{"not defined in your config", Undefined},
	{"Can not open '/etc/drbd.conf'", BadConfig},
	{"No valid meta data found", BadMetadata},
	{"open(/dev/", NoDisk},
}

var (
	numbered   = regexp.MustCompile(`\((-?\d{1,3})\) ([^\n]*)`)
	parseError = regexp.MustCompile(`(?m)^(\S+:\d+): (?:Parse error|in \w+|conflicting|duplicate)`)
	secret     = regexp.MustCompile(`(?s)--shared-secret=.*`)
	position   = regexp.MustCompile(`^\S+:\d+:`)
)

// explain finds the reason in what a program of drbd-utils left. A complaint about drbd.conf is cut down to its place, and commands that are quoted are
// left out: both may repeat the shared secret.
func explain(act, resource, stderr string) *Error {
	e := &Error{Act: act, Resource: resource}
	if m := numbered.FindStringSubmatch(withoutCommands(stderr)); m != nil {
		e.Code, _ = strconv.Atoi(m[1]) // three digits
		e.Reason, e.Said = byCode[e.Code], strings.TrimRight(m[2], " .")
		return e
	}
	for _, s := range bySentence {
		if strings.Contains(stderr, s.part) {
			e.Reason = s.reason
			return e
		}
	}
	if m := parseError.FindStringSubmatch(stderr); m != nil {
		e.Reason, e.Said = BadConfig, m[1]
		return e
	}
	for line := range strings.Lines(withoutCommands(stderr)) {
		if line = strings.TrimSpace(line); line != "" {
			e.Said = clip(line)
		}
		if at := position.FindString(line); at != "" { // of a file: what comes behind may be anything of its text
			e.Reason, e.Said = BadConfig, strings.TrimSuffix(at, ":")
			break
		}
	}
	return e
}

// left is what drbdmeta says, on stdout, of a disk that a file system fills.
var left = regexp.MustCompile(`(\d{1,15}) kB data area apparently used\s+(\d{1,15}) kB left usable`)

// explainRoom finds in what create-md printed why it made nothing.
func (e *Error) explainRoom(stdout string) {
	if m := left.FindStringSubmatch(stdout); m != nil && strings.Contains(stdout, "Device size would be truncated") {
		e.Reason, e.Said = NoRoom, fmt.Sprintf("it has %s KiB, and %s KiB may be left to it", m[1], m[2])
	}
}

// withoutCommands leaves out the lines in which drbdadm repeats what it ran.
func withoutCommands(stderr string) string {
	var kept []string
	for line := range strings.Lines(stderr) {
		if !strings.HasPrefix(line, "Command '") {
			kept = append(kept, secret.ReplaceAllString(line, "--shared-secret=…"))
		}
	}
	return strings.Join(kept, "")
}

// clip keeps what is told to one line of an error.
func clip(s string) string {
	const most = 200
	if len(s) > most {
		return s[:most] + "…"
	}
	return s
}

// IsReason reports whether err is for one of these reasons.
func IsReason(err error, any ...Reason) bool {
	var e *Error
	if !errors.As(err, &e) {
		return false
	}
	for _, r := range any {
		if e.Reason == r {
			return true
		}
	}
	return false
}
