package hostcmd

import (
	"github.com/spf13/cobra"

	"kvmctl/vm"
)

func newPause(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "pause <vm>...",
		Short: "Stop guests' CPUs for a while; resume lets them go on",
		Long: `Stop the CPUs of running guests. Memory, disks and network cards stay as they are; nothing in the guest
notices, but its clock stands still and its connections may time out.

A guest that is paused already is left so. kvmctl resume lets it go on; kvmctl stop wakes it to shut
it down. status says who paused it.`,
		Example:           "  kvmctl pause vm-olorin",
		Args:              args(cobra.MinimumNArgs(1)),
		ValidArgsFunction: a.completeGuests,
		RunE: func(cmd *cobra.Command, names []string) error {
			return a.eachRunning(cmd.Context(), names, "pause", func(h *vm.Host, name string) error {
				already, err := h.Pause(cmd.Context(), name)
				switch {
				case err != nil:
					return err
				case already:
					a.env.Talk("%s is already paused", name)
				default:
					a.env.Talk("%s paused", name)
				}
				return nil
			})
		},
	}
}
