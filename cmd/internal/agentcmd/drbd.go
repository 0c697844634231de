package agentcmd

import "github.com/spf13/cobra"

func newDRBD(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "drbd <command>",
		Short: "Look after the DRBD resources of this node",
		Long: `Look after the DRBD resources of this node and its peer: show how they stand, find what is dangerous in drbd.conf, write a good one,
make a new resource usable, compare both sides, resolve
a split brain, and look at what its loser had.`,
		Example: `  kvmha drbd status
  kvmha drbd lint
  kvmha drbd template admin --on varda2=10.4.0.102 --on vm-varda=10.4.0.202 --device /dev/drbd0 --disk /dev/vg/admin`,
		Args: cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, words []string) error {
			if len(words) > 0 {
				return unknownCommand(cmd, words[0])
			}
			return cmd.Help()
		},
	}
	cmd.AddCommand(newDRBDStatus(a), newDRBDLint(a), newDRBDTemplate(a), newDRBDInit(a), newDRBDVerify(a), newDRBDResolve(a), newDRBDKept(a))
	return cmd
}
