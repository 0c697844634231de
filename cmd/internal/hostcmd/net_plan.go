package hostcmd

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"kvmctl/cmd/internal/cli"
	"kvmctl/configs"
	"kvmctl/internal/nearest"
	"kvmctl/netbridge"
	"kvmctl/netbridge/guard"
)

func newNetPlan(a *app) *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "plan [<bridge>...] [--json]",
		Short: "Show what net apply would do",
		Long: `Show the steps that are missing between the host's networks and kvm.toml, of all declared bridges or
of those named. Nothing is changed. A step marked with ! touches what the host itself is reached by:
net apply watches over it and undoes everything unless net confirm follows.`,
		Example: `  kvmctl net plan
  kvmctl net plan br0
  kvmctl net plan --json`,
		ValidArgsFunction: a.completeBridges,
		RunE: func(cmd *cobra.Command, names []string) error {
			return a.runNetPlan(cmd.Context(), names, asJSON)
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

// stepRow is a step in `net plan --json`.
type stepRow struct {
	Step      string `json:"step"`
	Dangerous bool   `json:"dangerous"`
}

func (a *app) runNetPlan(ctx context.Context, names []string, asJSON bool) error {
	want, err := a.declaredBridges(ctx, names, "plan")
	if err != nil {
		return err
	}
	k, err := netbridge.NewKernel()
	if err != nil {
		return fmt.Errorf("cannot plan the networks: %w", err)
	}
	defer k.Close()
	have, err := netbridge.Look(ctx, k, want)
	if err != nil {
		return fmt.Errorf("cannot plan the networks: %w", err)
	}
	steps, err := netbridge.Plan(have, want)
	if err != nil { // Plan only ever declines
		return cli.WithCode(fmt.Errorf("cannot plan the networks: %w", err), cli.ExitRefused)
	}
	rows := make([]stepRow, len(steps))
	for i, s := range steps {
		rows[i] = stepRow{s.String(), netbridge.Dangerous(s)}
	}
	if asJSON {
		return a.env.JSON(rows)
	}
	for _, r := range rows {
		mark := " "
		if r.Dangerous {
			mark = "!"
		}
		a.env.Print("%s %s\n", mark, cli.Printable(r.Step))
	}
	switch {
	case len(rows) == 0:
		a.env.Talk("nothing to do: the networks are as declared")
	case slices.ContainsFunc(steps, netbridge.Dangerous):
		a.env.Talk("steps with ! touch what this host is reached by: net apply undoes them after %s unless net confirm follows", defaultConfirm)
	}
	a.talkOfLeases(steps, want)
	return nil
}

// talkOfLeases says what ends by itself after a move.
func (a *app) talkOfLeases(steps []netbridge.Step, want []netbridge.Bridge) {
	leases := netbridge.Leases(steps)
	if len(leases) == 0 {
		return
	}
	var bridges []string
	for _, b := range want {
		if b.Keep {
			bridges = append(bridges, b.Name)
		}
	}
	a.env.Talk("the time of %s is limited: let whoever prolongs it (DHCP, router advertisements) work on %s from then on",
		strings.Join(leases, ", "), strings.Join(bridges, ", "))
}

// declaredBridges gives the declared bridges with these names, all without a name.
func (a *app) declaredBridges(ctx context.Context, names []string, act string) ([]netbridge.Bridge, error) {
	s, err := a.site(ctx)
	if err != nil {
		return nil, err
	}
	if problems := s.Problems.For(s.HostFile); len(problems) > 0 {
		return nil, badConfig(act, "the networks", problems)
	}
	return pickBridges(s, names, act)
}

func pickBridges(s *configs.Site, names []string, act string) ([]netbridge.Bridge, error) {
	if len(names) == 0 {
		return s.Host.Bridges, nil
	}
	var want []netbridge.Bridge
	var known []string
	for _, b := range s.Host.Bridges {
		known = append(known, b.Name)
	}
	for _, name := range dedupe(names) {
		i := slices.Index(known, name)
		if i < 0 {
			hint := "kvmctl net show"
			if near, ok := nearest.Find(name, known); ok {
				hint = fmt.Sprintf("did you mean %q?", near)
			}
			return nil, cli.Failed(hint, "cannot %s bridge %s: it is not declared in %s", act, name, s.HostFile)
		}
		want = append(want, s.Host.Bridges[i])
	}
	return want, nil
}

// movesOf gives the uplinks of bridges as they are after a plan.
func movesOf(have []netbridge.Link, want []netbridge.Bridge) []guard.Move {
	var moves []guard.Move
	for _, b := range want {
		for _, l := range have {
			if b.Uplink != "" && l.Name == b.Uplink {
				moves = append(moves, guard.Move{Bridge: b.Name, Uplink: b.Uplink, MAC: l.MAC.String()})
			}
		}
	}
	return moves
}
