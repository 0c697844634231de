package agentcmd

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"kvmctl/cmd/internal/cli"
)

// newHelp answers `kvmha help run` as `kvmha run --help` does: people type both.
func newHelp(*app) *cobra.Command {
	return &cobra.Command{
		Use:     "help [<command>]",
		Short:   "Show the help of a command",
		Long:    "Show the help of a command, as its --help does.",
		Example: "  kvmha help completion",
		GroupID: groupFile,
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

// about is the program in a few words, with the exit codes, which are the same for all commands.
func about() string {
	var b strings.Builder
	b.WriteString(`Share an address with another node, and run what belongs to it on one of them.

Two nodes run an agent each, or one of them ucarp or a BSD's CARP. A group in /etc/kvmha.toml is what must
be active on exactly one: addresses, DRBD storage, and the units behind them. The agent elects by CARP or
heartbeats, starts the units before it takes the address, and lets go of the address before it stops them.
An address has a lifetime in the kernel: an agent that dies or hangs loses it by itself.

Exit codes:
`)
	for _, c := range exitCodes {
		fmt.Fprintf(&b, "  %-4d %s\n", c.code, c.meaning)
	}
	return strings.TrimRight(b.String(), "\n")
}

// exitCodes is kvmctl's table (cli.ExitCodes) in the agent's words.
var exitCodes = []struct {
	code    int
	meaning string
}{
	{cli.ExitDone, "Done, or already so."},
	{cli.ExitFailed, "Failed."},
	{cli.ExitUsage, "Wrong usage or bad configuration: nothing was done."},
	{cli.ExitRefused, "Refused for safety; the error says what would have been harmed."},
	{cli.ExitUnclean, "Done, but not cleanly."},
	{cli.ExitInVain, "Waited in vain."},
}
