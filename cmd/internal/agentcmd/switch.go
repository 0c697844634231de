package agentcmd

import (
	"context"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"kvmctl/cmd/internal/cli"
	"kvmctl/ha"
)

func newSwitch(a *app) *cobra.Command {
	timeout, here := ha.SwitchWait, false
	cmd := &cobra.Command{
		Use:   "switch <group>",
		Short: "Hand a group over to the other node",
		Long: `Hand a group that is active here over to the other node: the address goes first, then the units are
stopped, then the other node is told by CARP's bow-out, which ucarp and the BSDs obey at once.

It waits until the other node serves, --timeout at most (exit code 5: it goes on by itself). A group that is not active here is left so
(exit code 3). Nobody may be there to take it: then it comes back after the dead interval (exit code 1).

--here is the other way round: the peer on which the group is active is asked, over the peer channel, to hand it over.
It does what it would do for "kvmha switch" there, and refuses what it would refuse there.`,
		Example:           "  kvmha switch web\n  kvmha switch web --here",
		Args:              args(cobra.ExactArgs(1)),
		ValidArgsFunction: a.completeGroup,
		RunE: func(cmd *cobra.Command, groups []string) error {
			if timeout <= 0 || timeout > ha.SwitchWait {
				return cli.Usage("", "cannot switch %s: --timeout %s is not between 0 and %s", groups[0], timeout, ha.SwitchWait)
			}
			if here {
				defer a.patience(cmd.Context(), groups[0]+": waits until the other node has handed it over")()
				return a.switchHere(cmd.Context(), groups[0], timeout)
			}
			defer a.patience(cmd.Context(), groups[0]+": waits until the other node serves")()
			_, err := a.askWithin(cmd.Context(), timeout, "switch "+groups[0], ha.Request{Verb: ha.VerbSwitch, Groups: groups})
			if err == nil {
				a.env.Talk("%s is handed over: kvmha status %s", groups[0], groups[0])
			}
			return err
		},
	}
	cmd.Flags().BoolVar(&here, "here", false, "ask the peer that has it to hand it over to this node")
	cmd.Flags().DurationVar(&timeout, "timeout", timeout, "wait no longer than `T`")
	return cmd
}

// patient is how long nobody wonders what a command waits for.
const patient = 2 * time.Second

// patience says what is waited for, unless it is over soon. What comes back ends it.
func (a *app) patience(ctx context.Context, what string) (end func()) {
	ctx, cancel := context.WithCancel(ctx)
	var talks sync.WaitGroup
	talks.Go(func() {
		select {
		case <-ctx.Done():
		case <-time.After(patient):
			a.env.Talk("%s", what)
		}
	})
	return func() { cancel(); talks.Wait() }
}
