package hostcmd

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"kvmctl/cmd/internal/cli"
	"kvmctl/configs"
	"kvmctl/vm"
)

type startOptions struct {
	names  []string
	dryRun bool
}

func newStart(a *app) *cobra.Command {
	var o startOptions
	cmd := &cobra.Command{
		Use:   "start [<vm>...] [--dry-run]",
		Short: "Start guests; without a name all with autostart, in order",
		Long: `Start guests and return when they run. A guest that runs already is left alone.

Without a name, all guests with autostart = true are started: lower order first, each after
the guests named in its after, start_delay later; what depends on nothing common starts at the
same time. One guest that fails does not stop the others.`,
		Example: `  kvmctl start vm-olorin
  kvmctl start
  kvmctl start vm-olorin --dry-run`,
		ValidArgsFunction: a.completeGuests,
		RunE: func(cmd *cobra.Command, names []string) error {
			o.names = names
			return a.runStart(cmd.Context(), o)
		},
	}
	cmd.Flags().BoolVar(&a.noScope, "no-scope", false, "leave the guest in the caller's session, where it may end at logout")
	cmd.Flags().BoolVar(&o.dryRun, "dry-run", false, "print QEMU's command line and start nothing")
	return cmd
}

func (a *app) runStart(ctx context.Context, o startOptions) error {
	s, err := a.site(ctx)
	if err != nil {
		return err
	}
	names := o.names
	if len(names) == 0 {
		for _, g := range s.Guests {
			if g.Spec.Autostart {
				names = append(names, g.Spec.Name)
			}
		}
		if len(names) == 0 {
			a.env.Talk("no guest has autostart = true; name one: kvmctl start <vm>")
			return nil
		}
	}
	guests, bad := a.named(s, names, "start")
	if o.dryRun {
		return errors.Join(bad, a.dryRun(ctx, s, guests))
	}
	if err := a.needRoot("start a guest"); err != nil {
		return err
	}
	return errors.Join(bad, a.startGuests(ctx, s, guests))
}

// startGuests starts guests in their order, each with a line that says what came of it.
func (a *app) startGuests(ctx context.Context, s *configs.Site, guests []*configs.Guest) error {
	h := a.host(s, "start")
	if a.verbose {
		h.Step = func(name string) { a.env.Talk("start: %s", name) }
	}
	specs := specsOf(guests)
	errs := vm.StartAll(ctx, specs, func(ctx context.Context, spec *vm.Spec) error {
		if err := notUnderneath(ctx, s, spec); err != nil {
			return err
		}
		st, err := h.Start(ctx, spec)
		if err != nil {
			return a.orMounted(err)
		}
		if st.Already {
			return a.sayAlready(ctx, h, spec.Name, st)
		}
		a.sayStarted(spec.Name, st)
		return nil
	})
	for i, err := range errs {
		if errors.Is(err, context.Canceled) {
			err = cli.Failed("kvmctl status "+specs[i].Name, "interrupted")
		}
		if err != nil {
			errs[i] = permission(fmt.Errorf("cannot start %s: %w", specs[i].Name, err))
		}
	}
	return errors.Join(errs...)
}

// notUnderneath refuses a guest that would write into what another guest's image is based on: the other would be destroyed without a
// word, and while it is stopped no lock of QEMU's says so.
func notUnderneath(ctx context.Context, s *configs.Site, spec *vm.Spec) error {
	for _, d := range spec.Disks {
		if d.ReadOnly {
			continue
		}
		for _, use := range imageUses(ctx, s, spec.Name) {
			if use.over(d.Image) {
				return cli.Refused("readonly = true for that disk, or an image of its own: kvmctl image create NEW --backing "+d.Image,
					"%s is what %s of %s is based on, and writing to it would destroy that", d.Image, use.links[0], use.guest)
			}
		}
	}
	return nil
}

// sayAlready tells of a guest that was there before. One that stands still is not what was asked for.
func (a *app) sayAlready(ctx context.Context, h *vm.Host, name string, st *vm.Started) error {
	switch now := h.Status(ctx, []string{name})[0]; now.State {
	case vm.StatePaused:
		return cli.Failed("kvmctl resume "+name, "it is there and paused (pid %d)", st.PID)
	case vm.StateWedged:
		return cli.Failed("kvmctl restart "+name+" --force", "it is there and does not answer (pid %d)", st.PID)
	}
	a.sayStarted(name, st)
	return nil
}

func (a *app) sayStarted(name string, st *vm.Started) {
	vnc := ""
	if st.State.VNC != "" {
		vnc = ", VNC " + display(st.State.VNC)
	}
	for _, n := range st.Notes {
		a.env.Talk("%s: %s", name, n)
	}
	if st.Already {
		a.env.Talk("%s is already running (pid %d%s)", name, st.PID, vnc)
		return
	}
	a.env.Talk("%s started (pid %d%s)", name, st.PID, vnc)
}

func specsOf(guests []*configs.Guest) []*vm.Spec {
	var specs []*vm.Spec
	for _, g := range guests {
		specs = append(specs, &g.Spec)
	}
	return specs
}

// dryRun prints what a start would execute, worked out by the same code.
func (a *app) dryRun(ctx context.Context, s *configs.Site, guests []*configs.Guest) error {
	h := a.host(s, "start --dry-run")
	var errs []error
	for _, g := range guests {
		p, err := h.Prepare(ctx, &g.Spec)
		if err != nil {
			errs = append(errs, fmt.Errorf("cannot work out the start of %s: %w", g.Spec.Name, err))
			continue
		}
		for _, n := range p.Notes {
			a.env.Talk("%s: %s", g.Spec.Name, n)
		}
		printArgv(a.env.Out, p.Argv)
	}
	return errors.Join(errs...)
}

// printArgv prints a command line that a shell reads back, an option a line.
func printArgv(w io.Writer, argv []string) {
	for i, arg := range argv {
		switch {
		case i == 0:
		case len(arg) > 1 && arg[0] == '-':
			io.WriteString(w, " \\\n  ")
		default:
			io.WriteString(w, " ")
		}
		io.WriteString(w, vm.CommandLine([]string{arg}))
	}
	io.WriteString(w, "\n")
}
