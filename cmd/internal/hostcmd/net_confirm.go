package hostcmd

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"kvmctl/netbridge/guard"
)

func newNetConfirm(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "confirm",
		Short: "Say that a change of the networks worked",
		Long: `Keep what net apply or net down has just changed. Without it the change is undone when its time is over.
Type it in a new connection to the host: that proves that there can be one.`,
		Example: `  kvmctl net confirm`,
		Args:    args(cobra.NoArgs),
		RunE:    func(cmd *cobra.Command, _ []string) error { return a.runNetConfirm(cmd.Context()) },
	}
}

func (a *app) runNetConfirm(ctx context.Context) error {
	if err := a.needRoot("confirm a change of the networks"); err != nil {
		return err
	}
	rec, err := guard.Confirm(ctx, a.guardFiles())
	if err != nil {
		return fmt.Errorf("cannot confirm: %w", err)
	}
	a.env.Talk("confirmed: %s stay", count(len(rec.Steps), "step"))
	return nil
}
