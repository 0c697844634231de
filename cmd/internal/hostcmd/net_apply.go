package hostcmd

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"kvmctl/cmd/internal/cli"
	"kvmctl/netbridge"
	"kvmctl/netbridge/guard"
)

// defaultConfirm is how long a dangerous change waits for its confirmation.
const defaultConfirm = 30 * time.Second

type netApplyOptions struct {
	names   []string
	timeout time.Duration
	boot    bool
}

func newNetApply(a *app) *cobra.Command {
	o := netApplyOptions{timeout: defaultConfirm}
	cmd := &cobra.Command{
		Use:   "apply [<bridge>...] [--timeout T]",
		Short: "Make the networks as kvm.toml declares them",
		Long: `Take the steps that net plan shows, for all declared bridges or for those named. What fails is undone.

Where a step touches what the host itself is reached by, how everything was is written to disk
first and a guard is started, a process of its own. Unless net confirm is typed within the timeout
the guard undoes the change: a connection that is cut off comes back by itself. If the guard is
killed, the next kvmctl command of root's undoes it. A move that was confirmed once is made again
at boot.`,
		Example: `  kvmctl net apply
  kvmctl net apply br0 --timeout 2m`,
		ValidArgsFunction: a.completeBridges,
		RunE: func(cmd *cobra.Command, names []string) error {
			o.names = names
			return a.runNetApply(cmd.Context(), o)
		},
	}
	cmd.Flags().DurationVar(&o.timeout, "timeout", o.timeout, "undo a dangerous change after `T` without a confirmation")
	cmd.Flags().BoolVar(&o.boot, "boot", false, "make what was confirmed once without waiting, and refuse anything else that is dangerous")
	return cmd
}

func (a *app) runNetApply(ctx context.Context, o netApplyOptions) error {
	if err := checkConfirmTime(o.timeout); err != nil {
		return err
	}
	if err := a.needRoot("change the networks"); err != nil {
		return err
	}
	want, err := a.declaredBridges(ctx, o.names, "apply")
	if err != nil {
		return err
	}
	err = a.withNetworks(ctx, func(k *netbridge.LinuxKernel) error { return a.applyNetworks(ctx, k, want, o) })
	var pending *guard.PendingError
	var declined *declinedError
	switch {
	case errors.As(err, &pending), errors.As(err, &declined):
		return cli.WithCode(fmt.Errorf("cannot apply the networks: %w", err), cli.ExitRefused)
	case err != nil:
		return fmt.Errorf("cannot apply the networks: %w", err)
	}
	return nil
}

func checkConfirmTime(d time.Duration) error {
	if d < time.Second || d > time.Hour {
		return cli.Usage("--timeout 30s", "cannot wait %s for a confirmation: the timeout goes from 1s to 1h", d)
	}
	return nil
}

// declinedError is a plan that cannot be made.
type declinedError struct{ err error }

func (e *declinedError) Error() string { return e.err.Error() }

func (e *declinedError) Unwrap() error { return e.err }

// applyNetworks runs under the NetLock.
func (a *app) applyNetworks(ctx context.Context, k *netbridge.LinuxKernel, want []netbridge.Bridge, o netApplyOptions) error {
	f := a.guardFiles()
	if rec, err := guard.Pending(f); err != nil {
		return err
	} else if rec != nil {
		return &guard.PendingError{Record: rec}
	}
	have, err := netbridge.Look(ctx, k, want)
	if err != nil {
		return err
	}
	steps, err := netbridge.Plan(have, want)
	if err != nil {
		return &declinedError{err}
	}
	if len(steps) == 0 && o.boot {
		return nil // at each boot of each host
	}
	if len(steps) == 0 {
		a.env.Talk("nothing to do: the networks are as declared")
		return nil
	}
	moves := movesOf(have, want)
	if o.boot {
		if err := a.allowed(f, have, want, moves); err != nil {
			return &declinedError{err}
		}
	}
	if o.boot || !slices.ContainsFunc(steps, netbridge.Dangerous) {
		if err := netbridge.Apply(ctx, k, steps); err != nil {
			return err
		}
		a.env.Talk("%s made", count(len(steps), "step"))
		return nil
	}
	if err := a.underGuard(ctx, k, guard.Change{Steps: steps, Moves: moves, By: whoami(a.env) + ", kvmctl net apply", Timeout: o.timeout}); err != nil {
		return err
	}
	a.talkOfLeases(steps, want)
	return nil
}

// underGuard makes a change that has to be confirmed.
func (a *app) underGuard(ctx context.Context, k netbridge.Kernel, c guard.Change) error {
	if err := guard.Apply(ctx, a.guardFiles(), k, c, a.spawnGuard); err != nil {
		return err
	}
	a.env.Talk("%s made, to be undone in %s; if this host can be reached, type in a new connection: kvmctl net confirm",
		count(len(c.Steps), "step"), c.Timeout)
	return nil
}

// allowed refuses dangerous moves that nobody has confirmed yet.
func (a *app) allowed(f guard.Files, have []netbridge.Link, want []netbridge.Bridge, moves []guard.Move) error {
	ok, err := f.Moves()
	if err != nil {
		return err
	}
	for _, b := range want {
		steps, err := netbridge.Plan(have, []netbridge.Bridge{b})
		if err != nil {
			return err
		}
		i := slices.IndexFunc(moves, func(m guard.Move) bool { return m.Bridge == b.Name })
		if slices.ContainsFunc(steps, netbridge.Dangerous) && (i < 0 || !guard.Allowed(ok, moves[i])) {
			return &netbridge.DangerousError{Bridge: b.Name}
		}
	}
	return nil
}
