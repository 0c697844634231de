package hostcmd

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"kvmctl/cmd/internal/cli"
	"kvmctl/vm"
)

type fenceOptions struct {
	name    string
	node    string
	request string
	within  time.Duration
	json    bool
}

func newFence(a *app) *cobra.Command {
	var o fenceOptions
	cmd := &cobra.Command{
		Use:   "fence <vm> --for <node> --request <32 hex digits> [--within 5s] [--json]",
		Short: "Kill a guest and keep it down, so that its HA peer may write alone",
		Long: `Kill a guest at once, on behalf of the HA member that is about to go on without it, and answer only
when it is dead for certain: its QEMU has gone, and so have QEMU's locks on its images. From before
the kill on the guest is held: start (and so the host's boot), restart, restore, resume, install,
snapshot restore and delete refuse it with exit code 3, also after a reboot of the host, until kvmctl
unhold. A guest that is being started at that moment does not come up.

--for is the node that asks, --request a new 128-bit number for each fence. The same request may be
sent again and gets the same answer; once the guest was let go, it is refused. A guest that is held
already is held for the new request.

--json prints the answer: {"request", "vm", "state": "killed" or "was-stopped", "held": true, "for",
"took_ms"}. Whatever else happens there is no answer and the exit code is not 0: a QEMU that is stuck in
the kernel beyond --within may still write, and the guest is held for when it ends.`,
		Example: `  kvmctl fence vm-varda --for varda2 --request 6b1f0c5e9a3d47c28e0b7d5a4f913c60
  kvmctl fence vm-varda --for varda2 --request 6b1f0c5e9a3d47c28e0b7d5a4f913c60 --json`,
		Args:              args(cobra.ExactArgs(1)),
		ValidArgsFunction: a.completeGuest,
		RunE: func(cmd *cobra.Command, names []string) error {
			o.name = names[0]
			return a.runFence(cmd.Context(), o)
		},
	}
	f := cmd.Flags()
	f.StringVar(&o.node, "for", "", "the `NODE` that asks")
	f.StringVar(&o.request, "request", "", "its `NUMBER` for this fence, 32 hexadecimal digits")
	f.DurationVar(&o.within, "within", 5*time.Second, "give no answer when it is not dead by then")
	f.BoolVar(&o.json, "json", false, "print JSON")
	return cmd
}

// fenceReceipt is what `fence --json` answers.
type fenceReceipt struct {
	Request string        `json:"request"`
	VM      string        `json:"vm"`
	State   vm.FenceState `json:"state"`
	Held    bool          `json:"held"`
	For     string        `json:"for"`
	TookMS  float64       `json:"took_ms"`
}

// maxFence bounds --within: who has more time is not waiting for an answer.
const maxFence = time.Minute

func (o *fenceOptions) check() error {
	const hint = "kvmctl fence <vm> --for <node> --request <32 hex digits>"
	if err := vm.CheckNode(o.node); err != nil {
		return cli.Usage(hint, "cannot fence %s: --for: %w", o.name, err)
	}
	if err := vm.CheckRequest(o.request); err != nil {
		return cli.Usage(hint, "cannot fence %s: --request: %w", o.name, err)
	}
	if o.within <= 0 || o.within > maxFence {
		return cli.Usage("a time such as --within 5s", "cannot fence %s: --within is not between 0 and %v", o.name, maxFence)
	}
	return nil
}

func (a *app) runFence(ctx context.Context, o fenceOptions) error {
	if err := o.check(); err != nil {
		return err
	}
	if err := a.needRoot("fence a guest"); err != nil {
		return err
	}
	s, err := a.site(ctx)
	if err != nil {
		return err
	}
	g, err := s.Guest(o.name) // one whose vm.toml is broken has to die like any other
	if err != nil {
		return usable("fence", o.name, err)
	}
	done, err := a.host(s, "fence").Fence(ctx, &g.Spec, vm.FenceRequest{ID: o.request, For: o.node, Within: o.within})
	if err != nil {
		return permission(fmt.Errorf("cannot fence %s: %w", o.name, err))
	}
	if o.json {
		return a.env.JSON(fenceReceipt{o.request, o.name, done.State, true, o.node, float64(done.Took.Microseconds()) / 1000})
	}
	a.env.Talk("%s", fencedWords(o, done))
	return nil
}

func fencedWords(o fenceOptions, done *vm.Fenced) string {
	what := "was killed in " + cli.Age(done.Took)
	if done.State == vm.FenceWasStopped {
		what = "was stopped already"
	}
	return fmt.Sprintf("%s %s and is held for %s; to let it start again: kvmctl unhold %s", o.name, what, o.node, o.name)
}
