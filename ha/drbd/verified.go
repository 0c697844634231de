package drbd

import (
	"bytes"
	"regexp"
	"strconv"
)

// Comparison is how far the last online verification of a resource went. DRBD's states do not tell: after a connection that was lost for a moment they are
// as after a verification that came to its end.
type Comparison int

// How far it went. NotTold: the log does not reach back so far, or tells of a part of the volumes only.
const (
	NotTold Comparison = iota
	UnderWay
	Whole   // every block was compared
	Partial // it was broken off, began in the middle, or left blocks out
)

// What the kernel says of a verification: drbd_worker.c, drbd_receiver.c and drbd_state.c of 8.4; 9 has the same words, and the last two of verifyDone.
var (
	verifyBegun  = regexp.MustCompile(`^(?:Starting Online Verify from sector|Online Verify start sector:) (\d{1,19})\b`)
	verifyDone   = regexp.MustCompile(`^Online verify (done|aborted)( but)?\b`)
	verifyBroken = regexp.MustCompile(`^Online Verify reached sector \d`)
)

// ReadCompared finds in the kernel's log (dmesg, or the records of /dev/kmsg) how far the last verification of a resource went. Only the last MaxInput
// bytes are read; where the begin is lost in what the log had to drop, it is taken for one of the whole disk.
func ReadCompared(data []byte, r Resource) Comparison {
	if len(data) > MaxInput {
		data = data[len(data)-MaxInput:]
	}
	last := make([]comparing, len(r.Volumes))
	for line := range bytes.Lines(data) {
		m := logLine.FindSubmatch(bytes.TrimRight(line, "\r\n"))
		if m == nil || len(line) > maxLine {
			continue
		}
		for i, v := range r.Volumes {
			if string(m[1]) == strconv.Itoa(v.Minor) || string(m[2]) == r.Name && string(m[3]) == "/"+strconv.Itoa(v.Number) {
				last[i].hears(string(m[4]))
			}
		}
	}
	return worstOf(last)
}

// comparing is one volume's.
type comparing struct {
	how    Comparison
	middle bool // it did not begin at the first block
}

func (c *comparing) hears(text string) {
	if m := verifyBegun.FindStringSubmatch(text); m != nil {
		c.how, c.middle = UnderWay, m[1] != "0"
	} else if m := verifyDone.FindStringSubmatch(text); m != nil {
		c.how = Whole
		if c.middle || m[1] != "done" || m[2] != "" {
			c.how = Partial
		}
	} else if verifyBroken.MatchString(text) {
		c.how = Partial
	}
}

// worstOf is what holds of all volumes together.
func worstOf(all []comparing) Comparison {
	seen := map[Comparison]bool{}
	for _, c := range all {
		seen[c.how] = true
	}
	for _, how := range []Comparison{Partial, UnderWay, NotTold} {
		if seen[how] {
			return how
		}
	}
	if len(all) == 0 {
		return NotTold
	}
	return Whole
}
