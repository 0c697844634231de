package hostcmd

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"kvmctl/configs"
)

func newUnhold(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "unhold <vm>",
		Short: "Let a fenced guest start again",
		Long: `End what kvmctl fence began: the guest may be started again. It is not started.

The guest was killed because another node goes on without it. See there first that it and what it has
written are well: a guest that comes back brings its own, older copy of the data, and its agent
decides what becomes of that. A guest that is not held is left as it is.`,
		Example:           "  kvmctl unhold vm-varda",
		Args:              args(cobra.ExactArgs(1)),
		ValidArgsFunction: a.completeGuest,
		RunE:              func(cmd *cobra.Command, names []string) error { return a.runUnhold(cmd.Context(), names[0]) },
	}
}

func (a *app) runUnhold(ctx context.Context, name string) error {
	if err := a.needRoot("unhold a guest"); err != nil {
		return err
	}
	s, err := a.site(ctx)
	if err != nil {
		return err
	}
	if err := configs.CheckName(name); err != nil {
		return usable("unhold", name, err)
	}
	h := a.host(s, "unhold")
	if _, err := s.Guest(name); err != nil && h.CheckHold(name) == nil { // a hold may outlive its vm.toml
		return usable("unhold", name, err)
	}
	was, err := h.Unhold(name)
	switch {
	case err != nil:
		return permission(fmt.Errorf("cannot unhold %s: %w", name, err))
	case was == nil:
		a.env.Talk("%s is not held", name)
	default:
		a.env.Talk("%s may start again: kvmctl start %s; %v", name, name, was)
	}
	return nil
}
