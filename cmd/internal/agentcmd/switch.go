package agentcmd

import (
	"github.com/spf13/cobra"

	"kvmctl/ha"
)

func newSwitch(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "switch <group>",
		Short: "Hand a group over to the other node",
		Long: `Hand a group that is active here over to the other node: the address goes first, then the units are
stopped, then the other node is told by CARP's bow-out, which ucarp and the BSDs obey at once.

It waits until the other node serves, five minutes at most. A group that is not active here is left so
(exit code 3). Nobody may be there to take it: then it comes back after the dead interval (exit code 1).`,
		Example:           "  kvmha switch web",
		Args:              args(cobra.ExactArgs(1)),
		ValidArgsFunction: a.completeGroup,
		RunE: func(cmd *cobra.Command, groups []string) error {
			_, err := a.ask(cmd.Context(), "switch "+groups[0], ha.Request{Verb: ha.VerbSwitch, Groups: groups})
			if err == nil {
				a.env.Talk("%s is handed over: kvmha status %s", groups[0], groups[0])
			}
			return err
		},
	}
}
