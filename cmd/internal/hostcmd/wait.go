package hostcmd

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"kvmctl/cmd/internal/cli"
	"kvmctl/configs"
	"kvmctl/vm"
)

type waitOptions struct {
	name    string
	for_    string
	timeout time.Duration
	given   bool // --timeout was given
}

func newWait(a *app) *cobra.Command {
	var o waitOptions
	cmd := &cobra.Command{
		Use:   "wait <vm> [--for running|stopped|ready|agent|ping|tcp:PORT|console:REGEX] [--timeout 1m]",
		Short: "Wait until a guest is up, down, or answers",
		Long: `Wait until a guest is where it should be. A guest that does not run yet is waited for; one that ends
while something else is waited for is an error at once, with the reason.

  running        its CPUs run (the default)
  stopped        its QEMU has gone
  ready          it is ready by the ready of its vm.toml; the timeout is its ready_timeout
  agent          its guest agent answers
  ping           it answers an ICMP echo
  tcp:PORT       a connection to that port is taken
  console:REGEX  its serial console says, or said since its start, what matches (RE2 syntax; ^ and $ are
                 the ends of a line; the last MiB counts)

tcp and ping need an address. It is taken from [guest] address in vm.toml, else the guest agent is asked,
else the host's neighbour table, which knows a guest that has talked to the host.

Exit code 5: waited in vain.`,
		Example: `  kvmctl wait vm-olorin --for agent
  kvmctl wait vm-olorin --for ready
  kvmctl wait vm-olorin --for tcp:22 --timeout 2m
  kvmctl wait vm-olorin --for 'console:login: $'
  kvmctl wait vm-olorin --for stopped`,
		Args:              args(cobra.ExactArgs(1)),
		ValidArgsFunction: a.completeGuest,
		RunE: func(cmd *cobra.Command, args []string) error {
			o.name, o.given = args[0], cmd.Flags().Changed("timeout")
			return a.runWait(cmd.Context(), o)
		},
	}
	cmd.Flags().StringVar(&o.for_, "for", "running", "what to wait for")
	cmd.Flags().DurationVar(&o.timeout, "timeout", time.Minute, "how long at most")
	_ = cmd.RegisterFlagCompletionFunc("for", cobra.FixedCompletions([]string{"running", "stopped", "ready", "agent", "ping", "tcp:", "console:"},
		cobra.ShellCompDirectiveNoFileComp|cobra.ShellCompDirectiveNoSpace))
	return cmd
}

// goal is what --for asks for.
type goal struct {
	kind goalKind
	sign vm.Ready // for goalSign, and for goalReady once vm.toml is read
}

type goalKind int

const (
	goalRunning goalKind = iota
	goalStopped
	goalReady
	goalSign
)

// parseGoal reads --for.
func parseGoal(s string) (goal, error) {
	kind, _, hasArg := strings.Cut(s, ":")
	own := map[string]goalKind{"running": goalRunning, "stopped": goalStopped, "ready": goalReady}
	if k, ok := own[kind]; ok {
		if hasArg {
			return goal{}, fmt.Errorf("%s takes no argument", kind)
		}
		return goal{kind: k}, nil
	}
	sign, err := vm.ParseReady(s)
	if unknown := new(vm.UnknownReadyError); errors.As(err, &unknown) {
		return goal{}, fmt.Errorf("%q is none of running, stopped, ready, %s", s, vm.ReadyForms)
	}
	if err != nil {
		return goal{}, err
	}
	return goal{goalSign, sign}, nil
}

func (a *app) runWait(ctx context.Context, o waitOptions) error {
	const act = "wait for"
	what, err := parseGoal(o.for_)
	if err != nil {
		return cli.Usage("kvmctl wait --help", "cannot %s %s: --for: %w", act, o.name, err)
	}
	if o.timeout <= 0 {
		return cli.Usage("kvmctl wait --timeout 1m", "cannot %s %s: --timeout has to be more than nothing", act, o.name)
	}
	if err := a.needRoot(act + " a guest"); err != nil {
		return err
	}
	s, err := a.site(ctx)
	if err != nil {
		return err
	}
	if err := a.known(s, o.name, act); err != nil {
		return err
	}
	g, unknown := s.Guest(o.name)
	if what.kind == goalReady {
		if unknown != nil || g.Spec.Ready.IsZero() {
			return cli.Failed("`ready = \"agent\"` in "+a.layout().GuestToml(o.name)+", or kvmctl wait "+o.name+" --for running",
				"cannot %s %s: its vm.toml does not say by what it is ready", act, o.name)
		}
		if what.sign = g.Spec.Ready; !o.given {
			o.timeout = what.sign.Timeout
		}
	}
	if what.sign.NeedsAddress() && unknown == nil && !g.Spec.Guest.Address.IsValid() && len(g.Spec.NICs) == 0 {
		return cli.Failed("give it a [[nic]], or say `address = \"…\"` in [guest], in "+g.File,
			"cannot %s %s: it has no network card and no address", act, o.name)
	}
	h := a.host(s, "wait")
	began := time.Now()
	ctx, cancel := context.WithTimeout(ctx, o.timeout)
	defer cancel()
	said, err := a.await(ctx, s, h, o.name, what)
	if err != nil {
		return waitError(o.name, what, err)
	}
	a.env.Talk("%s %s, after %s", o.name, said, cli.Age(time.Since(began)))
	return nil
}

// await waits and says what came of it.
func (a *app) await(ctx context.Context, s *configs.Site, h *vm.Host, name string, what goal) (string, error) {
	if what.kind == goalStopped {
		end, err := h.AwaitStopped(ctx, name)
		if end != nil && end.Reason != "" {
			return fmt.Sprintf("is %s: %s", end.State, end.Reason), err
		}
		return "is stopped", err
	}
	check, words, done, err := a.signCheck(s, h, name, what.sign)
	if err != nil {
		return "", err
	}
	defer done()
	if what.kind == goalReady {
		check = h.Noting(name, what.sign, check)
	}
	if err := h.Await(ctx, name, check); err != nil {
		return "", err
	}
	if what.kind == goalReady {
		return "is ready: it " + words(), nil
	}
	return words(), nil
}

// waitError words a wait that failed, with what to type next.
func waitError(name string, what goal, err error) error {
	var vain *vm.InVainError
	if !errors.As(err, &vain) {
		return cli.Failed(cli.Hint(err), "cannot wait for %s: %w", name, err)
	}
	hint := "kvmctl status " + name
	var nowhere *noAddressError
	switch {
	case errors.Is(err, vm.ErrNotRunning):
		hint = "kvmctl start " + name
	case errors.As(err, &nowhere):
		hint = "say `address = \"…\"` in [guest] of vm.toml, or run qemu-guest-agent in the guest, or let the guest talk to the host once (ping)"
	case what.sign.Kind == vm.ReadyAgent:
		hint = "is qemu-guest-agent installed and running in the guest? Its vm.toml needs [guest] agent = true"
	case what.sign.Kind == vm.ReadyConsole:
		hint = "kvmctl console " + name + " --replay"
	case what.kind == goalStopped:
		hint = "kvmctl stop " + name
	}
	return cli.InVain(hint, "cannot wait for %s: %w", name, err)
}
