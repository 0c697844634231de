package vm

import (
	"context"
	"errors"
	"fmt"
	"time"

	"kvmctl/vm/qmp"
)

// How a running command is asked after: often at first, because most are short, then twice a second.
const (
	execFirst = 5 * time.Millisecond
	execMost  = 500 * time.Millisecond
)

// execSilence is how long the agent may be silent while a command runs: others may have its channel, and a guest may be busy.
const execSilence = 30 * time.Second

// LeftRunningError says that a command in the guest is no longer waited for and may run on: the agent can start programs, not end them.
type LeftRunningError struct {
	PID int64 // in the guest
	Err error // why nobody waits for it
}

func (e *LeftRunningError) Error() string {
	return fmt.Sprintf("%v; the command may run on in the guest as pid %d, the agent cannot end it", e.Err, e.PID)
}

func (e *LeftRunningError) Unwrap() error { return e.Err }

// Exec runs a program in a guest through its agent and waits for its end, for as long as ctx allows. The agent hands over all output
// at the end. Its channel is held for moments only, so that others reach the agent while a long command runs.
func (h *Host) Exec(ctx context.Context, name string, c qmp.GuestCommand) (qmp.ExecStatus, error) {
	var pid int64
	err := h.withAgent(ctx, name, func(a *qmp.Agent) (err error) {
		pid, err = a.Exec(ctx, c)
		return err
	})
	if err != nil {
		return qmp.ExecStatus{}, err
	}
	s, err := h.awaitExec(ctx, name, pid)
	if err != nil {
		return s, &LeftRunningError{pid, err}
	}
	return s, nil
}

func (h *Host) withAgent(ctx context.Context, name string, use func(*qmp.Agent) error) error {
	a, closeAgent, err := h.Agent(ctx, name, qmp.MaxLine(qmp.ExecMaxLine))
	if err != nil {
		return err
	}
	defer closeAgent()
	return use(a)
}

func (h *Host) awaitExec(ctx context.Context, name string, pid int64) (s qmp.ExecStatus, err error) {
	heard := time.Now()
	for wait := execFirst; ; wait = min(wait*3/2, execMost) {
		pause(ctx, wait)
		if ctx.Err() != nil {
			return s, ctx.Err()
		}
		err := h.withAgent(ctx, name, func(a *qmp.Agent) (err error) {
			s, err = a.ExecStatus(ctx, pid)
			return err
		})
		var refused *qmp.Error
		switch {
		case err == nil && s.Exited:
			return s, nil
		case err == nil:
			heard = time.Now()
		case ctx.Err() != nil:
			return s, ctx.Err()
		case errors.As(err, &refused), errors.Is(err, ErrNotRunning), time.Since(heard) > execSilence:
			return s, err
		}
		if p, perr := h.owner(name); errors.Is(perr, ErrNotRunning) {
			return s, fmt.Errorf("the guest ended meanwhile: %w", perr)
		} else if perr == nil {
			p.Close()
		}
	}
}
