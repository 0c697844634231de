package hostcmd

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"kvmctl/cmd/internal/cli"
	"kvmctl/configs"
	"kvmctl/vm"
)

func newSnapshot(a *app) *cobra.Command {
	return family(&cobra.Command{
		Use:   "snapshot",
		Short: "Keep states of a guest, and turn it back to one",
		Long: `Keep states of a guest inside its qcow2 images, and turn it back to one.

A snapshot of a guest that runs holds its memory too: turned back, it goes on where it was. One of a
guest that is off holds its disks alone. A guest with a writable raw disk can have none: that disk
would not be turned back.`,
		Example: `  kvmctl snapshot create vm-olorin before-upgrade
  kvmctl snapshot list vm-olorin
  kvmctl snapshot restore vm-olorin before-upgrade`,
	}, newSnapshotCreate(a), newSnapshotList(a), newSnapshotRestore(a), newSnapshotDelete(a))
}

// snapshotGuest gives the guest that a snapshot command is about.
func (a *app) snapshotGuest(ctx context.Context, name, act string) (*vm.Host, *configs.Guest, error) {
	if err := a.needRoot(act); err != nil {
		return nil, nil, err
	}
	s, err := a.site(ctx)
	if err != nil {
		return nil, nil, err
	}
	g, err := a.guest(s, name, act)
	if err != nil {
		return nil, nil, err
	}
	return a.host(s, "snapshot"), g, nil
}

// snapshotFailed words what went wrong.
func (a *app) snapshotFailed(ctx context.Context, h *vm.Host, name, act string, err error) error {
	if errors.Is(err, context.Canceled) {
		return cli.Failed("kvmctl status "+name, "cannot %s %s: interrupted", act, name)
	}
	if errors.Is(err, vm.ErrNotRunning) || errors.Is(err, vm.ErrNoMonitor) {
		return a.notDone(ctx, h, name, act, err)
	}
	return permission(fmt.Errorf("cannot %s %s: %w", act, name, imageError(err)))
}

// completeSnapshot completes a guest, then one of its snapshots.
func (a *app) completeSnapshot(cmd *cobra.Command, args []string, toComplete string) ([]string, cobra.ShellCompDirective) {
	if len(args) != 1 {
		return a.completeGuest(cmd, args, toComplete)
	}
	s, err := configs.Load(cmd.Context(), a.root)
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	g, err := s.Guest(args[0])
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	all, err := vm.Snapshots(cmd.Context(), imageTool(), &g.Spec)
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	var names []string
	for _, snap := range all {
		if strings.HasPrefix(snap.Name, toComplete) {
			names = append(names, cobra.CompletionWithDesc(snap.Name, fmt.Sprintf("%s, %s", snap.Made.Local().Format("2006-01-02 15:04"), snapshotKind(snap))))
		}
	}
	return names, cobra.ShellCompDirectiveNoFileComp
}

func snapshotKind(s vm.Snapshot) string {
	switch {
	case len(s.Missing) > 0:
		return "incomplete"
	case s.Memory > 0:
		return "running"
	}
	return "off"
}
