package hostcmd

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/spf13/cobra"

	"kvmctl/cmd/internal/cli"
	"kvmctl/cmd/internal/doctor"
	"kvmctl/configs"
	"kvmctl/vm"
)

func newCheck(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "check [<vm>...]",
		Short: "Find every mistake in kvm.toml and the guests' files",
		Long: `Read kvm.toml and the vm.toml of all guests, or of the named ones, and print every mistake with
file:line:column and what to type instead. Exit code 2 if there is one.

What is written well and cannot be used on this machine as it is, an image that is missing, a hook that
is not root's, a MAC address that another guest was given at its first start, is a warning and does not
change the exit code: doctor judges the machine.`,
		Example: `  kvmctl check
  kvmctl check vm-olorin`,
		ValidArgsFunction: a.completeGuests,
		RunE:              func(cmd *cobra.Command, names []string) error { return a.runCheck(cmd.Context(), names) },
	}
}

func (a *app) runCheck(ctx context.Context, names []string) error {
	s, err := a.site(ctx)
	if err != nil {
		return err
	}
	problems, checked := s.Problems, len(s.Guests)
	var errs []error
	if len(names) > 0 {
		problems, checked = nil, 0
		seen := map[configs.Problem]bool{}
		for _, n := range dedupe(names) {
			if _, err := s.Guest(n); err != nil {
				errs = append(errs, usable("check", n, err))
				continue
			}
			checked++
			for _, p := range s.ProblemsOf(n) {
				if !seen[p] {
					seen[p] = true
					problems = append(problems, p)
				}
			}
		}
	}
	for _, p := range problems {
		errs = append(errs, cli.Usage(p.Hint(), "%w", p))
	}
	a.warnOfWorld(ctx, s, names)
	if len(errs) == 0 {
		a.env.Talk("%s, no mistakes", count(checked, "guest"))
	}
	return errors.Join(errs...)
}

// warnOfWorld tells of what the files name and the machine does not have so.
func (a *app) warnOfWorld(ctx context.Context, s *configs.Site, names []string) {
	f := &doctor.Facts{}
	for i := range s.Guests {
		g := &s.Guests[i]
		mine := doctor.Guest{Name: g.Spec.Name, MACs: a.macsOf(g)}
		f.Guests = append(f.Guests, mine)
		if ctx.Err() != nil || len(names) > 0 && !slices.Contains(names, g.Spec.Name) {
			continue
		}
		for _, x := range guestFiles(g) {
			line, col := 1, 1
			if x.Key != "" {
				line, col = g.Place(x.Key)
			}
			a.env.Talk("warning: %s:%d:%d: %s: %s", g.File, line, col, x.What, x.Why)
			a.env.Talk("hint: %s", a.env.Again(x.Type))
		}
		a.warnOfLimit(g)
	}
	for _, x := range doctor.Collisions(f) {
		if len(names) == 0 || slices.Contains(names, x.About) {
			a.env.Talk("warning: %s: %s", x.About, x.Message)
			a.env.Talk("hint: %s", a.env.Again(x.Type))
		}
	}
}

// warnOfLimit tells of a headroom that was named and that a limit does not let the guest have.
func (a *app) warnOfLimit(g *configs.Guest) {
	s := &g.Spec
	if g.Broken || s.Limits.Memory == 0 || s.MemoryMax == vm.DefaultMemoryMax(s.Memory) || s.Limits.Memory >= vm.LeastMemoryLimit(s.MemoryMax) {
		return
	}
	line, col := g.Place("limits.memory")
	a.env.Talk("warning: %s:%d:%d: limits.memory: %v is less than the %v that the guest and QEMU need when it grows to memory_max %v",
		g.File, line, col, s.Limits.Memory, vm.LeastMemoryLimit(s.MemoryMax), s.MemoryMax)
	a.env.Talk("hint: %s", a.env.Again(fmt.Sprintf("kvmctl set %s limits.memory=%v", s.Name, vm.LeastMemoryLimit(s.MemoryMax))))
}

// macsOf gives the addresses of a guest's cards: those that its first start gave it, and those that its file says.
func (a *app) macsOf(g *configs.Guest) (all []string) {
	if abi, err := vm.LoadABI(a.layout().ABILock(g.Spec.Name)); err == nil { // before its first start there is none
		for _, n := range abi.NICs {
			all = append(all, n.MAC.String())
		}
	}
	for _, n := range g.Spec.NICs {
		if !n.MAC.IsZero() {
			all = append(all, n.MAC.String())
		}
	}
	return all
}

// count says how many there are of what.
func count(n int, what string) string {
	if n != 1 {
		what += "s"
	}
	return fmt.Sprintf("%d %s", n, what)
}
