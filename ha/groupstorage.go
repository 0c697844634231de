package ha

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"kvmctl/ha/arbiter"
	"kvmctl/ha/beat"
	"kvmctl/ha/failover"
	"kvmctl/ha/peer"
	"kvmctl/ha/right"
	"kvmctl/ha/salvage"
	"kvmctl/ha/storage"
)

// StorageWorld is how the agent reaches the disks of this machine.
type StorageWorld struct {
	Disks     storage.Disks
	Records   string                              // the directory of who may be alone
	Mounts    func(Group) storage.Mounts          // of one group
	Fencer    func(Fence) (storage.Fencer, error) // nil: a person is
	Addresses func(context.Context, string) error
	Backing   func(resource string) ([]salvage.Image, error) // what lies below a resource here
	Kept      string                                         // the directory of what losers of a split brain had
}

// The times of storage's steps.
const (
	drbdTimeout  = 30 * time.Second // drbdadm asks the peer, and the fence handler twice
	rightAtLeast = 15 * time.Second
	verbWait     = 20 * time.Second // for what a handler of DRBD's asks
)

// keepers finds the storage of a group from beside the loop.
type keepers struct {
	mu  sync.Mutex
	all map[string]*storage.Keeper
}

func (k *keepers) set(group string, one *storage.Keeper) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.all == nil {
		k.all = map[string]*storage.Keeper{}
	}
	if one == nil {
		delete(k.all, group)
		return
	}
	k.all[group] = one
}

func (k *keepers) of(group string) *storage.Keeper {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.all[group]
}

// withResource gives the storage that a resource of DRBD's belongs to.
func (k *keepers) withResource(name string) *storage.Keeper {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, one := range k.all {
		if slices.Contains(one.Resources, name) {
			return one
		}
	}
	return nil
}

// startStorage begins to follow a group's disks.
func (a *Agent) startStorage(ctx context.Context, g *group) error {
	s := g.spec.Storage
	if len(s.Resources) == 0 {
		return nil
	}
	if a.Disks == nil {
		return fmt.Errorf("group %s: %w", g.spec.Name, errNoDisks)
	}
	records, err := right.Open(a.Disks.Records)
	if err != nil {
		return fmt.Errorf("group %s: %w", g.spec.Name, err)
	}
	other := a.otherMember()
	alone, err := right.ParseAlone(s.Alone, a.Spec.Node, other.Name)
	if err != nil {
		return fmt.Errorf("group %s: %w", g.spec.Name, err)
	}
	c := storage.Config{Group: g.spec.Name, Node: a.Spec.Node, Peer: other.Name, Alone: alone, FenceAfter: s.FenceAfter, AddressWait: s.AddressWait}
	for _, r := range s.Resources {
		c.Resources = append(c.Resources, r.Name)
	}
	w := storage.World{
		Disks: a.Disks.Disks, Mounts: a.Disks.Mounts(g.spec), Records: records, Other: storagePeer{a, g.spec.Name, other.Name}, Arbiter: a.arbiterOf(g.spec.Name),
		Addresses: a.Disks.Addresses, Now: a.Clock.Now, Log: a.Log,
		Tell: func(in failover.Input) {
			a.post(ctx, func(time.Time) {
				if a.group(g.spec.Name) == g { // else a reload has taken it away
					a.push(g, in)
				}
			})
		},
	}
	for _, f := range a.Spec.Fences {
		if f.Name == s.Fence {
			one, err := a.Disks.Fencer(f)
			if err != nil {
				return fmt.Errorf("group %s: %w", g.spec.Name, err)
			}
			if one != nil {
				w.Fencer = one
			}
		}
	}
	k := storage.New(c, w)
	g.keeper = k
	a.keepers.set(g.spec.Name, k)
	a.beside.Go(func() { k.Run(ctx) })
	a.beside.Go(func() { a.verifying(ctx, c.Group, k, s.Verify) })
	return nil
}

// errNoDisks says that this system has no DRBD that kvmha knows.
var errNoDisks = errors.New("storage is for Linux")

