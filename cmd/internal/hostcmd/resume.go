package hostcmd

import (
	"github.com/spf13/cobra"

	"kvmctl/vm"
)

func newResume(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "resume <vm>...",
		Short: "Let paused guests go on",
		Long: `Let guests go on that were paused, or that QEMU stopped because a disk of the host's was full: make room
first. A guest that runs is left alone.`,
		Example:           "  kvmctl resume vm-olorin",
		Args:              args(cobra.MinimumNArgs(1)),
		ValidArgsFunction: a.completeGuests,
		RunE: func(cmd *cobra.Command, names []string) error {
			return a.eachRunning(cmd.Context(), names, "resume", func(h *vm.Host, name string) error {
				already, err := h.Resume(cmd.Context(), name)
				switch {
				case err != nil:
					return err
				case already:
					a.env.Talk("%s is already running", name)
				default:
					a.env.Talk("%s goes on", name)
				}
				return nil
			})
		},
	}
}
