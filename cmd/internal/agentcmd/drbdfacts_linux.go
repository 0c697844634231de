package agentcmd

import (
	"context"
	"errors"
	"io/fs"

	"kvmctl/ha/drbd"
	"kvmctl/ha/drbd/control"
	"kvmctl/ha/drbd/overview"
	"kvmctl/internal/runner"
)

// drbdControl acts on DRBD here.
func drbdControl() *control.Control { return control.New(runner.Exec{}) }

// drbdFacts asks DRBD itself, with and without an agent.
func drbdFacts(ctx context.Context, c *control.Control, configured []string) (f overview.Facts, err error) {
	f.Configured = configured
	if f.State, err = c.States(ctx); err != nil {
		return f, err
	}
	if f.Proc, err = c.Proc(); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return f, err
	}
	f.Causes, _ = c.Causes(ctx, f.State) // the kernel's log may be closed to others than root: then it is not said why
	return f, nil
}

// drbdCompared gives how far the last verification of a resource went.
func drbdCompared(ctx context.Context, c *control.Control, name string) (drbd.Comparison, error) {
	s, err := c.States(ctx)
	if err != nil {
		return drbd.NotTold, err
	}
	r, _ := s.Resource(name)
	return c.Compared(ctx, r)
}
