package hostcmd

import (
	"strings"

	"github.com/spf13/cobra"
)

// newHelp answers `kvmctl help stop` as `kvmctl stop --help` does: people type both.
func newHelp(*app) *cobra.Command {
	return &cobra.Command{
		Use:     "help [<command>]",
		Short:   "Show the help of a command",
		Long:    "Show the help of a command, as its --help does.",
		Example: "  kvmctl help stop",
		GroupID: groupThings,
		RunE: func(cmd *cobra.Command, words []string) error {
			about, rest, err := cmd.Root().Find(words)
			if err != nil || len(rest) > 0 {
				return unknownCommand(cmd.Root(), strings.Join(words, " "))
			}
			about.InitDefaultHelpFlag()
			return about.Help()
		},
	}
}