// otherMember gives the one other node that may serve; the loader has seen to it that there is one.
func (a *Agent) otherMember() peer.Node {
	for _, n := range a.Spec.Peers {
		if n.Role == peer.Member {
			return n
		}
	}
	return peer.Node{}
}

// arbiterOf gives who says which of two nodes may go on alone; nil: nobody.
func (a *Agent) arbiterOf(group string) arbiter.Asker {
	for _, n := range a.Spec.Peers {
		if n.Role == peer.Arbiter {
			return storageArbiter{a.channel, n.Name}
		}
	}
	if slices.ContainsFunc(a.Spec.Arbiter, func(g arbiter.Group) bool { return g.Name == group && slices.Contains(g.Members, a.Spec.Node) }) {
		return ownArbiter{a.channel.witness}
	}
	return nil
}

// storageArbiter is another agent as the arbiter, whose key may change while this one runs.
type storageArbiter struct {
	c    *channel
	name string
}

func (s storageArbiter) remote() (arbiter.Remote, error) {
	n, err := s.c.node(s.name)
	return arbiter.Remote{Client: s.c.client, Node: n}, err
}

func (s storageArbiter) Ask(ctx context.Context, r arbiter.Request) (arbiter.Record, error) {
	remote, err := s.remote()
	if err != nil {
		return arbiter.Record{}, err
	}
	return remote.Ask(ctx, r)
}

func (s storageArbiter) Look(ctx context.Context, group string) (arbiter.Record, error) {
	remote, err := s.remote()
	if err != nil {
		return arbiter.Record{}, err
	}
	return remote.Look(ctx, group)
}

// ownArbiter is an etcd that this node asks by itself.
type ownArbiter struct{ w *witness }

var errNoRecords = errors.New("the arbiter's records cannot be reached")

func (o ownArbiter) Ask(ctx context.Context, r arbiter.Request) (arbiter.Record, error) {
	k := o.w.keeping()
	if k == nil {
		return arbiter.Record{}, errNoRecords
	}
	return k.AskFrom(ctx, o.w.node, r)
}

func (o ownArbiter) Look(ctx context.Context, group string) (arbiter.Record, error) {
	k := o.w.keeping()
	if k == nil {
		return arbiter.Record{}, errNoRecords
	}
	return k.Look(ctx, group)
}

// storagePeer is the other node's storage of a group, over the peer channel.
type storagePeer struct {
	a           *Agent
	group, name string
}

func (p storagePeer) do(ctx context.Context, v peer.Verb, in, out any) error {
	n, err := p.a.channel.node(p.name)
	if err != nil {
		return err
	}
	return p.a.channel.client.Do(ctx, n, v, in, out)
}

func (p storagePeer) Greet(ctx context.Context, own storage.Hello) (h storage.Hello, err error) {
	return h, p.do(ctx, peer.VerbStorage, own, &h)
}

func (p storagePeer) LetGo(ctx context.Context, r storage.LetGoRequest) error {
	return p.do(ctx, peer.VerbOutdateDisk, r, nil)
}

// node gives a peer with its key.
func (c *channel) node(name string) (peer.Node, error) {
	for _, n := range c.keyring().Nodes {
		if n.Name == name && !n.Key.IsZero() {
			return n, nil
		}
	}
	return peer.Node{}, &peer.NotPairedError{Name: name}
}

// storageOf gives the storage that a peer speaks of, if it is its own.
func (c *channel) storageOf(from peer.Node, group string) (*storage.Keeper, error) {
	k := c.a.keepers.of(group)
	if k == nil || from.Role != peer.Member || from.Name != k.Config.Peer {
		return nil, &peer.AnswerError{Code: peer.CodeNoStorage, Text: fmt.Sprintf("there is no storage of a group %.40q here that %s shares", group, from.Name)}
	}
	return k, nil
}

// greeted answers what a peer says of a group's storage.
func (c *channel) greeted(_ context.Context, from peer.Node, in json.RawMessage) (any, error) {
	began := c.a.Clock.Now()
	var h storage.Hello
	if json.Unmarshal(in, &h) != nil {
		return nil, &peer.AnswerError{Code: peer.CodeBadRequest, Text: "this is no greeting"}
	}
	k, err := c.storageOf(from, h.Group)
	if err != nil {
		return nil, err
	}
	k.Met(began, h)
	return k.Hello(), nil
}

