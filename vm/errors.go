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

// MonitorHeldError says that another kvmctl kept a guest's monitor for so long that the guest could not even be asked.
type MonitorHeldError struct{}

func (*MonitorHeldError) Error() string {
	return "another kvmctl held its monitor all the time, so the guest could not be asked to shut down"
}

// Hint says how to find that kvmctl, and the way without it.
func (*MonitorHeldError) Hint() string {
	return "see `ps -C kvmctl`: one may be stopped by ^Z; --force does without the monitor"
}

// Refused marks the error as a refusal for safety: nothing was done to the guest.
func (*MonitorHeldError) Refused() bool { return true }

// UnfinishedError says that a guest's QEMU is there, but was never let go: nobody may use it before its start is done anew.
type UnfinishedError struct{ Name string }

func (e *UnfinishedError) Error() string { return "its start is not finished" }

// Hint finishes it.
func (e *UnfinishedError) Hint() string { return "kvmctl start " + e.Name }

// Refused marks the error as a refusal for safety: the guest has no flight recorder yet.
func (e *UnfinishedError) Refused() bool { return true }
