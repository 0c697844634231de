package agentcmd

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"kvmctl/cmd/internal/cli"
	"kvmctl/ha"
	"kvmctl/ha/right"
)

// handlerFor is how long DRBD's handlers wait for the agent, which gives up sooner by itself.
const handlerFor = 25 * time.Second

// handlerFailed is what a handler exits with when it could not do its work: for fence-peer the one number without a meaning of its own (facts/ha.md
// 4.3), so that writes stay frozen. The other codes of this program must never come out of it: 5 would let them go on.
const handlerFailed = 1

// resourceOf gives the resource that a handler is about: its argument, or DRBD's variable.
func (a *app) resourceOf(words []string) (string, error) {
	name := a.env.Get("DRBD_RESOURCE")
	if len(words) > 0 {
		name = words[0]
	}
	if name == "" {
		return "", errors.New("no resource is named: DRBD sets DRBD_RESOURCE")
	}
	return name, nil
}

// handler makes a command that DRBD calls.
func (a *app) handler(verb ha.Verb, short, long string, alone func(resource string) error) *cobra.Command {
	return &cobra.Command{
		Use: string(verb) + " [<resource>]", Short: short, Long: long, Example: "  kvmha " + string(verb) + " r0",
		Args: args(cobra.MaximumNArgs(1)),
		RunE: func(cmd *cobra.Command, words []string) error {
			code, err := a.handle(cmd.Context(), verb, words, alone)
			if err != nil {
				a.env.Report(fmt.Errorf("cannot answer DRBD's %s: %w", verb, err))
				code = handlerFailed
			}
			if code == 0 {
				return nil
			}
			return &cli.QuietError{ExitCode: code}
		},
	}
}

// handle asks the agent; alone is what is done without one, nil: nothing can be.
func (a *app) handle(ctx context.Context, verb ha.Verb, words []string, alone func(resource string) error) (code int, err error) {
	resource, err := a.resourceOf(words)
	if err != nil {
		return 0, err
	}
	ctx, cancel := context.WithTimeout(ctx, handlerFor)
	defer cancel()
	reply, err := ha.Ask(ctx, a.socketPath(), ha.Request{Verb: verb, Resource: resource, Who: "DRBD"})
	if _, off := errors.AsType[*ha.NotRunningError](err); off && alone != nil {
		return 0, alone(resource)
	}
	if err != nil {
		return 0, err
	}
	if reply.Error != "" {
		return 0, errors.New(cli.Printable(reply.Error))
	}
	return reply.Exit, nil
}

func newFencePeer(a *app) *cobra.Command {
	return a.handler(ha.VerbFencePeer, "Tell DRBD whether its peer is fenced (DRBD's fence-peer handler)",
		`DRBD calls it when a primary has lost its peer, and before a node becomes primary without one: writes stand still until it has answered.

It asks the agent for the right to go on alone, and exits with 7 when nobody else may write (the peer was killed for certain, the arbiter or a person
said so, or this node is the one that may), with 4 when the peer itself gave up its right, and with 1 otherwise: then writes stay frozen, which loses
nothing. It never exits with 5.

In drbd.conf: fence-peer "/usr/local/bin/kvmha fence-peer"; beside fencing resource-and-stonith.`, nil)
}

func newUnfence(a *app) *cobra.Command {
	return a.handler(ha.VerbUnfence, "Take note that a resync has ended (DRBD's after-resync-target handler)",
		`DRBD calls it on the node that was resynced. What follows from it, the agents settle between them: there is nothing to be undone here.`,
		func(string) error { return nil })
}

func newBeforeResync(a *app) *cobra.Command {
	return a.handler(ha.VerbBeforeResync, "Write down that the peer has the newest data (DRBD's before-resync-target handler)",
		`DRBD calls it on the node that is about to be overwritten, which from then on never goes on alone by itself. Where this node went on alone it exits with 1,
and DRBD drops the connection: "kvmha drbd resolve" has a person choose. It works without an agent, too.`, a.pairedAlone)
}

func newSplitBrain(a *app) *cobra.Command {
	return a.handler(ha.VerbSplitBrain, "Take note of a split brain (DRBD's split-brain handler)",
		`DRBD calls it when both sides hold what the other one lacks, on both nodes. The agent freezes the group where it is, and mails.`, nil)
}

// pairedAlone is before-resync without an agent: the record is the same file.
func (a *app) pairedAlone(resource string) error {
	spec, err := a.load(a.configPath())
	if err != nil {
		return err
	}
	for _, g := range spec.Groups {
		if !slices.ContainsFunc(g.Storage.Resources, func(r ha.Resource) bool { return r.Name == resource }) {
			continue
		}
		store, err := right.Open(a.rightPath())
		if err != nil {
			return err
		}
		own, damaged := store.Read(g.Name)
		v := right.MayBeTarget(right.Situation{Node: spec.Node, Peer: "its peer", Group: g.Name, Own: own, Damaged: damaged}, false)
		switch {
		case !v.May:
			return errors.New(v.Why)
		case v.Write == nil:
			return nil
		}
		v.Write.Group = g.Name
		return store.Write(*v.Write, time.Now())
	}
	return fmt.Errorf("no group has the resource %q", resource)
}

func newConfirmDead(a *app) *cobra.Command {
	yes := false
	cmd := &cobra.Command{
		Use:   "confirm-dead <group> <node>",
		Short: "Say that the other node is off, so that this one may go on with the storage",
		Long: `Say, as a person who has looked, that the other node is off and stays off until the two see each other again: this node may then go on alone with the
group's storage. If the other one writes nevertheless, one of the two sides will be lost.

It is refused while the other node is heard (exit code 3). --yes says it without being asked.`,
		Example: "  kvmha confirm-dead varda varda2",
		Args:    args(cobra.ExactArgs(2)),
		RunE: func(cmd *cobra.Command, words []string) error {
			group, node := words[0], words[1]
			if err := a.sure(yes, fmt.Sprintf("Is %s off, and does it stay off? Type its name: ", node), node, "kvmha confirm-dead "+group+" "+node+" --yes"); err != nil {
				return err
			}
			_, err := a.askWithin(cmd.Context(), handlerFor, "take "+node+" for dead", ha.Request{Verb: ha.VerbConfirmDead, Groups: []string{group}, Node: node})
			if err == nil {
				a.env.Talk("%s may go on without %s: kvmha status %s", group, node, group)
			}
			return err
		},
	}
	cmd.Flags().BoolVarP(&yes, "yes", "y", false, "do not ask")
	return cmd
}

// sure has a person type a word before something that cannot be taken back; nobody at a terminal needs --yes.
func (a *app) sure(yes bool, question, word, again string) error {
	if yes {
		return nil
	}
	if _, terminal := a.env.InTerminal(); !terminal {
		return cli.Refused(again, "cannot ask whether this is meant: there is no terminal")
	}
	fmt.Fprint(a.env.Err, question)
	var typed string
	if _, err := fmt.Fscanln(a.env.In, &typed); err != nil || typed != word {
		return cli.Refused("", "cannot go on: %q was not typed", word)
	}
	return nil
}
