package hostcmd

import (
	"context"
	"errors"
	"slices"

	"github.com/spf13/cobra"

	"kvmctl/cmd/internal/cli"
	"kvmctl/configs"
	"kvmctl/vm"
	"kvmctl/vm/image"
)

type startOptions struct {
	names     []string
	dryRun    bool
	wait      bool // until each is ready
	noWait    bool // for nobody
	withNeeds bool // start what the named ones come after
	alone     bool // do not look at what is not named
	discard   bool // --discard-saved
}

func newStart(a *app) *cobra.Command {
	var o startOptions
	cmd := &cobra.Command{
		Use:   "start [<vm>...] [--wait] [--with-needs] [--no-wait] [--dry-run] [--discard-saved]",
		Short: "Start guests; without a name all with autostart, in order",
		Long: `Start guests and return when they run. A guest that runs already is left alone.

Without a name, all guests with autostart = true are started: lower order first, each when the
guests named in its after are ready, start_delay later; what depends on nothing common starts at
the same time. Ready means what their ready in vm.toml says (the agent answers, a port, a ping, a
text on the console), or that they run where it says nothing. One guest that fails does not stop
the others.

A guest is not started, the reason is told and the exit code is 1 when one that it comes after
does not start, ends, or is not ready within its ready_timeout. That one goes on running; when it is ready
later, the same start again goes on from there: nothing waits in the background.

A guest that another one comes after is started only if it is named too or has autostart: it may
be down on purpose. --with-needs starts it as well; --no-wait starts what is named without looking
at what it comes after and without waiting until anything is ready. --wait returns when all
that were named are ready, with exit code 5 if one is not in time.

A guest that was saved goes on where it was. --discard-saved throws what was saved away and boots
it, as after a power cut.

^C leaves running what runs, and says what was not started.`,
		Example: `  kvmctl start vm-olorin
  kvmctl start
  kvmctl start vm-mail --with-needs
  kvmctl start vm-olorin --wait
  kvmctl start --dry-run`,
		ValidArgsFunction: a.completeGuests,
		RunE: func(cmd *cobra.Command, names []string) error {
			o.names = names
			return a.runStart(cmd.Context(), o)
		},
	}
	f := cmd.Flags()
	f.BoolVar(&o.wait, "wait", false, "return when they are ready")
	f.BoolVar(&o.noWait, "no-wait", false, "wait for nobody's readiness, and do not ask whether what they come after runs")
	f.BoolVar(&o.withNeeds, "with-needs", false, "start what they come after, too")
	f.BoolVar(&a.noScope, "no-scope", false, "leave the guest in the caller's session, where it may end at logout")
	f.BoolVar(&o.dryRun, "dry-run", false, "print the order and QEMU's command lines and start nothing")
	f.BoolVar(&o.discard, "discard-saved", false, "boot the named guests, and lose what was saved of them")
	cmd.MarkFlagsMutuallyExclusive("wait", "no-wait")
	return cmd
}

func (a *app) runStart(ctx context.Context, o startOptions) error {
	s, err := a.site(ctx)
	if err != nil {
		return err
	}
	names := o.names
	if len(names) == 0 && o.discard {
		return cli.Usage("kvmctl start <vm> --discard-saved", "cannot start: --discard-saved needs a name")
	}
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
	if o.withNeeds {
		names = withNeeds(s, names)
	}
	guests, bad := a.named(s, names, "start")
	if o.dryRun {
		return errors.Join(bad, a.dryRun(ctx, s, guests, o))
	}
	if err := a.needRoot("start a guest"); err != nil {
		return err
	}
	return errors.Join(bad, a.startPlanned(ctx, s, guests, o))
}

// withNeeds adds to names what they come after, directly and by way of others.
func withNeeds(s *configs.Site, names []string) []string {
	all := slices.Clone(names)
	for i := 0; i < len(all); i++ { // all grows meanwhile
		if g, err := s.Guest(all[i]); err == nil {
			for _, need := range g.Spec.After {
				if !slices.Contains(all, need) {
					all = append(all, need)
				}
			}
		}
	}
	return all
}

// startPlan works out who waits for whom.
func startPlan(s *configs.Site, guests []*configs.Guest, o startOptions) *vm.StartPlan {
	p := &vm.StartPlan{Specs: specsOf(guests), Wait: o.wait, Now: o.noWait}
	if o.alone || o.noWait {
		return p
	}
	known := map[string]bool{}
	for _, spec := range p.Specs {
		known[spec.Name] = true
	}
	for _, spec := range p.Specs {
		for _, need := range spec.After {
			if g, err := s.Guest(need); err == nil && !known[need] {
				known[need] = true
				p.Outside = append(p.Outside, &g.Spec)
			}
		}
	}
	return p
}

// backedUses gives the images of all guests that are based on others. Most are not, and cost 16 bytes each.
func backedUses(ctx context.Context, s *configs.Site) []imageUse {
	var all []imageUse
	for _, g := range s.Guests {
		backed := g.Spec
		backed.CDROMs = nil
		backed.Disks = nil
		for _, d := range g.Spec.Disks {
			if image.Backed(d.Image) {
				backed.Disks = append(backed.Disks, d)
			}
		}
		if len(backed.Disks) > 0 {
			all = append(all, usesOf(ctx, &backed)...)
		}
	}
	return all
}

// notUnderneath refuses a guest that would write into what another guest's image is based on: the other would be destroyed without a
// word, and while it is stopped no lock of QEMU's says so. uses are those of backedUses.
func notUnderneath(uses []imageUse, spec *vm.Spec) error {
	for _, d := range spec.Disks {
		if d.ReadOnly {
			continue
		}
		for _, use := range uses {
			if use.guest != spec.Name && use.over(d.Image) {
				return cli.Refused("readonly = true for that disk, or an image of its own: kvmctl image create NEW --backing "+d.Image,
					"%s is what %s of %s is based on, and writing to it would destroy that", d.Image, use.links[0], use.guest)
			}
		}
	}
	return nil
}

// sayAlready tells of a guest that was there before. One that stands still is not what was asked for.
func (a *app) sayAlready(ctx context.Context, h *vm.Host, name string, st *vm.Started) error {
	switch now := h.SureStatus(ctx, name); now.State {
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
	if st.State.Restored != "" {
		a.env.Talk("%s goes on where it was (pid %d%s)", name, st.PID, vnc)
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
