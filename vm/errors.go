package vm

import (
	"errors"
	"fmt"
	"strings"
)

// ErrNotRunning says that no QEMU runs for the guest.
var ErrNotRunning = errors.New("not running")

// ErrNoMonitor says that QEMU runs but does not answer on its monitor.
var ErrNoMonitor = errors.New("QEMU does not answer on its monitor")

// ForeignError says that something under a name of ours is not ours; we neither wait for it nor signal it.
type ForeignError struct {
	Path string
	What string
}

func (e *ForeignError) Error() string { return fmt.Sprintf("%s %s", e.Path, e.What) }

// Hint says how to get past it.
func (e *ForeignError) Hint() string { return "look at it with `ls -l " + e.Path + "`, then remove it" }

// Refused marks the error as a refusal for safety.
func (e *ForeignError) Refused() bool { return true }

// BusyError says that another kvmctl works on the guest.
type BusyError struct {
	Op  string // what it does: start, stop, …
	PID int
}

func (e *BusyError) Error() string {
	if e.Op == "" {
		return "another kvmctl is at work on it"
	}
	return fmt.Sprintf("kvmctl %s (pid %d) is at work on it", e.Op, e.PID)
}

// Hint says what to do.
func (e *BusyError) Hint() string { return "wait for it, then try again" }

// LaunchError is a QEMU that ended before the guest ran; its own words are the best explanation.
type LaunchError struct {
	Stderr []string // its last lines
	Exit   string   // how it ended: "exit status 1"
	hint   string
}

func (e *LaunchError) Error() string {
	if len(e.Stderr) == 0 {
		return "QEMU ended before it was ready: " + e.Exit
	}
	return "QEMU ended before it was ready (" + e.Exit + "): " + strings.Join(e.Stderr, "\n  ")
}

// Hint is what can be typed, where we know it.
func (e *LaunchError) Hint() string { return e.hint }

// StuckError says that even SIGKILL did not end QEMU: it hangs in the kernel, mostly on storage that does not answer.
type StuckError struct{ PID int }

func (e *StuckError) Error() string {
	return fmt.Sprintf("QEMU (pid %d) is stuck in the kernel: it outlived SIGKILL", e.PID)
}

// Hint says where to look.
func (e *StuckError) Hint() string {
	return fmt.Sprintf("see what it waits for: cat /proc/%d/stack; mostly storage that does not answer", e.PID)
}
