package guard

import (
	"context"
	"errors"
	"fmt"
	"os"

	"kvmctl/internal/flock"
	"kvmctl/netbridge"
)

// Outcome is what Recover found.
type Outcome int

// The outcomes.
const (
	Nothing  Outcome = iota // no change waits, or it is in good hands
	Undone                  // everything is as before the change
	Rebooted                // the change ended with the last boot, and so did what there was to undo
	Foreign                 // it was made in another network namespace, and can only be undone there
)

// Left reports whether a change may have been left: one look at the disk, for every command.
func Left(f Files) bool {
	_, err := os.Lstat(f.Record)
	return err == nil
}

// Recover undoes a change that was not confirmed and whose guard is no more. It does not wait: whoever holds one of the locks is at it.
func Recover(ctx context.Context, f Files, open func() (netbridge.Kernel, func(), error)) (*Record, Outcome, error) {
	l, err := try(f.NetLock)
	if err != nil || l == nil {
		return nil, Nothing, err
	}
	defer l.Unlock()
	seat, err := try(f.GuardLock)
	if err != nil || seat == nil {
		return nil, Nothing, err
	}
	defer seat.Unlock()
	rec, err := f.read()
	if err != nil || rec == nil {
		return nil, Nothing, err
	}
	here, err := Here()
	if err != nil {
		return rec, Nothing, err
	}
	switch {
	case rec.Place.Boot != here.Boot:
		f.note(rec, "the machine was booted before anybody confirmed it")
		return rec, Rebooted, f.remove()
	case rec.Place.Netns != here.Netns:
		return rec, Foreign, nil
	}
	k, done, err := open()
	if err != nil {
		return rec, Nothing, err
	}
	defer done()
	why := "its guard was ended"
	if rec.Acted == 0 {
		why = "its maker died before it was complete"
	}
	if err := f.restore(ctx, k, rec, why); err != nil {
		return rec, Nothing, err
	}
	return rec, Undone, nil
}

// try takes a lock; nil: somebody else has it.
func try(path string) (*flock.Lock, error) {
	l, err := flock.TryLock(path)
	if errors.Is(err, flock.ErrLocked) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("look whether somebody is at it: %w", err)
	}
	return l, nil
}
