package vm

import (
	"errors"
	"time"

	"golang.org/x/sys/unix"
)

// NoteFailedStart notes a start that came to nothing while nobody was looking, for the one who asks in the morning why the guest is not up.
// A person at a terminal has read it.
func (h *Host) NoteFailedStart(name string, err error) {
	if h.Starter == "" || err == nil || errors.As(err, new(*HeldError)) { // that it is held, status says anyway
		return
	}
	if MakeDirs(h.GuestLibDir(name), 0o711) != nil {
		return // the disk may be what is wrong: the error itself is in the journal
	}
	_ = h.appendFacts(name, h.HistorySize, true, Fact{Time: time.Now(), Kind: KindFail, Reason: firstLine(err.Error()), By: h.By})
}

// lastFail gives the last start that came to nothing and that no later run has made old news.
func lastFail(facts []Fact) *Fact {
	var last *Fact
	for i, f := range facts {
		switch f.Kind {
		case KindFail:
			last = &facts[i]
		case KindStart:
			last = nil
		}
	}
	return last
}

// hostUp is when this host came up, to the second.
func hostUp(now time.Time) time.Time {
	var up unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &up); err != nil {
		return time.Time{}
	}
	return now.Add(-time.Duration(up.Nano())).Truncate(time.Second)
}
