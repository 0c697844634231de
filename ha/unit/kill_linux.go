package unit

import (
	"context"
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"kvmctl/internal/proc"
)

// killPIDFile ends the process of a pidfile, and its group where it leads one: the workers of a server.
func killPIDFile(ctx context.Context, path string) error {
	if path == "" {
		return fmt.Errorf("%w: no pidfile is given for it", ErrCannotKill)
	}
	p, err := proc.OfPIDFile(path, "")
	if err != nil {
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
