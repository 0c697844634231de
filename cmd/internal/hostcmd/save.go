package hostcmd

import (
	"context"
	"errors"

	"github.com/spf13/cobra"

	"kvmctl/cmd/internal/cli"
	"kvmctl/vm"
)

func newSave(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "save <vm> [FILE]",
		Short: "Put a running guest into a file; start goes on where it was",
		Long: `Write what a running guest is doing, its memory and its devices, to a file and end its QEMU. The next start,
or restore, goes on where it was; its connections go on too if that is soon.

Without FILE the guest's own place is used: /var/lib/kvm/<vm>/saved.state. The file is root's alone:
all that the guest had in memory is in it. The room is measured first. The guest stands still from the
beginning to the end, and runs on if anything fails, on ^C, and if kvmctl is killed.

A guest that was saved must get back the same hardware, and its disks must not be written to
meanwhile: otherwise a restore is refused. Memory, CPUs, disks and cards that it got while it ran come
back with it; what else was plugged in on a monitor is refused. A paused guest goes on when it is restored.`,
		Example: `  kvmctl save vm-olorin
  kvmctl save vm-olorin /srv/olorin.state`,
		Args:              args(cobra.RangeArgs(1, 2)),
		ValidArgsFunction: a.completeState,
		RunE:              func(cmd *cobra.Command, args []string) error { return a.runSave(cmd.Context(), args) },
	}
}

func (a *app) runSave(ctx context.Context, args []string) error {
	name := args[0]
	g, h, file, err := a.oneState(ctx, "save", args)
	if err != nil {
		return err
	}
	bar := a.progress("saving " + name)
	o := vm.SaveOptions{File: file, Progress: bar.set}
	saved, err := h.Save(ctx, &g.Spec, o)
	bar.end()
	if errors.Is(err, context.Canceled) {
		return cli.Failed("kvmctl status "+name, "cannot save %s: interrupted; it runs on", name)
	}
	if errors.Is(err, vm.ErrNotRunning) {
		if in := h.SavedIn(name); in != "" && (o.File == "" || o.File == in) {
			a.env.Talk("%s is already saved, to %s", name, in)
			return nil
		}
	}
	if err != nil {
		return a.notDone(ctx, h, name, "save", err)
	}
	for _, n := range saved.Notes {
		a.env.Talk("%s: %s", name, n)
	}
	a.env.Talk("%s saved to %s, %v, in %s; to go on: kvmctl start %s", name, saved.File, saved.Size.Rounded(), cli.Age(saved.Took), name)
	return nil
}
