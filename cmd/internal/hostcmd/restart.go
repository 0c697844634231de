package hostcmd

import (
	"context"
	"errors"
	"time"

	"github.com/spf13/cobra"

	"kvmctl/cmd/internal/cli"
)

func newRestart(a *app) *cobra.Command {
	var o stopOptions
	cmd := &cobra.Command{
		Use:   "restart <vm>... [--timeout 30s] [--force]",
		Short: "Stop guests and start them again",
		Long: `Stop guests as stop does, then start them from their files as they are now. A guest whose
configuration is broken is not stopped; one that does not run is started.`,
		Example:           "  kvmctl restart vm-olorin",
		Args:              args(cobra.MinimumNArgs(1)),
		ValidArgsFunction: a.completeGuests,
		RunE: func(cmd *cobra.Command, names []string) error {
			o.names, o.given = names, cmd.Flags().Changed("timeout")
			return a.runRestart(cmd.Context(), o)
		},
	}
	cmd.Flags().BoolVar(&o.force, "force", false, "do not ask the guest: a power cut")
	cmd.Flags().DurationVar(&o.timeout, "timeout", 30*time.Second, "the guest's time, instead of its stop_timeout")
	return cmd
}

func (a *app) runRestart(ctx context.Context, o stopOptions) error {
	if err := a.needRoot("restart a guest"); err != nil {
		return err
	}
	s, err := a.site(ctx)
	if err != nil {
		return err
	}
	guests, bad := a.named(s, o.names, "restart") // checked before anything stops
	stopped := a.stopGuests(ctx, a.host(s, "restart"), specsOf(guests), o)
	if cli.Code(stopped) == cli.ExitFailed || ctx.Err() != nil {
		return errors.Join(bad, stopped)
	}
	return errors.Join(bad, stopped, a.startGuests(ctx, s, guests))
}
