package agentcmd

import (
	"slices"

	"github.com/spf13/cobra"

	"kvmctl/cmd/internal/cli"
	"kvmctl/ha"
)

func newMaintenance(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "maintenance on|off [<group>...]",
		Short: "Keep groups off this node while somebody works on it",
		Long: `Keep groups, all or the named ones, off this node: what is active here is handed over, and nothing becomes
active here until off, even if the other node dies. It lasts over restarts in place, and ends with a
stop of the agent.`,
		Example: `  kvmha maintenance on
  kvmha maintenance off web`,
		Args: args(cobra.MinimumNArgs(1)),
		ValidArgsFunction: func(cmd *cobra.Command, args []string, toComplete string) ([]string, cobra.ShellCompDirective) {
			if len(args) == 0 {
				return []string{"on", "off"}, cobra.ShellCompDirectiveNoFileComp
			}
			return a.completeGroups(cmd, args, toComplete)
		},
		RunE: func(cmd *cobra.Command, words []string) error {
			if !slices.Contains([]string{"on", "off"}, words[0]) {
				return cli.Usage("kvmha maintenance on|off [<group>...]", "cannot set maintenance to %q", words[0])
			}
			on := words[0] == "on"
			_, err := a.ask(cmd.Context(), "set maintenance", ha.Request{Verb: ha.VerbMaintenance, Groups: words[1:], On: on})
			if err == nil {
				a.env.Talk("maintenance is %s: kvmha status", words[0])
			}
			return err
		},
	}
}
