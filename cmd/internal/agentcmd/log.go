package agentcmd

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"kvmctl/cmd/internal/cli"
	"kvmctl/ha/audit"
)

type logOptions struct {
	group   string
	last    int
	given   bool // -n was given
	follow  bool
	explain bool
	json    bool
}

func newLog(a *app) *cobra.Command {
	o := &logOptions{}
	cmd := &cobra.Command{
		Use:   "log [<group>] [-n <count>] [-f] [--explain] [--json]",
		Short: "Show every change of role, and why",
		Long: `Show every change of role on this node, a line each, the newest last: when, from which role to which, on
what event, and its cause. The agent need not run.

--explain adds what was known when it was decided. -f goes on with what happens from now on; with --json
that is an object a line, without -f an array.`,
		Example: `  kvmha log
  kvmha log dns --explain
  kvmha log -n 10 -f
  kvmha log --json`,
		Args:              args(cobra.MaximumNArgs(1)),
		ValidArgsFunction: a.completeGroup,
		RunE: func(cmd *cobra.Command, words []string) error {
			if len(words) > 0 {
				o.group = words[0]
			}
			o.given = cmd.Flags().Changed("number")
			return a.runLog(cmd.Context(), o)
		},
	}
	cmd.Flags().IntVarP(&o.last, "number", "n", 0, "only the last so many")
	cmd.Flags().BoolVarP(&o.follow, "follow", "f", false, "go on with what happens")
	cmd.Flags().BoolVar(&o.explain, "explain", false, "add what was known")
	cmd.Flags().BoolVar(&o.json, "json", false, "print JSON")
	return cmd
}

func (a *app) runLog(ctx context.Context, o *logOptions) error {
	if o.given && o.last < 1 {
		return cli.Usage("kvmha log -n 10", "cannot show the log: -n has to be 1 or more")
	}
	path := a.auditPath()
	all, place, bad, err := audit.Read(path)
	if err != nil {
		return fmt.Errorf("cannot show the log: %w", permission(err))
	}
	if bad > 0 {
		fmt.Fprintf(a.env.Err, "kvmha: %d lines of %s are no records and were left out\n", bad, path)
	}
	shown := []audit.Entry{}
	for _, e := range all {
		if o.group == "" || e.Group == o.group {
			shown = append(shown, e)
		}
	}
	if len(shown) == 0 && bad == 0 {
		a.nothingLogged(o.group, path)
	}
	if o.given {
		shown = shown[max(0, len(shown)-o.last):]
	}
	if o.json && !o.follow {
		return a.env.JSON(shown)
	}
	for _, e := range shown {
		if err := a.printEntry(o, e); err != nil {
			return err
		}
	}
	if !o.follow {
		return nil
	}
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	err = audit.Follow(ctx, path, place, func(e audit.Entry) {
		if o.group == "" || e.Group == o.group {
			if err := a.printEntry(o, e); err != nil { // whoever read it has gone
				stop(err)
			}
		}
	})
	if err != nil {
		return fmt.Errorf("cannot show the log: %w", err)
	}
	return nil
}

// nothingLogged says why there is nothing to see.
func (a *app) nothingLogged(group, path string) {
	if group == "" {
		a.env.Talk("no change of role was recorded in %s: no agent has run here yet", path)
		return
	}
	a.env.Talk("no change of role of a group %s was recorded in %s", quote(group), path)
}

func (a *app) printEntry(o *logOptions, e audit.Entry) error {
	if o.json {
		b, err := json.Marshal(e)
		if err != nil {
			return err
		}
		_, err = fmt.Fprintf(a.env.Out, "%s\n", b)
		return err
	}
	if _, err := fmt.Fprintf(a.env.Out, "%s %s\n", e.Time.Local().Format(time.DateTime), e.Line()); err != nil || !o.explain {
		return err
	}
	for _, f := range e.Facts {
		if _, err := fmt.Fprintf(a.env.Out, "    %s\n", f); err != nil {
			return err
		}
	}
	return nil
}
