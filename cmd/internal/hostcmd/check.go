package hostcmd

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"kvmctl/cmd/internal/cli"
	"kvmctl/configs"
)

func newCheck(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "check [<vm>...]",
		Short: "Find every mistake in kvm.toml and the guests' files",
		Long: `Read kvm.toml and the vm.toml of all guests, or of the named ones, and print every mistake with
file:line:column and what to type instead. Exit code 2 if there is one.`,
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
	if len(errs) == 0 {
		a.env.Talk("%s, no mistakes", count(checked, "guest"))
	}
	return errors.Join(errs...)
}

// count says how many there are of what.
func count(n int, what string) string {
	if n != 1 {
		what += "s"
	}
	return fmt.Sprintf("%d %s", n, what)
}
