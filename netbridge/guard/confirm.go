package guard

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"time"

	"kvmctl/internal/atomicfile"
	"kvmctl/internal/flock"
)

// lockWait bounds the wait for another kvmctl that changes networks.
const lockWait = 20 * time.Second

// NothingError is a confirmation that nobody waits for.
type NothingError struct{ Last *Ending } // how the last change that was undone ended; nil: none was

func (e *NothingError) Error() string {
	if e.Last == nil {
		return "no change of the networks waits for it"
	}
	return fmt.Sprintf("the change of %s was undone at %s: %s", e.Last.Made.Format(time.TimeOnly), e.Last.At.Format(time.TimeOnly), e.Last.Why)
}

// Hint is what to type next.
func (e *NothingError) Hint() string { return "kvmctl net plan" }

// BrokenError is a change that did not come to its end, or whose time is over, and that nobody has undone yet.
type BrokenError struct{ Why string }

func (e *BrokenError) Error() string { return e.Why }

// Hint is what to type next.
func (e *BrokenError) Hint() string { return "kvmctl net recover" }

// Ending is how a change that was not confirmed ended.
type Ending struct {
	Made time.Time `json:"made"`
	At   time.Time `json:"at"`
	Why  string    `json:"why"`
}

// Confirm says that a change worked: it stays, and the next boot makes it again.
func Confirm(ctx context.Context, f Files) (*Record, error) {
	wait, cancel := context.WithTimeout(ctx, lockWait)
	defer cancel()
	l, err := flock.Wait(wait, f.NetLock)
	if err != nil {
		return nil, fmt.Errorf("wait for another kvmctl: %w", err)
	}
	defer l.Unlock()
	rec, err := f.read()
	if err != nil {
		return nil, err
	}
	if rec == nil {
		return nil, &NothingError{f.last()}
	}
	switch here, err := Here(); {
	case err != nil:
		return nil, err
	case rec.Place != here:
		return nil, &BrokenError{"the change was made before the last boot, or in another network namespace"}
	case rec.Acted == 0:
		return nil, &BrokenError{"the change was broken off and is going to be undone"}
	case rec.Left() == 0:
		return nil, &BrokenError{"its time is over, and it is going to be undone"}
	}
	if err := f.confirmMoves(rec.Moves); err != nil {
		return nil, err
	}
	return rec, f.remove()
}

// confirmed is the file of moves that the next boot may make without being watched.
type confirmed struct {
	Version int    `json:"version"`
	Moves   []Move `json:"moves"`
}

const maxConfirmed = 1 << 20 // bytes

// Moves gives the moves that were confirmed. What cannot be read was not.
func (f Files) Moves() ([]Move, error) {
	file, err := os.Open(f.Confirmed)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read what was confirmed: %w", err)
	}
	defer file.Close()
	return decodeMoves(file)
}

func decodeMoves(r io.Reader) ([]Move, error) {
	var c confirmed
	if err := json.NewDecoder(io.LimitReader(r, maxConfirmed)).Decode(&c); err != nil {
		return nil, fmt.Errorf("read what was confirmed: %w", err)
	}
	if c.Version != recordVersion {
		return nil, fmt.Errorf("read what was confirmed: version %d, this kvmctl knows %d", c.Version, recordVersion)
	}
	return c.Moves, nil
}

// confirmMoves writes moves down, each in place of the one that its bridge had.
func (f Files) confirmMoves(moves []Move) error {
	old, err := f.Moves()
	if err != nil {
		old = nil // it cannot be read, so it allows nothing: what is confirmed now does
	}
	for _, m := range moves {
		old = slices.DeleteFunc(old, func(o Move) bool { return o.Bridge == m.Bridge })
		if m.Uplink != "" {
			old = append(old, m)
		}
	}
	b, err := json.Marshal(confirmed{recordVersion, old})
	if err == nil {
		err = atomicfile.Write(f.Confirmed, append(b, '\n'), 0o600)
	}
	if err != nil {
		return fmt.Errorf("write down what was confirmed: %w", err)
	}
	return nil
}

// note writes down how a change ended. It is talk: that it cannot be written changes nothing.
func (f Files) note(rec *Record, why string) {
	if b, err := json.Marshal(Ending{rec.At, time.Now(), why}); err == nil {
		_ = atomicfile.WriteVolatile(f.Last, append(b, '\n'), 0o600)
	}
}

func (f Files) last() *Ending {
	file, err := os.Open(f.Last)
	if err != nil {
		return nil
	}
	defer file.Close()
	var e Ending
	if json.NewDecoder(io.LimitReader(file, 4096)).Decode(&e) != nil {
		return nil
	}
	return &e
}
