package agentcmd

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"kvmctl/cmd/internal/cli"
	"kvmctl/configs/kvmha"
	"kvmctl/ha"
	"kvmctl/ha/peer"
)

type pairOptions struct {
	address string
	listen  string
	yes     string
	forget  string
	list    bool
	rotate  bool
	json    bool
	timeout time.Duration
}

func newPair(a *app) *cobra.Command {
	o := &pairOptions{}
	cmd := &cobra.Command{
		Use:   "pair [<address>]",
		Short: "Make this node and another one know each other's keys",
		Long: fmt.Sprintf(`Make this node and another one know each other's keys, once, for the peer channel. On one node: kvmha pair, which
waits. On the other one: kvmha pair <address of the first>. Both then show the same four words, if nobody is in
between; each node is given the words from the other one's screen, and only then keeps its key. Words that differ
mean that somebody pretends to be the other node: then answer nothing, and look for him.

Without a terminal the words are the output, and the command ends; kvmha pair --yes <words> on each node gives it
the other one's. The exchange is by TCP to port %d, for as long as the command waits; keys are below
%s/%s. The agent needs no reload. What it then needs is the other node's [peer.<name>] in
kvmha.toml, whose name is the one that the other node gives itself.

--rotate gives this node a new key, over the channel: every peer has to answer, and accepts both until the new one
is in use. --list shows the keys, --forget takes one back: on both nodes, if the key may be in wrong hands.`, peer.PairPort, ha.StateDir, peer.Dir),
		Example: `  kvmha pair
  kvmha pair 10.2.0.11
  kvmha pair --yes amber-tiger-lilac-zebra
  kvmha pair --list`,
		Args: args(cobra.MaximumNArgs(1)),
		RunE: func(cmd *cobra.Command, words []string) error {
			if len(words) > 0 {
				o.address = words[0]
			}
			return a.runPair(cmd, o)
		},
	}
	f := cmd.Flags()
	f.StringVar(&o.listen, "listen", fmt.Sprintf(":%d", peer.PairPort), "wait at `ADDRESS`")
	f.StringVar(&o.yes, "yes", "", "these are the `WORDS` on the other node's screen: keep its key")
	f.BoolVar(&o.rotate, "rotate", false, "change this node's key")
	f.BoolVar(&o.list, "list", false, "show this node's key and those that it keeps")
	f.StringVar(&o.forget, "forget", "", "forget the key of the node `NAME`")
	f.BoolVar(&o.json, "json", false, "print --list as JSON")
	f.DurationVar(&o.timeout, "timeout", 10*time.Minute, "wait for the other node no longer than `T`")
	cmd.MarkFlagsMutuallyExclusive("listen", "yes", "rotate", "list", "forget")
	return cmd
}

func (a *app) runPair(cmd *cobra.Command, o *pairOptions) error {
	if err := a.needRoot("pair"); err != nil {
		return err
	}
	ctx := cmd.Context()
	for _, flag := range []string{"listen", "yes", "rotate", "list", "forget"} {
		if o.address != "" && cmd.Flags().Changed(flag) {
			return cli.Usage(useLine(cmd), "cannot pair with %s and --%s at once", o.address, flag)
		}
	}
	if o.json && !o.list {
		return cli.Usage("kvmha pair --list --json", "cannot print JSON without --list")
	}
	switch {
	case cmd.Flags().Changed("yes"):
		return a.confirmPair(o.yes)
	case o.rotate:
		return a.rotateKey(ctx)
	case o.list:
		return a.listKeys(o.json)
	case cmd.Flags().Changed("forget"):
		return a.forgetKey(o.forget)
	}
	return a.introduce(ctx, o)
}

