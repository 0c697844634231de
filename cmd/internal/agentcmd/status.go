package agentcmd

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"kvmctl/cmd/internal/cli"
	"kvmctl/ha"
)

type statusOptions struct {
	groups []string
	watch  bool
	json   bool
}

func newStatus(a *app) *cobra.Command {
	var o statusOptions
	cmd := &cobra.Command{
		Use:   "status [<group>...] [--watch] [--json]",
		Short: "Show each group's role, since when and why",
		Long: `Show each group's role, since when and why, how long ago the other node was heard, and below the table
what keeps a group from serving: checks that are red with their reasons, alarms, and the command that
overrides. Exit code 1 if a group is active neither here nor on a node that is heard. Beside a [peer.<name>]
a second table shows each group on every node, and how old each view is; ? marks one that is too old.

--watch shows the table again each second until q or Ctrl-C is typed, also while the agent is away. --json
prints everything the agent knows, its counters too. Its keys stay the same within a major version: node,
pid, version, uptime_seconds, degraded, loop, heartbeat, arbiter, peers, syncs; and of each of groups: name, interface, vhid, role, decided_by,
reason, since_seconds, cause, carp, served, addresses, checks, alarms, missing, override, mend, moves, storage; of each of peers:
name, role, paired, seen_seconds_ago, wrong, report; of each of syncs: name, group, held_seconds. What is empty may be left out, and keys may be added.`,
		Example: `  kvmha status
  kvmha status web --json
  kvmha status --watch`,
		ValidArgsFunction: a.completeGroups,
		RunE: func(cmd *cobra.Command, groups []string) error {
			o.groups = groups
			return a.runStatus(cmd.Context(), o)
		},
	}
	cmd.Flags().BoolVarP(&o.watch, "watch", "w", false, "show it again each second")
	cmd.Flags().BoolVar(&o.json, "json", false, "print JSON")
	cmd.MarkFlagsMutuallyExclusive("watch", "json")
	return cmd
}

// errNoStatus says that the agent answered something else.
var errNoStatus = errors.New("cannot show the status: the agent's answer holds none")

func (a *app) runStatus(ctx context.Context, o statusOptions) error {
	if o.watch {
		return a.runWatch(ctx, o)
	}
	reply, err := a.askStatus(ctx, o)
	if err != nil {
		return err
	}
	if o.json {
		if err := a.env.JSON(reply); err != nil {
			return fmt.Errorf("cannot show the status: %w", err)
		}
		return unserved(reply)
	}
	page, err := a.page(reply, o.groups)
	if err != nil {
		return err
	}
	a.env.Print("%s", page)
	return unserved(reply)
}

func (a *app) askStatus(ctx context.Context, o statusOptions) (*ha.Status, error) {
	reply, err := a.ask(ctx, "show the status", ha.Request{Verb: ha.VerbStatus, Groups: o.groups})
	if err == nil && reply.Status == nil {
		err = errNoStatus
	}
	return reply.Status, err
}

// page is the table and what stands below it.
func (a *app) page(s *ha.Status, only []string) (string, error) {
	var b bytes.Buffer
	if err := a.writeStatus(&b, s, only); err != nil {
		return "", fmt.Errorf("cannot show the status: %w", err)
	}
	return b.String(), nil
}

// unserved is exit code 1 for a group that nobody serves.
func unserved(s *ha.Status) error {
	if slices.ContainsFunc(s.Groups, func(g ha.GroupStatus) bool { return !g.Served }) {
		return &cli.QuietError{ExitCode: cli.ExitFailed}
	}
	return nil
}

