package hostcmd

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"kvmctl/cmd/internal/cli"
	"kvmctl/vm"
)

type diffOptions struct {
	name string
	json bool
}

func newDiff(a *app) *cobra.Command {
	var o diffOptions
	cmd := &cobra.Command{
		Use:   "diff <vm> [--json]",
		Short: "Show where vm.toml, the last start and the running guest differ",
		Long: `Show in what a guest's file, its last start and the guest that runs are not the same. What runs is asked
of QEMU; what no QEMU can change while it runs is as it was started.

STATE is "pending" for what kvmctl set <vm> would apply now, "pending (next start)", "pending (guest)"
for what QEMU has and the guest is not known to have, and "applied" for what was changed since the start.`,
		Example: `  kvmctl diff vm-olorin
  kvmctl diff vm-olorin --json`,
		Args:              args(cobra.ExactArgs(1)),
		ValidArgsFunction: a.completeGuest,
		RunE: func(cmd *cobra.Command, names []string) error {
			o.name = names[0]
			return a.runDiff(cmd.Context(), o)
		},
	}
	cmd.Flags().BoolVar(&o.json, "json", false, "print JSON")
	return cmd
}

func (a *app) runDiff(ctx context.Context, o diffOptions) error {
	if err := a.needRoot("compare a guest with its file"); err != nil {
		return err
	}
	s, err := a.site(ctx)
	if err != nil {
		return err
	}
	g, err := a.guest(s, o.name, "compare")
	if err != nil {
		return err
	}
	return a.compare(ctx, a.host(s, "diff"), &g.Spec, o.json)
}

// diffRow is a difference in `diff --json`; a value that there is not is left out.
type diffRow struct {
	Key     string `json:"key"`
	File    string `json:"file,omitempty"`
	Started string `json:"last_start,omitempty"`
	Live    string `json:"live,omitempty"`
	State   string `json:"state"`
	Reason  string `json:"reason,omitempty"`
}

// compare prints how a guest differs from its file.
func (a *app) compare(ctx context.Context, h *vm.Host, spec *vm.Spec, json bool) error {
	changes, running, err := h.Compare(ctx, spec)
	if err != nil {
		return fmt.Errorf("cannot compare %s: %w", spec.Name, err)
	}
	rows := []diffRow{}
	for _, c := range changes {
		rows = append(rows, diffRow{c.Key, c.File, c.Started, c.Live, stateOf(c), c.Reason})
	}
	if json {
		return a.env.JSON(rows)
	}
	if len(rows) == 0 {
		where := "its last start"
		if running {
			where = "what runs"
		}
		a.env.Talk("%s: its file says nothing else than %s", spec.Name, where)
		return nil
	}
	var cells [][]string
	for _, r := range rows {
		cells = append(cells, []string{r.Key, r.File, r.Started, r.Live, r.State, r.Reason})
	}
	return cli.Table(a.env.Out, []string{"KEY", "FILE", "LAST START", "LIVE", "STATE", "REASON"}, cells)
}

func stateOf(c vm.Change) string {
	switch c.When {
	case vm.WhenNow:
		return "pending"
	case vm.WhenGuest:
		return "pending (guest)"
	case vm.WhenDone:
		return "applied"
	case vm.WhenStart:
	}
	return "pending (next start)"
}
