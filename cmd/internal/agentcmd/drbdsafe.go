package agentcmd

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"kvmctl/cmd/internal/cli"
	"kvmctl/ha"
	"kvmctl/ha/drbd/lint"
)

// loadSafe reads the agent's file for a start, a reload or a restart: one whose storage may not run here is refused, too.
func (a *app) loadSafe(ctx context.Context) (ha.Spec, error) {
	spec, err := a.load(a.configPath())
	if err == nil {
		err = a.safeDRBD(ctx, spec, a.configPath())
	}
	return spec, err
}

// safeDRBD refuses, as an *ha.UnsafeError, to run the storage of a kvmha.toml on a drbd.conf that loses data by itself (FAILOVER.md, safety 10), or on one that
// cannot be judged.
func (a *app) safeDRBD(ctx context.Context, spec ha.Spec, file string) error {
	if !slices.ContainsFunc(spec.Groups, func(g ha.Group) bool { return len(g.Storage.Resources) > 0 }) {
		return nil
	}
	in, err := a.drbdInput(ctx, &drbdLintOptions{alone: true, spec: &spec, config: file})
	if err != nil {
		return &ha.UnsafeError{Why: []error{fmt.Errorf("storage is not safe here: %w", err)}}
	}
	unsafe := &ha.UnsafeError{}
	for _, f := range lint.Lint(in) {
		if f.Severity == lint.Danger {
			unsafe.Why = append(unsafe.Why, fmt.Errorf("storage is not safe here: %s: %s", f.Position, f.What))
		}
	}
	if len(unsafe.Why) == 0 {
		return nil
	}
	return unsafe
}

// unsafeToRun is the error of a program that does not start for it: like a bad kvmha.toml it gets no better by trying again, and a service manager that
// is told so (exit code 2) does not.
func unsafeToRun(act string, err error) error {
	unsafe, ok := errors.AsType[*ha.UnsafeError](err)
	if !ok {
		return err
	}
	errs := make([]error, len(unsafe.Why))
	for i, why := range unsafe.Why {
		errs[i] = cli.Usage(unsafe.Hint(), "cannot %s the agent: %w", act, why)
	}
	return errors.Join(errs...)
}
