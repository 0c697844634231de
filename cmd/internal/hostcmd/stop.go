package hostcmd

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"kvmctl/cmd/internal/cli"
	"kvmctl/configs"
	"kvmctl/vm"
)

type stopOptions struct {
	names   []string
	all     bool
	yes     bool
	force   bool
	timeout time.Duration
	given   bool // --timeout was given
	within  time.Duration
	hasten  bool // --budget was given
	budget  *vm.Budget
}

func newStop(a *app) *cobra.Command {
	var o stopOptions
	cmd := &cobra.Command{
		Use:   "stop [<vm>...] [--all] [--timeout 30s] [--budget[=10m]] [--force]",
		Short: "Stop guests; without a name all that run, in reverse order",
		Long: `Ask guests to shut down, wait, then kill; say which step ended each.

The guest is asked by its agent if that answers, else by the power button at once, after 0.5 s
and at half time. After its time (stop_timeout, 30 s by default) QEMU is told to quit, then gets
SIGTERM, then SIGKILL, two seconds each. A guest that has shut down and left its process hanging
is not waited for. --force begins at quit: a power cut for the guest.

Without a name, all running guests are stopped, what starts last first; on a terminal kvmctl
lists them and asks. --budget gives all of them together that much time, or the shutdown_budget
of kvm.toml: where their own times, in their order, would take longer, each gets its share.
Exit code 4: done, but at least one guest had to be killed.`,
		Example: `  kvmctl stop vm-olorin
  kvmctl stop vm-olorin --timeout 2m
  kvmctl stop --all
  kvmctl stop --all --budget=10m`,
		ValidArgsFunction: a.completeGuests,
		RunE: func(cmd *cobra.Command, names []string) error {
			o.names, o.given, o.hasten = names, cmd.Flags().Changed("timeout"), cmd.Flags().Changed("budget")
			return a.runStop(cmd.Context(), o)
		},
	}
	cmd.Flags().BoolVar(&o.all, "all", false, "all running guests, without asking")
	cmd.Flags().BoolVarP(&o.yes, "yes", "y", false, "do not ask")
	cmd.Flags().BoolVar(&o.force, "force", false, "do not ask the guest: a power cut")
	cmd.Flags().DurationVar(&o.timeout, "timeout", 30*time.Second, "the guest's time, instead of its stop_timeout")
	cmd.Flags().DurationVar(&o.within, "budget", 0, "`TIME` in which all have ended; alone: kvm.toml's shutdown_budget")
	cmd.Flags().Lookup("budget").NoOptDefVal = "0s"
	return cmd
}

func (a *app) runStop(ctx context.Context, o stopOptions) error {
	if o.all && len(o.names) > 0 {
		return cli.Usage("kvmctl stop --all", "cannot stop: --all and a name exclude each other")
	}
	if o.timeout < 0 {
		return cli.Usage("a time such as --timeout 30s", "cannot stop: --timeout is negative")
	}
	if o.hasten && (len(o.names) > 0 || o.given || o.within < 0) {
		return cli.Usage("kvmctl stop --all --budget=10m", "cannot stop: --budget is a time for all guests together, without names and without --timeout")
	}
	if err := a.needRoot("stop a guest"); err != nil {
		return err
	}
	s, err := a.site(ctx)
	if err != nil {
		return err
	}
	h := a.host(s, "stop")
	if len(o.names) > 0 {
		guests, bad := a.stoppable(s, o.names)
		return errors.Join(bad, a.stopGuests(ctx, h, guests, o))
	}
	names, err := h.Known()
	if err != nil {
		return fmt.Errorf("cannot list the running guests: %w", err)
	}
	guests, bad := a.stoppable(s, names)
	if len(guests) == 0 {
		a.env.Talk("no guest is running")
		return bad
	}
	if !o.all && !o.yes && !a.agreed(guests) {
		return cli.Failed("kvmctl stop <vm>", "cannot stop: not confirmed")
	}
	if o.hasten {
		if o.within == 0 {
			o.within = s.Host.ShutdownBudget
		}
		o.budget = a.budget(guests, o.within)
	}
	return errors.Join(bad, a.stopGuests(ctx, h, guests, o))
}

