package unit

import (
	"context"
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"kvmctl/internal/child"
	"kvmctl/internal/proc"
)

// killPIDFile ends the process of a pidfile, and its group where it leads one: the workers of a server.
func killPIDFile(ctx context.Context, path string) error {
	if path == "" {
		return fmt.Errorf("%w: no pidfile is given for it", ErrCannotKill)
	}
	pid, err := proc.ReadPIDFile(path)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrCannotKill, err)
	}
	p, err := proc.Open(pid)
	switch {
	case errors.Is(err, unix.ESRCH): // a number that no process has is still that of its group, as long as this has members
		return killGroup(ctx, pid)
	case err != nil:
		return fmt.Errorf("%w: %w", ErrCannotKill, err)
	}
	defer p.Close()
	group, err := unix.Getpgid(p.PID)
	leads := err == nil && group == p.PID
	if leads { // as long as it lives or is not reaped the group's number is its own
		_ = unix.Kill(-group, unix.SIGKILL)
	}
	if err := p.Signal(unix.SIGKILL); err != nil {
		return err
	}
	for !p.Ended() || leads && !errors.Is(unix.Kill(-group, 0), unix.ESRCH) {
		if err := pause(ctx, settleEvery/10); err != nil {
			return fmt.Errorf("wait for the end of process %d: %w", p.PID, err)
		}
	}
	return nil
}

// killGroup ends what a process that is gone has left of its group.
func killGroup(ctx context.Context, group int) error {
	for !errors.Is(unix.Kill(-group, unix.SIGKILL), unix.ESRCH) {
		if err := pause(ctx, settleEvery/10); err != nil {
			return fmt.Errorf("wait for the end of the group of process %d: %w", group, err)
		}
	}
	return nil
}

// pidState tells by its pidfile whether a daemon runs.
func pidState(path string) Status {
	pid, err := proc.ReadPIDFile(path)
	if err != nil {
		return Status{Stopped, child.Printable(err.Error())}
	}
	p, err := proc.Open(pid)
	switch {
	case errors.Is(err, unix.ESRCH):
		return Status{Failed, fmt.Sprintf("process %d of %s has ended", pid, path)}
	case err != nil:
		return Status{Unknown, child.Printable(err.Error())}
	}
	defer p.Close()
	if p.Ended() {
		return Status{Failed, fmt.Sprintf("process %d of %s has ended", pid, path)}
	}
	return Status{Running, fmt.Sprintf("process %d of %s", pid, path)}
}
