package vm

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"kvmctl/internal/flock"
)

// Sitter is who types on a guest's console or monitor.
type Sitter struct {
	User  string    `json:"user"`
	PID   int       `json:"pid"`
	TTY   string    `json:"tty,omitempty"` // "pts/3"; "": no terminal
	Since time.Time `json:"since"`
}

func (s Sitter) String() string {
	if s.PID == 0 {
		return "another program" // between its lock and its name, or not one of ours
	}
	if s.TTY != "" {
		return fmt.Sprintf("%s (pid %d) on %s", s.User, s.PID, s.TTY)
	}
	return fmt.Sprintf("%s (pid %d)", s.User, s.PID)
}

// Stopped tells whether its process is stopped by a signal: then it reads nothing, and QEMU, which has no option to leave out what a chardev's
// client does not take, holds up the guest's serial port after some 280 bytes (hw/char/serial.c, serial_xmit). No signal but SIGCONT and
// SIGKILL gets through to it (signal(7)).
func (s Sitter) Stopped() bool {
	state := processState(s.PID)
	return state == 'T' || state == 't' // proc_pid_stat(5)
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
		return "--force takes it over; kvmctl monitors shows who sits where"
	}
	return ""
}

// HeldSeatError says that a person's kvmctl was asked to leave and did not: mostly its terminal takes nothing, and it hangs in a write.
type HeldSeatError struct {
	TakenError
	Stopped bool // by a signal
}

func (e *HeldSeatError) Error() string {
	if e.Stopped {
		return e.TakenError.Error() + ", whose kvmctl is stopped by a signal"
	}
	return e.TakenError.Error() + ", whose kvmctl does not leave"
}

// Hint ends it, or has it go on.
func (e *HeldSeatError) Hint() string {
	switch {
	case e.By.PID == 0:
		return ""
	case e.Stopped:
		return fmt.Sprintf("kill -CONT %d", e.By.PID)
	}
	return fmt.Sprintf("kill %d", e.By.PID)
}

// Visitor is who wants to sit down.
type Visitor struct {
	TTY   string // "pts/3"; "": no terminal
	Force bool   // whoever sits there has to leave
}

// The seats there are.
const (
	monitorSeat = "the monitor"
	consoleSeat = "the console"
)

// seat is the one place from which a person types. It is free again when its process ends, however it ends.
type seat struct {
	l     *flock.Lock
	taken chan Sitter // gets who took it over
	stop  context.CancelFunc
	wg    sync.WaitGroup
}

// seatWait covers those who only look whether a seat is free, which takes them microseconds.
const seatWait = 100 * time.Millisecond

// A wish to take a seat over is a lock beside the seat's own, with the name of who holds it inside: one that was left by a killed kvmctl
// is nobody's wish. Who sits looks for it every so often; who wishes waits so long.
const (
	wishSuffix = ".wanted"
	wishLook   = 200 * time.Millisecond
	wishWait   = 5 * time.Second
)

// oldLooks is how often a wish that seems older than the visit is looked at again: between its lock and its name it goes by the name of one
// that was killed. One that stays so was made after the clock was set back.
const oldLooks = 3

// takeSeat sits down at the lock file path; what names it in the TakenError, by is Host.By.
func takeSeat(ctx context.Context, path, what, by string, v Visitor) (*seat, error) {
	user, _, _ := strings.Cut(by, ",")
	me := Sitter{User: user, PID: os.Getpid(), TTY: v.TTY, Since: time.Now()}
	if who, ok := sitter(path + wishSuffix); ok && !v.Force { // who was just thrown out must not be the faster one
		return nil, &TakenError{What: what, By: who}
	}
	s, err := sitDown(ctx, seatWait, path, what, me)
	var taken *TakenError
	if !errors.As(err, &taken) || !v.Force {
		return s, err
	}
	wish, err := lockAs(ctx, seatWait, path+wishSuffix, what, me)
	if err != nil {
		return nil, err // somebody else is about to take it over
	}
	defer wish.Unlock()
	s, err = sitDown(ctx, wishWait, path, what, me)
	if errors.As(err, &taken) {
		return nil, &HeldSeatError{*taken, taken.By.Stopped()}
	}
	return s, err
}

// sitDown takes a seat and looks from then on whether somebody wishes to have it.
func sitDown(ctx context.Context, wait time.Duration, path, what string, me Sitter) (*seat, error) {
	l, err := lockAs(ctx, wait, path, what, me)
	if err != nil {
		return nil, err
	}
	ctx, stop := context.WithCancel(context.WithoutCancel(ctx)) // as long as the seat is held
	s := &seat{l: l, taken: make(chan Sitter, 1), stop: stop}
	s.wg.Go(func() {
		for old := 0; ctx.Err() == nil; pause(ctx, wishLook) {
			who, ok := sitter(path + wishSuffix)
			switch {
			case !ok, who.Since.Equal(me.Since): // our own, by which we took it
				old = 0
			case who.Since.Before(me.Since) && old < oldLooks:
				old++
			default:
				s.taken <- who
				return
			}
		}
	})
	return s, nil
}

// lockAs takes a lock and writes into it who holds it.
func lockAs(ctx context.Context, wait time.Duration, path, what string, me Sitter) (*flock.Lock, error) {
	ctx, cancel := context.WithTimeout(ctx, wait)
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
	b, err := json.Marshal(me)
	if err == nil {
		_ = l.File().Truncate(0)
		_, err = l.File().WriteAt(append(b, '\n'), 0)
	}
	if err != nil { // whoever comes next could not say who we are
		l.Unlock()
		return nil, fmt.Errorf("use %s: %w", what, err)
	}
	return l, nil
}

func (s *seat) leave() {
	s.stop()
	s.wg.Wait()
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

// ConsoleSitter tells who types on a guest's console, and whether anybody does.
func (h *Host) ConsoleSitter(name string) (Sitter, bool) { return sitter(h.ConsoleLock(name)) }
