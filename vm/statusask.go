package vm

import (
	"context"
	"errors"
	"time"

	"kvmctl/internal/flock"
)

// complete does what a look left to do.
func (h *Host) complete(ctx context.Context, name string, s Status, g glimpse, patience time.Duration) Status {
	if g.ended {
		return h.endedStatus(ctx, name)
	}
	defer g.close()
	h.askState(ctx, name, patience, &s)
	if err := h.Harvest(name); err != nil && s.Err == nil {
		s.Err = err
	}
	if g.p.waitPlain(0) { // it ended while we asked
		return h.endedStatus(ctx, name)
	}
	h.noteRun(name, &s)
	return s
}

// noteRun adds what our own files know of a running guest beyond its state, where its start asked for that.
func (h *Host) noteRun(name string, s *Status) {
	if s.StateOf != nil && s.StateOf.Install != "" && s.Note == "" {
		s.Note = installation(h.recent(name, 1<<20), true).note()
	}
	if s.StateOf != nil && s.StateOf.Ready != "" && s.Note == "" {
		h.readyNote(s, time.Now())
	}
}

// askState asks QEMU itself.
func (h *Host) askState(ctx context.Context, name string, patience time.Duration, s *Status) {
	l, err := h.useMonitor(ctx, name, statusBusy)
	if err != nil {
		s.Note = "its monitor is in use by another kvmctl"
		return
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	c, closeMonitor, err := h.dialMonitor(ctx, name, l)
	if err != nil {
		s.State, s.Note = StateWedged, "QEMU does not answer"
		return
	}
	defer closeMonitor()
	var st struct{ Status string }
	if err := c.Execute(ctx, "query-status", nil, &st); err != nil {
		s.State, s.Note = StateWedged, "QEMU does not answer"
		return
	}
	s.State, s.Note = runState(name, st.Status)
	if st.Status == "paused" && s.StateOf != nil {
		run, _ := factsOf(h.recent(name, maxFact), s.StateOf.Run)
		s.Note = pausedBy(run)
	}
}

// runState puts QEMU's RunState (qapi/run-state.json) into our words.
func runState(name, q string) (StateWord, string) {
	switch q {
	case "running":
		return StateRunning, ""
	case "paused":
		return StatePaused, ""
	case "io-error":
		return StatePaused, "stopped on a disk error, mostly a full file system: make room, then kvmctl resume " + name
	case "internal-error", "guest-panicked":
		return StatePaused, "stopped: " + q
	case "finish-migrate":
		return StatePaused, "being saved"
	case "postmigrate":
		return StatePaused, "saved, but its QEMU has not ended: `kvmctl stop " + name + "` ends it, `kvmctl start " + name + "` restores the guest"
	case "prelaunch", "inmigrate":
		return StateStarting, q
	case "shutdown":
		return StateStopping, "the guest has shut down"
	}
	return StatePaused, q
}

// endedStatus clears away a guest that ended unseen, unless somebody else is at it already.
func (h *Host) endedStatus(ctx context.Context, name string) Status {
	who, busy := h.heldBy(name, exists(h.run(name, startingName)))
	if busy {
		switch who.Op {
		case "stop":
			return Status{Name: name, State: StateStopping, Note: who.Note}
		case "start":
			return Status{Name: name, State: StateStarting}
		}
		return h.stoppedStatus(name)
	}
	g, err := h.lock(ctx, name, "status", 10*time.Millisecond)
	if err != nil {
		return h.stoppedStatus(name)
	}
	defer g.unlock()
	p, err := h.settle(ctx, name)
	if p != nil {
		p.Close() // started in between
		return Status{Name: name, State: StateStarting}
	}
	s := h.stoppedStatus(name)
	s.Err = err
	return s
}

// heldBy tells whether a kvmctl is at work on the guest, and on what. What a killed one left written is not believed. unfinished says that
// the guest has the mark of a start.
func (h *Host) heldBy(name string, unfinished bool) (holder, bool) {
	who := h.lockHolder(name)
	if who.Op == "" && !unfinished {
		return holder{}, false
	}
	l, err := flock.TryLock(h.GuestLock(name))
	if err == nil {
		l.Unlock()
		return holder{}, false
	}
	return who, errors.Is(err, flock.ErrLocked)
}