// introduce has the exchange with the other node, and then asks for its words.
func (a *app) introduce(ctx context.Context, o *pairOptions) error {
	name := a.nodeName()
	if !peer.ValidName(name) {
		return cli.Usage("node = \"varda1\", in "+a.configPath(), "cannot pair the node %q: %w", name, peer.ErrBadName)
	}
	at, err := netip.ParseAddrPort(o.address)
	if addr, e := netip.ParseAddr(o.address); e == nil {
		at, err = netip.AddrPortFrom(addr, peer.PairPort), nil
	}
	if o.address != "" && err != nil {
		return cli.Usage("kvmha pair 10.2.0.11", "cannot pair with %q: it is no literal address", o.address)
	}
	id, err := peer.CreateIdentity(a.keysPath())
	if err != nil {
		return fmt.Errorf("cannot pair: %w", err)
	}
	wait, cancel := context.WithTimeout(ctx, o.timeout)
	defer cancel()
	var in peer.Introduction
	if o.address == "" {
		in, err = a.await(wait, id, name, o.listen)
	} else {
		in, err = connectPair(wait, id, name, at)
	}
	if err != nil {
		return err
	}
	if err := peer.SavePending(a.keysPath(), in); err != nil {
		return fmt.Errorf("cannot pair: %w", err)
	}
	a.env.Print("%s\n", in.Words)
	if was, err := peer.LoadPin(a.keysPath(), in.Name); err == nil && was.Key != in.Key {
		a.env.Talk("%s has another key than the one that is kept here: it would be replaced", in.Name)
	}
	if _, there := a.env.InTerminal(); !there {
		a.env.Talk("%s at %s is not paired yet; with the words from its screen: kvmha pair --yes <words>", in.Name, in.From)
		return nil
	}
	a.env.Talk("these words have to be on the screen of %s (%s), too; type what stands there:", in.Name, in.From)
	line, err := bufio.NewReader(io.LimitReader(a.env.In, 256)).ReadString('\n')
	if err != nil && strings.TrimSpace(line) == "" {
		return cli.Refused("kvmha pair --yes <words>", "cannot pair with %s: nobody has confirmed the words", in.Name)
	}
	return a.confirmPair(line)
}

func (a *app) await(ctx context.Context, id *peer.Identity, name, listen string) (peer.Introduction, error) {
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", listen)
	if err != nil {
		return peer.Introduction{}, fmt.Errorf("cannot pair: %w", err)
	}
	defer l.Close()
	a.env.Talk("%s waits at %s; on the other node: kvmha pair <address of this one>", name, l.Addr())
	in, err := peer.Await(ctx, id, name, l)
	return in, pairError(err, "the other node")
}

func connectPair(ctx context.Context, id *peer.Identity, name string, at netip.AddrPort) (peer.Introduction, error) {
	in, err := peer.Introduce(ctx, id, name, at)
	return in, pairError(err, at.String())
}

func pairError(err error, with string) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, context.DeadlineExceeded):
		return cli.InVain("on the other node: kvmha pair", "cannot pair with %s: nobody answered in time", with)
	case errors.Is(err, peer.ErrBroken), errors.Is(err, peer.ErrTooMany):
		return cli.Refused("kvmha pair, over a network path that only the two nodes share", "cannot pair with %s: %w", with, err)
	}
	return cli.Failed("on the other node: kvmha pair", "cannot pair with %s: %w", with, err)
}

// confirmPair keeps the key of the last exchange if its words are these.
func (a *app) confirmPair(words string) error {
	in, err := peer.Confirm(a.keysPath(), words)
	switch {
	case errors.Is(err, peer.ErrOtherWords):
		return cli.Refused("kvmha pair, again on both nodes", "cannot pair with %s: %w", in.Name, err)
	case errors.Is(err, peer.ErrNothingPending):
		return cli.Failed("kvmha pair", "cannot pair: %w", err)
	case err != nil:
		return fmt.Errorf("cannot pair: %w", err)
	}
	a.env.Talk("paired with %s", in.Name)
	spec, err := kvmha.Load(a.configPath())
	if err != nil {
		return nil // what is wrong with the file is not this command's business
	}
	for _, p := range spec.Peers {
		if p.Name == in.Name {
			return nil
		}
	}
	a.env.Talk("%s lacks: [peer.%s] with addresses = [%q]", a.configPath(), in.Name, in.From)
	return nil
}

// nodeName is what this node calls itself.
func (a *app) nodeName() string {
	if spec, err := kvmha.Load(a.configPath()); err == nil {
		return spec.Node
	}
	return kvmha.Hostname()
}
