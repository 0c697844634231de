package agentcmd

import (
	"fmt"

	"github.com/spf13/cobra"

	"kvmctl/ha/link"
)

func newTick(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "tick",
		Short: "Keep the kernel's clock of address lifetimes on time (kvmha-tick.service runs it)",
		Long: `Keep a leased address on the loopback interface and renew it ten times a second, until a signal comes. The kernel
then looks at the lifetimes of all addresses that often: those of an agent that was killed or hangs are gone
after 1.1 s, also where something else adds an address in that second; without it, that may take 2.4 s.

It is a process of its own because it has to outlive the agent. kvmha-tick.service runs it.`,
		Example: "  kvmha tick",
		Args:    args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := a.needRoot("keep the kernel's clock of lifetimes on time"); err != nil {
				return err
			}
			if err := link.Tick(cmd.Context()); err != nil {
				return fmt.Errorf("cannot keep the kernel's clock of lifetimes on time: %w", err)
			}
			return nil
		},
	}
}
