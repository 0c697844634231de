package hostcmd

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"kvmctl/cmd/internal/cli"
	"kvmctl/vm"
)

func newRestore(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "restore <vm> [FILE]",
		Short: "Let a saved guest go on where it was",
		Long: `Start a guest with what save has put into a file: it goes on where it was. Without FILE it is what the guest
was saved to; kvmctl start does the same.

The guest's own saved state is used up by it; a FILE of yours stays, and is of no use any more. A
restore is refused where the guest would get other hardware, and where one of its disks was written to
since. kvmctl start <vm> --discard-saved boots the guest without its saved state.`,
		Example: `  kvmctl restore vm-olorin
  kvmctl restore vm-olorin /srv/olorin.state`,
		Args:              args(cobra.RangeArgs(1, 2)),
		ValidArgsFunction: a.completeState,
		RunE:              func(cmd *cobra.Command, args []string) error { return a.runRestore(cmd.Context(), args) },
	}
}

func (a *app) runRestore(ctx context.Context, args []string) error {
	name := args[0]
	g, h, file, err := a.oneState(ctx, "restore", args)
	if err != nil {
		return err
	}
	if file == "" {
		file = h.SavedIn(name)
	}
	from := vm.Origin{File: file}
	if from.File == "" {
		st := h.Status(ctx, []string{name})[0]
		if st.PID == 0 {
			return cli.Failed("kvmctl start "+name, "cannot restore %s: it is not saved", name)
		}
		return cli.Failed("kvmctl status "+name, "cannot restore %s: it runs", name)
	}
	bar := a.progress("restoring " + name)
	from.Progress = bar.set
	started, err := h.StartFrom(ctx, &g.Spec, from)
	bar.end()
	switch {
	case errors.Is(err, context.Canceled):
		return cli.Failed("kvmctl status "+name, "cannot restore %s: interrupted; it is still in %s", name, from.File)
	case err != nil:
		return permission(fmt.Errorf("cannot restore %s: %w", name, err))
	case started.Already:
		return cli.Failed("kvmctl stop "+name, "cannot restore %s: it runs (pid %d)", name, started.PID)
	}
	a.sayStarted(name, started)
	return nil
}
