package guard

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"kvmctl/internal/flock"
	"kvmctl/netbridge"
)

// Times of a change.
const (
	readyTime   = 10 * time.Second // for the guard to be there
	restoreTime = 30 * time.Second // for the way back
)

// Change is a change that could cut the host off.
type Change struct {
	Steps   []netbridge.Step
	Moves   []Move
	By      string        // who asks, for others
	Timeout time.Duration // for the confirmation
}

// PendingError is a change while another one is not confirmed yet.
type PendingError struct{ Record *Record }

func (e *PendingError) Error() string {
	return fmt.Sprintf("a change by %s (pid %d) is not confirmed yet and will be undone in %s", e.Record.By, e.Record.PID, e.Record.Left().Round(time.Second))
}

// Hint is what to type next.
func (e *PendingError) Hint() string { return "kvmctl net confirm, if it works" }

// Pending gives the change that waits for its confirmation; nil: none.
func Pending(f Files) (*Record, error) { return f.read() }

// Apply makes a change: how everything is goes to disk, spawn starts the guard (a process that calls Run), and only then the first step
// is taken. The caller holds the NetLock. When a step fails, all is as before; when this process is killed, the guard sees to that.
// On success the change is there, and stays if Confirm comes in time.
func Apply(ctx context.Context, f Files, k netbridge.Kernel, c Change, spawn func(context.Context) error) (err error) {
	if old, err := f.read(); err != nil {
		return err
	} else if old != nil {
		return &PendingError{old}
	}
	rec := &Record{Version: recordVersion, ID: rand.Text(), By: c.By, At: time.Now(), Began: sinceBoot(), Timeout: c.Timeout, Moves: c.Moves, PID: os.Getpid()}
	if rec.Place, err = Here(); err != nil {
		return err
	}
	if rec.Start, err = born(rec.PID); err != nil {
		return err
	}
	for _, s := range c.Steps {
		rec.Steps = append(rec.Steps, s.String())
	}
	if rec.Before, err = netbridge.Remember(ctx, k, netbridge.Touched(c.Steps)); err != nil {
		return err
	}
	if err := f.write(rec); err != nil {
		return err
	}
	err = func() error {
		if err := spawn(ctx); err != nil {
			return fmt.Errorf("start the guard: %w", err)
		}
		if err := f.awaitGuard(ctx, rec.ID); err != nil {
			return err
		}
		if err := netbridge.Apply(ctx, k, c.Steps); err != nil {
			return err
		}
		rec.Acted = sinceBoot()
		return f.write(rec)
	}()
	if err == nil {
		return nil
	}
	back, cancel := context.WithTimeout(context.WithoutCancel(ctx), restoreTime)
	defer cancel()
	if undone := netbridge.Restore(back, k, rec.Before, sinceBoot()-rec.Began); undone != nil {
		return errors.Join(err, fmt.Errorf("undo it: %w", undone)) // the record stays: the guard and the next kvmctl try again
	}
	return errors.Join(err, f.remove())
}

// awaitGuard waits until the guard of a change says that it watches.
func (f Files) awaitGuard(ctx context.Context, id string) error {
	ctx, cancel := context.WithTimeout(ctx, readyTime)
	defer cancel()
	for {
		if b, err := os.ReadFile(f.GuardLock); err == nil && strings.TrimSpace(string(b)) == id {
			// What it says holds only while it lives.
			l, err := flock.TryLock(f.GuardLock)
			if errors.Is(err, flock.ErrLocked) {
				return nil
			}
			if err != nil {
				return fmt.Errorf("look for the guard: %w", err)
			}
			l.Unlock()
			return errors.New("the guard has ended")
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("wait for the guard: %w", context.Cause(ctx))
		case <-time.After(5 * time.Millisecond):
		}
	}
}

// Allowed reports whether a bridge's uplink may be moved without being watched: a move like it was confirmed once.
func Allowed(moves []Move, m Move) bool { return slices.Contains(moves, m) }
