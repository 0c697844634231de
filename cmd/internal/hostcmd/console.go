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
	force  bool
}

func newConsole(a *app) *cobra.Command {
	var o consoleOptions
	cmd := &cobra.Command{
		Use:   "console <vm> [--replay|--force]",
		Short: "Talk to a guest on its serial console",
		Long: `Talk to a guest on its serial console; ^] leaves it, and the guest runs on.

One person types at a time. Whoever comes later sees all of it, read only, and is told who types;
^] or ^C leaves. When the one who types leaves, the others are told, and Enter takes the keyboard.
--force takes it at once: the one who had it is told by whom, and reads on. What the console said
last is shown first, so that a waiting prompt is seen.

A terminal that takes nothing, as behind ^S or a lost connection, stops nobody: 4 MiB wait for it, what is
beyond that is left out, which it is told, and --replay has it. A kvmctl that is itself stopped, by SIGSTOP,
does hold up what the guest writes there, after some 280 bytes, as does another program on the guest's console
socket that reads nothing: QEMU waits for it and cannot be told not to. The guest goes on when that one does, or
ends. Whoever comes then is told who it is, if it is a kvmctl.

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
	cmd.Flags().BoolVar(&o.force, "force", false, "take the keyboard from who types")
	cmd.MarkFlagsMutuallyExclusive("replay", "force")
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
	for again := false; ; again = true {
		how, err := a.visitConsole(ctx, g, o.force && !again, tty, again)
		if err != nil || how == leftByUser || how == leftByEnd {
			return err
		}
	}
}

// visitConsole is a visit as the one who types or, if somebody else does, as a reader. again: the person was here just now, in the other role.
func (a *app) visitConsole(ctx context.Context, g *seen, force, tty, again bool) (leaving, error) {
	c, err := g.host.Console(ctx, g.Name, a.visitor(force))
	var taken *vm.TakenError
	var held *vm.HeldSeatError
	switch {
	case errors.As(err, &held):
		return 0, cli.Failed(held.Hint(), "cannot take the keyboard of %s: %w", g.Name, err)
	case errors.As(err, &taken) && tty:
		a.env.Talk("%s: read only, because %s is typing; ^] or ^C leaves", g.Name, taken.By)
		if taken.By.Stopped() {
			a.env.Talk("%s: that kvmctl is stopped by a signal, which holds up what the guest writes: kill -CONT %d", g.Name, taken.By.PID)
		}
		return a.onConsole(ctx, g, nil, again)
	case errors.As(err, &taken):
		return 0, cli.Failed("kvmctl console "+g.Name+" --replay", "cannot type on the console of %s: %w", g.Name, err)
	case err != nil:
		return 0, unreachable(openConsole, g.Name, err)
	}
	defer c.Close()
	if tty {
		a.env.Talk("%s: ^] leaves the console", g.Name)
	}
	inner, stop := untilTaken(ctx, c.Taken())
	defer stop()
	how, err := a.onConsole(inner, g, c, again)
	by := takenBy(inner)
	switch {
	case by == nil || err != nil || how == leftByEnd:
		return how, err
	case !tty:
		return 0, cli.Failed("kvmctl console "+g.Name+" --replay", "cannot go on typing on the console of %s: %w", g.Name, by)
	}
	a.env.Talk("%s: %v", g.Name, by)
	return leftSeat, nil
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
func (a *app) onConsole(ctx context.Context, g *seen, c *vm.Console, again bool) (leaving, error) {
	in := -1
	if f, ok := a.env.In.(*os.File); ok {
		in = int(f.Fd())
	}
	_, tty := a.env.InTerminal()
	how, err := a.attend(ctx, g, c, in, tty, again)
	if tty {
		io.WriteString(a.env.Err, "\n") // the guest's cursor stands anywhere
	}
	switch {
	case err != nil:
		return 0, fmt.Errorf("cannot stay at the console of %s: %w", g.Name, err)
	case how == leftByEnd:
		a.sayLast(g)
	case how == leftByUser && tty && takenBy(ctx) == nil:
		a.env.Talk("left the console of %s, which runs on", g.Name)
	}
	return how, nil
}

// leaving says how a visit to the console ended.
type leaving int

const (
	leftByUser leaving = iota
	leftByEnd          // the guest's
	leftSeat           // to come back in the other role: as the one who types, or as a reader
)

// attend puts the terminal raw, and undoes that whatever happens inside.
func (a *app) attend(ctx context.Context, g *seen, c *vm.Console, in int, tty, again bool) (leaving, error) {
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
	if tty && !again {
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
	out := newPump(a.env.Out)
	w := &writer{c: c, in: in, tty: tty, bell: b, out: out, harvest: func() error { return g.host.Harvest(g.Name) }}
	how, err := leftByUser, error(nil)
	if tty {
		err = showLast(out, log)
	}
	if err == nil {
		how, err = w.run(ctx)
	}
	_ = c.UnixConn.Close() // the guest must not wait for what our terminal does not take
	if tty {               // a pipe is waited for until ^C; who is at a terminal wants to leave
		var leave context.CancelFunc
		ctx, leave = context.WithCancel(ctx)
		leave()
	}
	return how, errors.Join(err, out.close(ctx))
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
