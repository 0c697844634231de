package hostcmd

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"kvmctl/cmd/internal/cli"
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

// about is the program in a few words, with the exit codes, which are the same for all commands.
func about() string {
	var b strings.Builder
	b.WriteString(`Create, start, see and stop KVM guests, with no daemon.

A guest is a text file, /etc/kvm/<vm>/vm.toml; start makes a QEMU of it that runs on whatever becomes
of kvmctl. What kvmctl says of a guest comes from the kernel and QEMU, never from a file that could
be stale. What it prints on stdout is data, what it tells goes to stderr; --json is there wherever
a table is printed.

Exit codes:
`)
	for _, c := range cli.ExitCodes {
		fmt.Fprintf(&b, "  %-4d %s\n", c.Code, c.Meaning)
	}
	return strings.TrimRight(b.String(), "\n")
}