// writeStatus writes the table, and below it what is wrong.
func (a *app) writeStatus(w *bytes.Buffer, s *ha.Status, only []string) error {
	var rows [][]string
	for _, g := range s.Groups {
		role := g.Role
		if g.Reason != "" {
			role += " (" + g.Reason + ")"
		}
		rows = append(rows, []string{g.Name, role, age(g.Since), strings.Join(addresses(g), ","), heard(s.Beat, g), g.Cause})
	}
	if err := a.writeRecords(w, s); err != nil || len(s.Groups) == 0 && len(s.Arbiter) > 0 {
		return errors.Join(err, degraded(w, s))
	}
	if err := cli.Table(w, []string{"GROUP", "ROLE", "SINCE", "ADDRESSES", "PEER", "WHY"}, rows); err != nil {
		return err
	}
	for _, g := range s.Groups {
		for _, c := range g.Checks {
			switch {
			case c.State == "green" && c.Reason != "":
				fmt.Fprintf(w, "%s: check %s is still green: %s\n", g.Name, c.Name, cli.Printable(c.Reason))
			case c.State != "green" && c.Reason != "" && !told(g, c):
				fmt.Fprintf(w, "%s: check %s is %s: %s\n", g.Name, c.Name, c.State, cli.Printable(c.Reason))
			}
		}
		for _, alarm := range g.Alarms {
			fmt.Fprintf(w, "%s: alarm: %s\n", g.Name, cli.Printable(alarm))
		}
		if g.Missing != "" && g.Missing != g.Cause && g.Role != "active" {
			fmt.Fprintf(w, "%s: waits for: %s\n", g.Name, cli.Printable(g.Missing))
		}
		for _, command := range g.Mend {
			fmt.Fprintf(w, "%s: to mend it: %s\n", g.Name, a.env.Again(command))
		}
		if g.Override != "" {
			fmt.Fprintf(w, "%s: to override: %s\n", g.Name, a.env.Again(g.Override))
		}
	}
	a.writeHeld(w, s)
	if err := a.writeNodes(w, s, only); err != nil {
		return err
	}
	return degraded(w, s)
}

// told reports whether an alarm has all that there is to say of a check.
func told(g ha.GroupStatus, c ha.CheckStatus) bool {
	return slices.Contains(g.Alarms, fmt.Sprintf("check: check %s is %s: %s", c.Name, c.State, c.Reason))
}

func degraded(w *bytes.Buffer, s *ha.Status) error {
	for _, d := range s.Degraded {
		if _, err := fmt.Fprintf(w, "degraded: %s\n", cli.Printable(d)); err != nil {
			return err
		}
	}
	return nil
}

// addresses lists a group's addresses; one in brackets is not held here.
func addresses(g ha.GroupStatus) (all []string) {
	for _, x := range g.Addresses {
		if x.Held {
			all = append(all, x.Address.String())
		} else {
			all = append(all, "("+x.Address.String()+")")
		}
	}
	return all
}

// heard tells who was heard last: by heartbeats where they decide, for there a node that stands by sends no adverts.
func heard(b *ha.BeatStatus, g ha.GroupStatus) string {
	peer, at := g.CARP.Peer, g.CARP.Heard
	if g.Decides == "heartbeat" && b != nil {
		peer, at = b.Peer, b.Heard
	}
	if at == nil {
		return "nobody yet"
	}
	return fmt.Sprintf("%s, %s ago", peer, age(*at))
}

func age(seconds float64) string { return cli.Age(time.Duration(seconds * float64(time.Second))) }

// completeGroup completes the one group that a command takes.
func (a *app) completeGroup(cmd *cobra.Command, args []string, toComplete string) ([]string, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	return a.completeGroups(cmd, args, toComplete)
}

// completeGroups completes names of groups, as the running agent knows them.
func (a *app) completeGroups(cmd *cobra.Command, args []string, toComplete string) ([]string, cobra.ShellCompDirective) {
	ctx, cancel := context.WithTimeout(cmd.Context(), time.Second)
	defer cancel()
	if a.place(cmd) != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	reply, err := ha.Ask(ctx, a.socketPath(), ha.Request{Verb: ha.VerbStatus})
	if err != nil || reply.Status == nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	var names []string
	for _, g := range reply.Status.Groups {
		if strings.HasPrefix(g.Name, toComplete) && !slices.Contains(args, g.Name) {
			names = append(names, cobra.CompletionWithDesc(g.Name, g.Role))
		}
	}
	return names, cobra.ShellCompDirectiveNoFileComp
}
