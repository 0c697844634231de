package hostcmd

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"kvmctl/cmd/internal/cli"
	"kvmctl/vm"
)

func newSnapshotRestore(a *app) *cobra.Command {
	var o vm.RestoreOptions
	yes := false
	cmd := &cobra.Command{
		Use:   "restore <vm> <name> [--disks-only] [--yes]",
		Short: "Turn a guest back to a snapshot",
		Long: `Turn a guest back to a snapshot: what it is now is lost, so kvmctl asks, or needs --yes without a terminal.

With a snapshot made while the guest ran, it goes on where it was: one that is off is started. --disks-only
turns back the disks alone, as after a power cut. With a snapshot made while it was off, the guest has
to be off.`,
		Example: `  kvmctl snapshot restore vm-olorin before-upgrade
  kvmctl snapshot restore vm-olorin before-upgrade --disks-only --yes`,
		Args:              args(cobra.ExactArgs(2)),
		ValidArgsFunction: a.completeSnapshot,
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.runSnapshotRestore(cmd.Context(), args[0], args[1], o, yes)
		},
	}
	cmd.Flags().BoolVar(&o.DisksOnly, "disks-only", false, "turn back the disks and not the memory")
	cmd.Flags().BoolVarP(&yes, "yes", "y", false, "do not ask")
	return cmd
}

func (a *app) runSnapshotRestore(ctx context.Context, name, snap string, o vm.RestoreOptions, yes bool) error {
	const act = "turn back"
	h, g, err := a.snapshotGuest(ctx, name, act)
	if err != nil {
		return err
	}
	if !yes {
		if err := a.confirmRestore(name, snap); err != nil {
			return err
		}
	}
	started, err := h.RestoreSnapshot(ctx, imageTool(), &g.Spec, snap, o)
	switch {
	case err != nil:
		return a.snapshotFailed(ctx, h, name, act, err)
	case started != nil:
		a.sayStarted(name, started)
	default:
		a.env.Talk("%s is as it was in snapshot %s", name, snap)
	}
	return nil
}

func (a *app) confirmRestore(name, snap string) error {
	again := "kvmctl snapshot restore " + name + " " + snap + " --yes"
	if _, ok := a.env.InTerminal(); !ok {
		return cli.Refused(again, "cannot turn back %s: nobody is there to confirm the loss of what it is now", name)
	}
	fmt.Fprintf(a.env.Err, "turn %s back to %s and lose what it is now? [y/N] ", name, snap)
	answer, err := bufio.NewReader(io.LimitReader(a.env.In, 256)).ReadString('\n')
	answer = strings.ToLower(strings.TrimSpace(answer))
	if err != nil || answer != "y" && answer != "yes" {
		return cli.Failed(again, "cannot turn back %s: not confirmed", name)
	}
	return nil
}
