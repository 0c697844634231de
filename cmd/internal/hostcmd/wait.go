package hostcmd

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"regexp"
	"strconv"
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
}

func newWait(a *app) *cobra.Command {
	var o waitOptions
	cmd := &cobra.Command{
		Use:   "wait <vm> [--for running|stopped|agent|tcp:PORT|console:REGEX] [--timeout 1m]",
		Short: "Wait until a guest is up, down, or answers",
		Long: `Wait until a guest is where it should be. A guest that does not run yet is waited for; one that ends
while something else is waited for is an error at once, with the reason.

  running        its CPUs run (the default)
  stopped        its QEMU has gone
  agent          its guest agent answers
  tcp:PORT       a connection to that port is taken
  console:REGEX  its serial console says, or said since its start, what matches (RE2 syntax; ^ and $ are
                 the ends of a line; the last MiB counts)

tcp needs an address. It is taken from [guest] address in vm.toml, else the guest agent is asked,
else the host's neighbour table, which knows a guest that has talked to the host.

Exit code 5: waited in vain.`,
		Example: `  kvmctl wait vm-olorin --for agent
  kvmctl wait vm-olorin --for tcp:22 --timeout 2m
  kvmctl wait vm-olorin --for 'console:login: $'
  kvmctl wait vm-olorin --for stopped`,
		Args:              args(cobra.ExactArgs(1)),
		ValidArgsFunction: a.completeGuest,
		RunE: func(cmd *cobra.Command, args []string) error {
			o.name = args[0]
			return a.runWait(cmd.Context(), o)
		},
	}
	cmd.Flags().StringVar(&o.for_, "for", "running", "what to wait for")
	cmd.Flags().DurationVar(&o.timeout, "timeout", time.Minute, "how long at most")
	_ = cmd.RegisterFlagCompletionFunc("for", cobra.FixedCompletions([]string{"running", "stopped", "agent", "tcp:", "console:"},
		cobra.ShellCompDirectiveNoFileComp|cobra.ShellCompDirectiveNoSpace))
	return cmd
}

// goal is what --for asks for.
type goal struct {
	kind goalKind
	port uint16
	re   *regexp.Regexp
}

type goalKind string

const (
	goalRunning goalKind = "running"
	goalStopped goalKind = "stopped"
	goalAgent   goalKind = "agent"
	goalTCP     goalKind = "tcp"
	goalConsole goalKind = "console"
)

// maxPattern bounds the expression, in bytes.
const maxPattern = 4 << 10

// parseGoal reads --for.
func parseGoal(s string) (goal, error) {
	kind, arg, hasArg := strings.Cut(s, ":")
	g := goal{kind: goalKind(kind)}
	switch g.kind {
	case goalRunning, goalStopped, goalAgent:
		if hasArg {
			return goal{}, fmt.Errorf("%s takes no argument", kind)
		}
	case goalTCP:
		port, err := strconv.ParseUint(arg, 10, 16)
		if err != nil || port == 0 {
			return goal{}, fmt.Errorf("bad port %q: want tcp:1 to tcp:65535", arg)
		}
		g.port = uint16(port)
	case goalConsole:
		if arg == "" || len(arg) > maxPattern {
			return goal{}, fmt.Errorf("console: wants an expression of 1 to %d bytes", maxPattern)
		}
		re, err := regexp.Compile("(?m)" + arg)
		if err != nil {
			return goal{}, err
		}
		g.re = re
	default:
		return goal{}, fmt.Errorf("%q is none of running, stopped, agent, tcp:PORT, console:REGEX", s)
	}
	return g, nil
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
	if g, err := s.Guest(o.name); what.kind == goalTCP && err == nil && !g.Spec.Guest.Address.IsValid() && len(g.Spec.NICs) == 0 {
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
	switch what.kind {
	case goalStopped:
		end, err := h.AwaitStopped(ctx, name)
		if end != nil && end.Reason != "" {
			return fmt.Sprintf("is %s: %s", end.State, end.Reason), err
		}
		return "is stopped", err
	case goalAgent:
		return "answers by its agent", h.Await(ctx, name, h.CheckAgent(name))
	case goalTCP:
		var at netip.AddrPort
		err := h.Await(ctx, name, func(ctx context.Context) (err error) {
			at, err = a.connect(ctx, s, h, name, what.port)
			return err
		})
		return "answers at " + at.String(), err
	case goalConsole:
		w := h.WatchConsole(name, what.re)
		defer w.Close()
		return "said so on its console", h.Await(ctx, name, w.Check)
	default:
		return "is running", h.Await(ctx, name, h.CheckRunning(name))
	}
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
	case what.kind == goalAgent:
		hint = "is qemu-guest-agent installed and running in the guest? Its vm.toml needs [guest] agent = true"
	case what.kind == goalConsole:
		hint = "kvmctl console " + name + " --replay"
	case what.kind == goalStopped:
		hint = "kvmctl stop " + name
	}
	return cli.InVain(hint, "cannot wait for %s: %w", name, err)
}
