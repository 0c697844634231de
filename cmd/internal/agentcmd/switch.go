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

It waits until the other node serves, --timeout at most (exit code 5: it goes on by itself); where the other one is still starting, or
has just let go, it waits for that first. A group that is not active here is left so (exit code 3). Nobody may be there to take it: then it comes back after the dead interval (exit code 1).

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
			return a.switchAway(cmd.Context(), groups[0], timeout)
		},
	}
	cmd.Flags().BoolVar(&here, "here", false, "ask the peer that has it to hand it over to this node")
	cmd.Flags().DurationVar(&timeout, "timeout", timeout, "wait no longer than `T`")
	return cmd
}

// switchAway has the agent hand a group over.
func (a *app) switchAway(ctx context.Context, group string, timeout time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	return onceSettled(ctx, func() (bool, error) {
		reply, err := a.askWithin(ctx, timeout, "switch "+group, ha.Request{Verb: ha.VerbSwitch, Groups: []string{group}})
		if err == nil {
			a.env.Talk("%s is handed over: kvmha status %s", group, group)
		}
		return reply.Passing, err
	})
}

// settling is how often it is asked whether the other node has settled.
const settling = 500 * time.Millisecond

// onceSettled asks again, until ctx ends, while it is refused for what passes by itself.
func onceSettled(ctx context.Context, ask func() (passing bool, err error)) error {
	for {
		passing, err := ask()
		if end, _ := ctx.Deadline(); err == nil || !passing || time.Until(end) <= settling {
			return err
		}
		select {
		case <-time.After(settling):
		case <-ctx.Done():
			return err
		}
	}
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
