package hostcmd

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"kvmctl/cmd/internal/cli"
	"kvmctl/vm"
)

type sendkeyOptions struct {
	name  string
	keys  []string
	text  string
	typed bool // --text was given
	hold  time.Duration
}

func newSendkey(a *app) *cobra.Command {
	var o sendkeyOptions
	cmd := &cobra.Command{
		Use:   "sendkey <vm> [<key>...] [--text TEXT|-] [--hold T]",
		Short: "Press keys on a guest's keyboard",
		Long: `Press keys on a guest's keyboard, one argument after the other. Keys joined by - are held together:
ctrl-alt-f1, shift-a. The names are QEMU's (QKeyCode): f1, ret, spc, esc, tab, up, pgdn, kp_enter,
meta_l and so on; enter, space, escape, del, altgr and win are known, too. They complete with Tab.

--text types a text as on a US keyboard; \n in it is the Enter key, \t Tab, \e Escape, \\ a backslash.
--text - types what stdin has, as it is: a password never stands in a command line that way.

Each key is held for the time of --hold, and as long a pause follows it. kvmctl returns when the last
key was released. A paused guest takes no keys: that is an error.`,
		Example: `  kvmctl sendkey vm-olorin ctrl-alt-f2
  kvmctl sendkey vm-olorin down down enter
  kvmctl sendkey vm-olorin --text 'root\n'
  pass show vm-olorin | kvmctl sendkey vm-olorin --text -`,
		Args:              args(cobra.MinimumNArgs(1)),
		ValidArgsFunction: a.completeKeys,
		RunE: func(cmd *cobra.Command, args []string) error {
			o.name, o.keys, o.typed = args[0], args[1:], cmd.Flags().Changed("text")
			return a.runSendkey(cmd.Context(), o)
		},
	}
	cmd.Flags().StringVar(&o.text, "text", "", "type `TEXT`; - types what stdin has")
	cmd.Flags().DurationVar(&o.hold, "hold", 30*time.Millisecond, "hold each key for `T` (1ms to 10s)")
	return cmd
}

const pressKeys = "press keys on"

func (a *app) runSendkey(ctx context.Context, o sendkeyOptions) error {
	strokes, err := a.strokes(ctx, o)
	if err != nil {
		return err
	}
	g, err := a.meet(ctx, o.name, "sendkey", pressKeys)
	if err != nil {
		return err
	}
	if err := g.host.Finished(o.name); err != nil {
		return unreachable(pressKeys, o.name, err)
	}
	sent, err := g.host.SendKeys(ctx, o.name, strokes, o.hold)
	switch {
	case errors.Is(err, vm.ErrNoKeys):
		return cli.Failed("kvmctl resume "+o.name, "cannot %s %s: %w", pressKeys, o.name, err)
	case err != nil && sent > 0:
		return unreachable(pressKeys, o.name, fmt.Errorf("%w; %d of %s were pressed", err, sent, count(len(strokes), "stroke")))
	case err != nil:
		return unreachable(pressKeys, o.name, err)
	}
	return nil
}

// strokes reads what is to be pressed, before anything is.
func (a *app) strokes(ctx context.Context, o sendkeyOptions) ([]vm.Chord, error) {
	usage := func(hint, format string, v ...any) error {
		return cli.Usage(hint, "cannot %s %s: %w", pressKeys, o.name, fmt.Errorf(format, v...))
	}
	switch {
	case o.hold < time.Millisecond || o.hold > 10*time.Second:
		return nil, usage("kvmctl sendkey --help", "--hold %v is not between 1ms and 10s", o.hold)
	case o.typed && len(o.keys) > 0:
		return nil, usage("kvmctl sendkey --help", "either keys or --text, not both")
	case !o.typed && len(o.keys) == 0:
		return nil, usage("kvmctl sendkey "+o.name+" enter", "no keys were given")
	}
	if o.typed {
		return a.textStrokes(ctx, o.text, usage)
	}
	var all []vm.Chord
	for _, k := range o.keys {
		c, err := vm.ParseChord(k)
		if err != nil {
			return nil, usage(cli.Hint(err), "%w", err)
		}
		all = append(all, c)
	}
	return all, nil
}

// maxTyped bounds what is read of stdin; more than ParseText takes.
const maxTyped = 64 << 10

func (a *app) textStrokes(ctx context.Context, text string, usage func(hint, format string, v ...any) error) ([]vm.Chord, error) {
	var err error
	if text == "-" {
		in, stop, err := newKeys(ctx, a.env)
		if err != nil {
			return nil, err
		}
		defer stop()
		b, err := io.ReadAll(io.LimitReader(in, maxTyped))
		if err != nil {
			return nil, usage("", "read the text: %w", err)
		}
		text = string(b)
	} else if text, err = vm.Unescape(text); err != nil {
		return nil, usage("", "%w", err)
	}
	all, err := vm.ParseText(text)
	if err != nil {
		return nil, usage(cli.Hint(err), "%w", err)
	}
	if len(all) == 0 {
		return nil, usage("", "the text is empty")
	}
	return all, nil
}

// completeKeys completes a guest and then keys, also the last one of a chord.
func (a *app) completeKeys(cmd *cobra.Command, args []string, toComplete string) ([]string, cobra.ShellCompDirective) {
	if len(args) == 0 {
		return a.completeGuests(cmd, args, toComplete)
	}
	before, part := "", toComplete
	if i := strings.LastIndexByte(toComplete, '-'); i >= 0 {
		before, part = toComplete[:i+1], toComplete[i+1:]
	}
	var names []string
	for _, k := range vm.KeyNames() {
		if strings.HasPrefix(k, part) {
			names = append(names, before+k)
		}
	}
	return names, cobra.ShellCompDirectiveNoFileComp
}
