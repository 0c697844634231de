package hostcmd

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/spf13/cobra"

	"kvmctl/cmd/internal/cli"
	"kvmctl/configs"
	"kvmctl/vm"
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

// startable leaves out the guests that could not be started again: they had better run on.
func startable(ctx context.Context, h *vm.Host, guests []*configs.Guest) (able []*configs.Guest, err error) {
	var errs []error
	for _, g := range guests {
		if err := startableGuest(ctx, h, &g.Spec); err != nil {
			errs = append(errs, fmt.Errorf("cannot restart %s: %w", g.Spec.Name, err))
			continue
		}
		able = append(able, g)
	}
	return able, errors.Join(errs...)
}

func startableGuest(ctx context.Context, h *vm.Host, spec *vm.Spec) error {
	if err := h.CheckHold(spec.Name); err != nil {
		return err
	}
	files := []string{spec.Kernel, spec.Initrd, spec.VNC.PasswordFile}
	for _, c := range spec.CDROMs {
		files = append(files, c.Image)
	}
	for _, f := range files {
		if f == "" {
			continue
		}
		if _, err := os.Stat(f); err != nil {
			return err
		}
	}
	_, err := h.Prepare(ctx, spec)
	return err
}

func (a *app) runRestart(ctx context.Context, o stopOptions) error {
	if o.timeout < 0 {
		return cli.Usage("a time such as --timeout 30s", "cannot restart: --timeout is negative")
	}
	if err := a.needRoot("restart a guest"); err != nil {
		return err
	}
	s, err := a.site(ctx)
	if err != nil {
		return err
	}
	guests, bad := a.named(s, o.names, "restart")
	h := a.host(s, "restart")
	guests, cannot := startable(ctx, h, guests) // checked before anything stops
	bad = errors.Join(bad, cannot)
	stopped := a.stopGuests(ctx, h, specsOf(guests), o)
	if cli.Code(stopped) == cli.ExitFailed || ctx.Err() != nil {
		return errors.Join(bad, stopped)
	}
	return errors.Join(bad, stopped, a.startGuests(ctx, s, guests))
}
