package vm

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"kvmctl/internal/flock"
)

// Sitter is who types on a guest's console or monitor.
type Sitter struct {
	User  string    `json:"user"`
	PID   int       `json:"pid"`
	Since time.Time `json:"since"`
}

func (s Sitter) String() string {
	if s.PID == 0 {
		return "another program" // between its lock and its name, or not one of ours
	}
	return fmt.Sprintf("%s (pid %d)", s.User, s.PID)
}

// TakenError says that somebody else types already.
type TakenError struct {
	What string // "the monitor"
	By   Sitter
}

func (e *TakenError) Error() string {
	if e.By.PID == 0 {
		return e.What + " is in use by " + e.By.String()
	}
	return fmt.Sprintf("%s is in use by %s since %s", e.What, e.By, e.By.Since.Local().Format("2006-01-02 15:04:05"))
}

// Hint says where to see more.
func (e *TakenError) Hint() string {
	if e.What == monitorSeat {
		return "kvmctl monitors"
	}
	return ""
}

// The seats there are.
const (
	monitorSeat = "the monitor"
	consoleSeat = "the console"
)

// seat is the one place from which a person types. It is free again when its process ends, however it ends.
type seat struct{ l *flock.Lock }

// seatWait covers those who only look whether a seat is free, which takes them microseconds.
const seatWait = 100 * time.Millisecond

// takeSeat sits down at the lock file path; what names it in the TakenError, by is Host.By.
func takeSeat(ctx context.Context, path, what, by string) (*seat, error) {
	ctx, cancel := context.WithTimeout(ctx, seatWait)
	defer cancel()
	l, err := flock.Wait(ctx, path)
	switch {
	case errors.Is(err, flock.ErrLocked):
		return nil, &TakenError{What: what, By: readSitter(path)}
	case errors.Is(err, os.ErrNotExist):
		return nil, ErrNotRunning
	case err != nil:
		return nil, fmt.Errorf("use %s: %w", what, err)
	}
	user, _, _ := strings.Cut(by, ",")
	b, err := json.Marshal(Sitter{User: user, PID: os.Getpid(), Since: time.Now()})
	if err == nil {
		_ = l.File().Truncate(0)
		_, err = l.File().WriteAt(append(b, '\n'), 0)
	}
	if err != nil { // whoever comes next could not say who we are
		l.Unlock()
		return nil, fmt.Errorf("use %s: %w", what, err)
	}
	return &seat{l}, nil
}

func (s *seat) leave() {
	_ = s.l.File().Truncate(0) // talk only: the seat itself ends with the descriptor
	_ = s.l.Unlock()
}

// readSitter reads what the holder of a seat wrote. It is talk, never a ground to act.
func readSitter(path string) Sitter {
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if err != nil {
		return Sitter{}
	}
	defer f.Close()
	var s Sitter
	if json.NewDecoder(io.LimitReader(f, 4096)).Decode(&s) != nil {
		return Sitter{}
	}
	return s
}

// sitter tells who sits there, and whether anybody does.
func sitter(path string) (Sitter, bool) {
	if !exists(path) {
		return Sitter{}, false
	}
	l, err := flock.TryLock(path)
	if err == nil {
		l.Unlock()
	}
	if !errors.Is(err, flock.ErrLocked) {
		return Sitter{}, false
	}
	return readSitter(path), true
}

// MonitorSitter tells who uses a guest's monitor for people, and whether anybody does.
func (h *Host) MonitorSitter(name string) (Sitter, bool) { return sitter(h.MonitorLock(name)) }