// budget hands out the given time, or what the guests' own times need if that is 0, and says what it comes to.
func (a *app) budget(specs []*vm.Spec, within time.Duration) *vm.Budget {
	needs := vm.StopNeeds(specs)
	if within == 0 {
		within = needs
	}
	switch _, fits := vm.Shares(specs, within); {
	case !fits:
		a.env.Talk("%s to stop %s: too little, each gets a second", within, count(len(specs), "guest"))
	case needs > within:
		a.env.Talk("%s to stop %s: their own times would need %s, so each gets its share", within, count(len(specs), "guest"), needs.Round(time.Second))
	default:
		a.env.Talk("%s to stop %s at most", needs.Round(time.Second), count(len(specs), "guest"))
	}
	return vm.NewBudget(specs, time.Now().Add(within))
}

// stoppable gives guests to stop. A guest must be stoppable even when its file is broken or gone: then the defaults hold.
func (a *app) stoppable(s *configs.Site, names []string) ([]*vm.Spec, error) {
	running, err := a.layout().Known()
	if err != nil {
		return nil, fmt.Errorf("cannot list the running guests: %w", err)
	}
	var specs []*vm.Spec
	var errs []error
	for _, n := range dedupe(names) {
		g, err := s.Guest(n)
		switch {
		case err == nil && !g.Broken:
			specs = append(specs, &g.Spec)
		case err == nil || slices.Contains(running, n):
			specs = append(specs, &vm.Spec{Name: n, StopTimeout: defaultStopTimeout})
		default:
			errs = append(errs, usable("stop", n, err))
		}
	}
	return specs, errors.Join(errs...)
}

const defaultStopTimeout = 30 * time.Second

// agreed asks on a terminal; elsewhere a script has decided.
func (a *app) agreed(specs []*vm.Spec) bool {
	if _, ok := a.env.InTerminal(); !ok {
		return true
	}
	var names []string
	for _, s := range specs {
		names = append(names, s.Name)
	}
	fmt.Fprintf(a.env.Err, "stop %s? [y/N] ", strings.Join(names, ", "))
	answer, err := bufio.NewReader(io.LimitReader(a.env.In, 256)).ReadString('\n')
	answer = strings.ToLower(strings.TrimSpace(answer))
	return err == nil && (answer == "y" || answer == "yes")
}

func (a *app) stopGuests(ctx context.Context, h *vm.Host, specs []*vm.Spec, o stopOptions) error {
	return errors.Join(vm.StopAll(ctx, specs, func(ctx context.Context, spec *vm.Spec) error {
		timeout := spec.StopTimeout
		if o.given {
			timeout = o.timeout
		}
		if o.budget != nil {
			timeout = o.budget.Share(spec, time.Now()).Round(time.Millisecond)
		}
		opts := vm.StopOptions{Timeout: timeout, Force: o.force}
		if a.verbose {
			opts.Say = func(rung string) { a.env.Talk("%s: %s", spec.Name, rung) }
		}
		st, err := h.Stop(ctx, spec, opts)
		if err != nil {
			return permission(fmt.Errorf("cannot stop %s: %w", spec.Name, err))
		}
		return a.sayStopped(spec.Name, st, timeout)
	})...)
}

func (a *app) sayStopped(name string, st *vm.Stopped, timeout time.Duration) error {
	for _, n := range st.Notes {
		a.env.Talk("%s: %s", name, n)
	}
	if st.Rung == vm.RungNone {
		a.env.Talk("%s is already stopped", name)
		return nil
	}
	if !st.Clean && (st.Rung < vm.RungQuit || st.Rung == vm.RungSelf) {
		return cli.Unclean("%s ended while it was being stopped (%s): %s", name, st.Rung, st.Reason)
	}
	if !st.Clean {
		return cli.Unclean("%s was killed (%s) after %s: the guest did not shut down within %v", name, st.Rung, cli.Age(st.Took), timeout)
	}
	a.env.Talk("%s stopped (%s) in %s", name, st.Rung, cli.Age(st.Took))
	return nil
}
