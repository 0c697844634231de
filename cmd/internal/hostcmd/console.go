package hostcmd

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/spf13/cobra"

	"kvmctl/cmd/internal/cli"
	"kvmctl/vm"
)

type consoleOptions struct {
	name   string
	replay bool
}

func newConsole(a *app) *cobra.Command {
	var o consoleOptions
	cmd := &cobra.Command{
		Use:   "console <vm> [--replay]",
		Short: "Talk to a guest on its serial console",
		Long: `Talk to a guest on its serial console; ^] leaves it, and the guest runs on.

One person types at a time. Whoever comes later sees all of it, read only, and is told who types;
^] or ^C leaves. What the console said last is shown first, so that a waiting prompt is seen.

The guest's bytes reach the terminal as they are, as on a real serial line. When the guest ends,
so does the console, and says why.

Without a terminal, stdin is typed and what the guest says goes to stdout; after the end of stdin
that goes on until the guest has been silent for a second, one minute at most.

--replay prints all that is kept of what the console said, also of a stopped guest: at least the
last half of console_size (kvm.toml). On a terminal it is text and colours; elsewhere every byte.`,
		Example: `  kvmctl console vm-olorin
  kvmctl console vm-olorin --replay | less -R
  echo uptime | kvmctl console vm-olorin`,
		Args:              args(cobra.ExactArgs(1)),
		ValidArgsFunction: a.completeGuest,
		RunE: func(cmd *cobra.Command, args []string) error {
			o.name = args[0]
			return a.runConsole(cmd.Context(), o)
		},
	}
	cmd.Flags().BoolVar(&o.replay, "replay", false, "print what the console said so far")
	return cmd
}

const openConsole = "open the console of"

func (a *app) runConsole(ctx context.Context, o consoleOptions) error {
	if o.replay {
		return a.replay(ctx, o.name)
	}
	g, err := a.meet(ctx, o.name, "console", openConsole)
	if err != nil {
		return err
	}
	_, tty := a.env.InTerminal()
	c, err := g.host.Console(ctx, o.name)
	var taken *vm.TakenError
	switch {
	case errors.As(err, &taken) && tty:
		a.env.Talk("%s: read only, because %s is typing; ^] or ^C leaves", o.name, taken.By)
		return a.onConsole(ctx, g, nil)
	case errors.As(err, &taken):
		return cli.Failed("kvmctl console "+o.name+" --replay", "cannot type on the console of %s: %w", o.name, err)
	case err != nil:
		return unreachable(openConsole, o.name, err)
	}
	defer c.Close()
	if tty {
		a.env.Talk("%s: ^] leaves the console", o.name)
	}
	return a.onConsole(ctx, g, c)
}

func (a *app) replay(ctx context.Context, name string) error {
	const act = "replay the console of"
	if err := a.needRoot(act + " a guest"); err != nil {
		return err
	}
	s, err := a.site(ctx)
	if err != nil {
		return err
	}
	if err := a.known(s, name, act); err != nil {
		return err
	}
	out := a.env.Out
	if _, tty := a.env.OutTerminal(); tty {
		out = &calm{w: out}
	}
	if err := a.host(s, "console").ReplayConsole(ctx, name, out); err != nil {
		return fmt.Errorf("cannot %s %s: %w", act, name, err)
	}
	return nil
}

// onConsole stays at a guest's console, as its writer or, without c, as a reader, until the person leaves or the guest ends.
func (a *app) onConsole(ctx context.Context, g *seen, c *vm.Console) error {
	in := -1
	if f, ok := a.env.In.(*os.File); ok {
		in = int(f.Fd())
	}
	_, tty := a.env.InTerminal()
	how, err := a.attend(ctx, g, c, in, tty)
	if tty {
		io.WriteString(a.env.Err, "\n") // the guest's cursor stands anywhere
	}
	switch {
	case err != nil:
		return fmt.Errorf("cannot stay at the console of %s: %w", g.Name, err)
	case how == leftByEnd:
		a.sayLast(g)
	case how == leftByUser && tty:
		a.env.Talk("left the console of %s, which runs on", g.Name)
	}
	return nil
}

// leaving says how a visit to the console ended.
type leaving int

const (
	leftByUser leaving = iota
	leftByEnd          // the guest's
)

// attend puts the terminal raw, and undoes that whatever happens inside.
func (a *app) attend(ctx context.Context, g *seen, c *vm.Console, in int, tty bool) (leaving, error) {
	if tty {
		restore, err := rawTerminal(in)
		if err != nil {
			return 0, err
		}
		defer restore()
	}
	b, err := newBell(ctx)
	if err != nil {
		return 0, err
	}
	defer b.stop()
	var back int64
	if tty {
		back = lastWords
	}
	log, err := g.host.FollowConsole(g.Name, back)
	if err != nil {
		return 0, err
	}
	defer log.Close()
	if c == nil {
		return a.readConsole(ctx, g, log, in, b)
	}
	if tty {
		if err := showLast(a.env.Out, log); err != nil {
			return 0, err
		}
	}
	w := &writer{c: c, in: in, tty: tty, bell: b, out: a.env.Out, harvest: func() error { return g.host.Harvest(g.Name) }}
	return w.run(ctx)
}

// lastWords is how much of what the console said before is shown first, in bytes: about a screen.
const lastWords = 2 << 10

// showLast prints what is there from the first whole line on.
func showLast(out io.Writer, log *vm.ConsoleReader) error {
	var last []byte
	for len(last) < 16*lastWords { // a flooding guest has more for ever
		b, err := log.Next()
		if err != nil {
			return err
		}
		if len(b) == 0 {
			break
		}
		last = append(last, b...)
	}
	_, err := (&calm{w: out}).Write(wholeLines(last))
	return err
}

// wholeLines drops the rest of a line that the beginning cut.
func wholeLines(b []byte) []byte {
	if len(b) < lastWords {
		return b // all that there is
	}
	if _, rest, ok := bytes.Cut(b, []byte("\n")); ok && len(rest) > 0 {
		return rest
	}
	return b
}

// sayLast tells why the console ended.
func (a *app) sayLast(g *seen) {
	run := ""
	if g.StateOf != nil {
		run = g.StateOf.Run
	}
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	end, err := g.host.AwaitStopped(ctx, g.Name)
	if err != nil {
		a.env.Talk("QEMU closed the console of %s: %v", g.Name, err)
		return
	}
	if end == nil {
		end = g.host.EndOf(g.Name, run)
	}
	a.sayEnd(g.Name, end)
}
