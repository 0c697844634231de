package hostcmd

import (
	"context"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"kvmctl/cmd/internal/cli"
	"kvmctl/vm"
)

func newSnapshotList(a *app) *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "list <vm> [--json]",
		Short: "List what a guest can be turned back to",
		Long: `List a guest's snapshots, oldest first. STATE says what the guest was: running (MEMORY is what it takes) or
off; incomplete is one that not all disks have.`,
		Example: `  kvmctl snapshot list vm-olorin
  kvmctl snapshot list vm-olorin --json`,
		Args:              args(cobra.ExactArgs(1)),
		ValidArgsFunction: a.completeGuest,
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.runSnapshotList(cmd.Context(), args[0], asJSON)
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

// stateRow is a snapshot in `snapshot list --json`.
type stateRow struct {
	Name    string    `json:"name"`
	Made    time.Time `json:"made"`
	State   string    `json:"state"`
	Memory  int64     `json:"memory_bytes"`
	Missing []string  `json:"missing_on,omitempty"`
}

func (a *app) runSnapshotList(ctx context.Context, name string, asJSON bool) error {
	const act = "list the snapshots of"
	h, g, err := a.snapshotGuest(ctx, name, act)
	if err != nil {
		return err
	}
	all, err := vm.Snapshots(ctx, imageTool(), &g.Spec)
	if err != nil {
		return a.snapshotFailed(ctx, h, name, act, err)
	}
	rows := make([]stateRow, 0, len(all))
	var cells [][]string
	for _, s := range all {
		rows = append(rows, stateRow{s.Name, s.Made, snapshotKind(s), int64(s.Memory), s.Missing})
		memory, note := "", ""
		if s.Memory > 0 {
			memory = s.Memory.Rounded().String()
		}
		if len(s.Missing) > 0 {
			note = "not on " + strings.Join(s.Missing, ", ")
		}
		cells = append(cells, []string{s.Name, s.Made.Local().Format(time.DateTime), snapshotKind(s), memory, note})
	}
	if asJSON {
		return a.env.JSON(rows)
	}
	return cli.Table(a.env.Out, []string{"NAME", "MADE", "STATE", "MEMORY", "NOTE"}, cells)
}
