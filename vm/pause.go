package vm

import (
	"context"
	"fmt"
	"time"

	"kvmctl/vm/qmp"
)

// StandsStillError says why a guest that stands still cannot go on.
type StandsStillError struct {
	Name  string
	State string // QEMU's RunState
}

func (e *StandsStillError) Error() string {
	if e.State == "shutdown" {
		return "the guest has shut down"
	}
	return "it stopped for good: " + e.State
}

// Hint is what ends that.
func (e *StandsStillError) Hint() string {
	if e.State == "shutdown" {
		return "kvmctl restart " + e.Name
	}
	return "kvmctl reset " + e.Name + ", then kvmctl resume " + e.Name
}

// Pause stops a guest's CPUs; everything else stays as it is. already: they stood still before.
func (h *Host) Pause(ctx context.Context, name string) (already bool, err error) {
	err = h.visit(ctx, name, "pause", func(c *qmp.Client, was string) error {
		if already = was != "running"; already {
			return nil
		}
		// Noted first: a pause that nobody can explain is worse than an explanation too many.
		h.noteAct(name, KindPause)
		return c.Execute(ctx, "stop", nil, nil)
	})
	return already, err
}

// Resume lets a guest go on that was paused, that stopped on a disk error, or whose save was cut short in its last moment.
// already: it ran.
func (h *Host) Resume(ctx context.Context, name string) (already bool, err error) {
	err = h.visit(ctx, name, "resume", func(c *qmp.Client, was string) error {
		switch was {
		case "running":
			already = true
			return nil
		case "paused", "prelaunch", "io-error", "postmigrate", "watchdog", "save-vm", "restore-vm":
			if err := h.CheckHold(name); err != nil {
				return err
			}
			h.noteAct(name, KindResume)
			return c.Execute(ctx, "cont", nil, nil)
		}
		return &StandsStillError{name, was}
	})
	return already, err
}

// Reset presses a guest's reset button: a power cut for what runs in it, while its QEMU stays. A guest that is paused stays so; paused
// tells.
func (h *Host) Reset(ctx context.Context, name string) (paused bool, err error) {
	err = h.visit(ctx, name, "reset", func(c *qmp.Client, was string) error {
		if was == "shutdown" {
			return &StandsStillError{name, was}
		}
		paused = was != "running"
		h.noteAct(name, KindReset)
		return c.Execute(ctx, "system_reset", nil, nil)
	})
	return paused, err
}

// noteAct writes down who did what to a running guest. A history that cannot be written keeps nobody from acting.
func (h *Host) noteAct(name string, kind FactKind) {
	run := ""
	if st, err := h.loadState(name); err == nil {
		run = st.Run
	}
	_ = h.appendFacts(name, h.HistorySize, false, Fact{Time: time.Now(), Run: run, Kind: kind, Reason: "by " + h.By, By: h.By})
}

// visit holds a running guest's lock and monitor for one act, which learns QEMU's RunState (qapi/run-state.json).
func (h *Host) visit(ctx context.Context, name, op string, act func(c *qmp.Client, was string) error) error {
	return h.WithLock(ctx, name, op, func(running bool) error {
		if !running {
			return ErrNotRunning
		}
		c, closeMonitor, err := h.Monitor(ctx, name)
		if err != nil {
			return err
		}
		defer closeMonitor()
		was, err := queryStatus(ctx, c)
		if err != nil {
			return err
		}
		return act(c, was)
	})
}

func queryStatus(ctx context.Context, c *qmp.Client) (string, error) {
	var st struct{ Status string }
	if err := c.Execute(ctx, "query-status", nil, &st); err != nil {
		return "", fmt.Errorf("ask what the guest does: %w", err)
	}
	return st.Status, nil
}

// pausedBy words who paused a guest, from the facts of its run; empty: not by us. Facts and events are compared by their times: an event
// is written down only when it is harvested.
func pausedBy(run []Fact) string {
	var paused *Fact
	var resumed time.Time
	for i, f := range run {
		switch {
		case f.Kind == KindPause:
			paused = &run[i]
		case f.Kind == KindEvent && f.Event == "RESUME":
			resumed = f.Time
			if f.Until != nil {
				resumed = *f.Until
			}
		}
	}
	if paused == nil || resumed.After(paused.Time) {
		return ""
	}
	return fmt.Sprintf("paused by %s on %s", paused.By, paused.Time.Local().Format("2006-01-02 15:04"))
}