// askedLetGo gives up this node's right to go on alone.
func (c *channel) askedLetGo(ctx context.Context, from peer.Node, in json.RawMessage) (any, error) {
	var r storage.LetGoRequest
	if json.Unmarshal(in, &r) != nil {
		return nil, &peer.AnswerError{Code: peer.CodeBadRequest, Text: "this is no request to let go"}
	}
	k, err := c.storageOf(from, r.Group)
	if err != nil {
		return nil, err
	}
	if err := k.LetGo(ctx, r); err != nil {
		if refused, ok := errors.AsType[*storage.RefusedError](err); ok {
			return nil, &peer.AnswerError{Code: peer.CodeRefused, Text: refused.Why}
		}
		return nil, err
	}
	return struct{}{}, nil
}

// tellStorage tells the groups' storage what heartbeats say.
func (a *Agent) tellStorage(now time.Time, g *group, p beat.Peer) {
	if g.keeper == nil {
		return
	}
	switch {
	case p.Alive || !p.Heard.IsZero() && now.Sub(p.Heard) < beat.Fresh:
		g.silent = time.Time{}
	case g.silent.IsZero():
		if g.silent = p.Heard; g.silent.IsZero() {
			g.silent = now
		}
	}
	g.keeper.Beats(storage.Pulse{Alive: p.Alive, Active: p.Alive && p.Present && p.Group.Role == beat.Active, Since: g.silent})
}

// stepResources and stepMounts are the group's storage in the terms of its failover machine.
func (g Group) stepResources() (all []failover.Resource) {
	for _, r := range g.Storage.Resources {
		all = append(all, failover.Resource{Name: r.Name, UpTimeout: g.Storage.AddressWait + drbdTimeout, PrimaryTimeout: drbdTimeout, SecondaryTimeout: drbdTimeout})
	}
	return all
}

func (g Group) stepMounts() (all []failover.Mount) {
	for _, m := range g.Storage.Mounts {
		all = append(all, failover.Mount{Dir: m.Dir, MountTimeout: m.MountTimeout, UnmountTimeout: m.UnmountTimeout})
	}
	return all
}

// askStorage answers what DRBD's handlers and people ask of a group's storage. It waits, and so runs beside the loop.
func (a *Agent) askStorage(ctx context.Context, q asked) {
	ctx, cancel := context.WithTimeout(ctx, verbWait)
	defer cancel()
	if q.Verb == VerbResolve && q.Resolve != nil {
		step, err := a.resolve(ctx, *q.Resolve)
		out := Reply{Resolve: &step}
		fail(&out, err)
		q.reply <- out
		return
	}
	k := a.keepers.withResource(q.Resource)
	if q.Verb == VerbConfirmDead && len(q.Groups) == 1 {
		k = a.keepers.of(q.Groups[0])
	}
	if k == nil {
		q.reply <- Reply{Usage: true, Error: fmt.Sprintf("no group here has storage %q", q.Resource), Hint: "kvmha status"}
		return
	}
	var out Reply
	var err error
	switch q.Verb {
	case VerbFencePeer:
		out.Exit, err = k.Fenced(ctx)
	case VerbBeforeResync:
		err = k.Target(q.Resource)
	case VerbUnfence:
	case VerbSplitBrain:
		k.Split(q.Resource)
	case VerbConfirmDead:
		if q.Node != k.Config.Peer {
			err = &storage.RefusedError{Why: fmt.Sprintf("the other node of %s is %s, not %q", k.Group, k.Config.Peer, q.Node)}
		} else {
			err = k.Confirm(q.Who)
		}
	}
	a.Log.Info("asked", "verb", q.Verb, "group", k.Group, "resource", q.Resource, "by", q.Who, "exit", out.Exit, "error", err)
	fail(&out, err)
	q.reply <- out
}

// fail puts an error of storage's into an answer.
func fail(out *Reply, err error) {
	if err == nil {
		return
	}
	out.Error = oneLine(err)
	if refused, ok := errors.AsType[*storage.RefusedError](err); ok {
		out.Refused, out.Hint = true, refused.Command
	}
}
