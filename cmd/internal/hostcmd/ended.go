package hostcmd

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"kvmctl/cmd/internal/cli"
	"kvmctl/configs"
)

// newEnded is what kvm-ended@.service runs when a guest's scope is empty. It is hidden: any other command that takes the guest's lock does
// the same.
func newEnded(a *app) *cobra.Command {
	return &cobra.Command{
		Use:    "ended <vm>",
		Hidden: true,
		Short:  "Note the end of a guest (systemd runs this)",
		Long: `Note how and when a guest ended, run its hooks and clear away what it left. systemd runs this when
the guest's scope is empty. A guest that runs, or whose end was noted already, is left alone.`,
		Example:           "  kvmctl ended vm-olorin",
		Args:              args(cobra.ExactArgs(1)),
		ValidArgsFunction: a.completeGuest,
		RunE:              func(cmd *cobra.Command, names []string) error { return a.runEnded(cmd.Context(), names[0]) },
	}
}

func (a *app) runEnded(ctx context.Context, name string) error {
	if err := a.needRoot("note the end of a guest"); err != nil {
		return err
	}
	s, err := a.site(ctx)
	if err != nil {
		return err
	}
	if err := configs.CheckName(name); err != nil {
		return usable("note the end of", name, err)
	}
	if _, err := a.stoppable(s, []string{name}); err != nil { // stopped and deleted since, most likely
		a.env.Talk("%s: nothing is left to note", name)
		return nil
	}
	h := a.host(s, "ended")
	notes, err := h.Notice(ctx, name)
	for _, n := range notes { // hooks that failed
		a.env.Talk("%s: %s", name, n)
	}
	if err != nil {
		return fmt.Errorf("cannot note the end of %s: %w", name, err)
	}
	st := h.Status(ctx, []string{name})[0]
	if st.PID > 0 {
		a.env.Talk("%s is %s", name, st.State)
		return nil
	}
	a.env.Talk("%s is %s: %s", name, st.State, cli.Printable(st.Note))
	return nil
}
