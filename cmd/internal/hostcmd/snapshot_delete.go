package hostcmd

import (
	"context"

	"github.com/spf13/cobra"
)

func newSnapshotDelete(a *app) *cobra.Command {
	return &cobra.Command{
		Use:               "delete <vm> <name>",
		Short:             "Forget a snapshot",
		Long:              "Forget a snapshot, on all disks that have it. The guest stays what it is now, whether or not it runs.",
		Example:           "  kvmctl snapshot delete vm-olorin before-upgrade",
		Args:              args(cobra.ExactArgs(2)),
		ValidArgsFunction: a.completeSnapshot,
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.runSnapshotDelete(cmd.Context(), args[0], args[1])
		},
	}
}

func (a *app) runSnapshotDelete(ctx context.Context, name, snap string) error {
	const act = "delete a snapshot of"
	h, g, err := a.snapshotGuest(ctx, name, act)
	if err != nil {
		return err
	}
	if err := h.DeleteSnapshot(ctx, imageTool(), &g.Spec, snap); err != nil {
		return a.snapshotFailed(ctx, h, name, act, err)
	}
	a.env.Talk("%s: snapshot %s deleted", name, snap)
	return nil
}
