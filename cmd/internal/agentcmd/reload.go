package agentcmd

import (
	"github.com/spf13/cobra"

	"kvmctl/ha"
)

func newReload(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "reload",
		Short: "Have the agent read its file again",
		Long: `Have the agent read its file again, as SIGHUP does. A file with a mistake is refused (exit code 2: kvmha check), and
so is one with storage while kvmha drbd lint finds a danger here (exit code 3); the agent goes on as it is. Groups that
are the same in the new file notice nothing, and miss no advert.`,
		Example: "  kvmha reload",
		Args:    args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			_, err := a.ask(cmd.Context(), "reload", ha.Request{Verb: ha.VerbReload})
			return err
		},
	}
}

func newRestart(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "restart",
		Short: "Replace the agent by the program on disk, in place",
		Long: `Replace the running agent by the program that is on disk now, as SIGUSR2 does: the process stays the same, so do
its sockets, the roles, the addresses and the units. It takes a fraction of a second, and no advert is missed.
That is how an upgrade is put to work; it is refused while a group moves (exit code 3), with a file that has
a mistake (exit code 2: kvmha check), and where kvmha drbd lint finds a danger for the file's storage (exit code 3).
Should the file become unreadable within that fraction of a second, the new
program goes on with the groups as they were, and kvmha status says so.`,
		Example: "  kvmha restart",
		Args:    args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			_, err := a.ask(cmd.Context(), "restart", ha.Request{Verb: ha.VerbRestart})
			return err
		},
	}
}
