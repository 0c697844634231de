package hostcmd

import (
	"context"

	"github.com/spf13/cobra"
)

func newSnapshotCreate(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "create <vm> <name>",
		Short: "Keep what a guest is now",
		Long: `Keep what a guest is now, under a name: its disks and, if it runs, its memory. A guest that runs stands still
while its memory is written. The room is measured first; whatever fails is taken back, and the guest
goes on. ^C is heard when QEMU is done, and takes the snapshot back.`,
		Example:           "  kvmctl snapshot create vm-olorin before-upgrade",
		Args:              args(cobra.ExactArgs(2)),
		ValidArgsFunction: a.completeGuest,
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.runSnapshotCreate(cmd.Context(), args[0], args[1])
		},
	}
}

func (a *app) runSnapshotCreate(ctx context.Context, name, snap string) error {
	const act = "make a snapshot of"
	h, g, err := a.snapshotGuest(ctx, name, act)
	if err != nil {
		return err
	}
	memory, err := h.CreateSnapshot(ctx, imageTool(), &g.Spec, snap)
	switch {
	case err != nil:
		return a.snapshotFailed(ctx, h, name, act, err)
	case memory:
		a.env.Talk("%s: snapshot %s made, with its memory", name, snap)
	default:
		a.env.Talk("%s: snapshot %s made", name, snap)
	}
	return nil
}
