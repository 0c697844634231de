package hostcmd

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"kvmctl/cmd/internal/cli"
	"kvmctl/configs"
	"kvmctl/internal/nearest"
	"kvmctl/netbridge"
	"kvmctl/netbridge/guard"
)

func newNetDown(a *app) *cobra.Command {
	timeout := defaultConfirm
	cmd := &cobra.Command{
		Use:   "down [<bridge>...] [--timeout T]",
		Short: "Remove bridges that kvmctl made and nobody uses",
		Long: `Remove bridges that kvmctl made; without a name, all that are declared in kvm.toml. They come back with
the next guest that needs them, or with net apply. A bridge that has ports is not removed, one that
kvmctl did not make never.

An uplink is taken out of its bridge, and where the bridge kept its addresses gets them back, with
routes and neighbours. That touches what the host is reached by: it is undone unless net confirm
follows, as after net apply.`,
		Example: `  kvmctl net down br0
  kvmctl net down`,
		ValidArgsFunction: a.completeBridges,
		RunE: func(cmd *cobra.Command, names []string) error {
			return a.runNetDown(cmd.Context(), names, timeout)
		},
	}
	cmd.Flags().DurationVar(&timeout, "timeout", timeout, "undo a dangerous change after `T` without a confirmation")
	return cmd
}

func (a *app) runNetDown(ctx context.Context, names []string, timeout time.Duration) error {
	if err := checkConfirmTime(timeout); err != nil {
		return err
	}
	if err := a.needRoot("remove a bridge"); err != nil {
		return err
	}
	s, err := a.site(ctx)
	if err != nil {
		return err
	}
	if problems := s.Problems.For(s.HostFile); len(problems) > 0 && len(names) == 0 {
		return badConfig("remove", "the bridges", problems)
	}
	var errs []error
	// Under the lock no start finds a bridge that goes the next moment.
	err = a.withNetworks(ctx, func(k *netbridge.LinuxKernel) error {
		all, err := netbridge.Show(ctx, k, s.Host.Bridges)
		if err != nil {
			return err
		}
		if len(names) == 0 {
			if names = a.ownBridges(all); len(names) == 0 {
				a.env.Talk("nothing to remove: no declared bridge is there that kvmctl made")
			}
		}
		for _, name := range dedupe(names) {
			errs = append(errs, a.removeBridge(ctx, k, s, name, timeout))
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("cannot remove the bridges: %w", err)
	}
	return errors.Join(errs...)
}

// ownBridges gives the declared bridges of ours that are there, and says which it passes over.
func (a *app) ownBridges(all []netbridge.Status) []string {
	var names []string
	for _, st := range all {
		switch {
		case st.Declared == nil || st.State == netbridge.Missing || st.State == netbridge.Blocked:
		case st.Ours:
			names = append(names, st.Name)
		default:
			a.env.Talk("bridge %s was not made by kvmctl and stays", st.Name)
		}
	}
	return names
}

func (a *app) removeBridge(ctx context.Context, k netbridge.Kernel, s *configs.Site, name string, timeout time.Duration) error {
	have, err := netbridge.LookDown(ctx, k, []string{name})
	if err != nil {
		return fmt.Errorf("cannot remove bridge %s: %w", name, err)
	}
	steps, err := netbridge.PlanDown(have, []string{name}, s.Host.Bridges)
	if err != nil { // PlanDown only ever declines
		return cli.WithCode(fmt.Errorf("cannot remove bridge %s: %w", name, err), cli.ExitRefused)
	}
	if len(steps) == 0 {
		return a.noBridge(s, have, name)
	}
	if slices.ContainsFunc(steps, netbridge.Dangerous) {
		err = a.underGuard(ctx, k, guard.Change{Steps: steps, Moves: []guard.Move{{Bridge: name}}, By: whoami(a.env) + ", kvmctl net down", Timeout: timeout})
	} else {
		err = netbridge.Apply(ctx, k, steps)
	}
	var pending *guard.PendingError
	if errors.As(err, &pending) {
		return cli.WithCode(fmt.Errorf("cannot remove bridge %s: %w", name, err), cli.ExitRefused)
	}
	if err != nil {
		return fmt.Errorf("cannot remove bridge %s: %w", name, err)
	}
	a.env.Talk("bridge %s removed", name)
	return nil
}

// noBridge tells a bridge that is down already from a name that was mistyped.
func (a *app) noBridge(s *configs.Site, have []netbridge.Link, name string) error {
	var known []string
	for _, b := range s.Host.Bridges {
		known = append(known, b.Name)
	}
	if slices.Contains(known, name) {
		a.env.Talk("bridge %s is not there already", name)
		return nil
	}
	for _, l := range have {
		if l.Ours() {
			known = append(known, l.Name)
		}
	}
	hint := "kvmctl net show"
	if near, ok := nearest.Find(name, known); ok {
		hint = fmt.Sprintf("did you mean %q?", near)
	}
	return cli.Failed(hint, "cannot remove bridge %s: neither declared nor there", name)
}

// completeBridges completes declared bridges.
func (a *app) completeBridges(cmd *cobra.Command, args []string, toComplete string) ([]string, cobra.ShellCompDirective) {
	s, err := configs.Load(cmd.Context(), a.root)
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	var names []string
	for _, b := range s.Host.Bridges {
		if strings.HasPrefix(b.Name, toComplete) && !slices.Contains(args, b.Name) {
			names = append(names, b.Name)
		}
	}
	return names, cobra.ShellCompDirectiveNoFileComp
}
