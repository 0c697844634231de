package hostcmd

import (
	"github.com/spf13/cobra"

	"kvmctl/vm"
)

func newReset(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "reset <vm>...",
		Short: "Press guests' reset button: a power cut, then a new boot",
		Long: `Press the reset button of running guests. For what runs in them it is a power cut: nothing is shut down,
nothing is written. QEMU stays, with the hardware it was started with; kvmctl restart shuts the guest
down first and reads vm.toml anew.

A paused guest is reset and stays paused.`,
		Example:           "  kvmctl reset vm-olorin",
		Args:              args(cobra.MinimumNArgs(1)),
		ValidArgsFunction: a.completeGuests,
		RunE: func(cmd *cobra.Command, names []string) error {
			return a.eachRunning(cmd.Context(), names, "reset", func(h *vm.Host, name string) error {
				paused, err := h.Reset(cmd.Context(), name)
				switch {
				case err != nil:
					return err
				case paused:
					a.env.Talk("%s was reset and is still paused: kvmctl resume %s", name, name)
				default:
					a.env.Talk("%s was reset", name)
				}
				return nil
			})
		},
	}
}
