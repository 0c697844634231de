package ha

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"kvmctl/ha/check"
	"kvmctl/ha/confsync"
	"kvmctl/ha/drbd/conf"
	"kvmctl/ha/peer"
)

// The peer channel's times.
const (
	reportEvery = time.Second     // each peer is asked so often
	reportWait  = 3 * time.Second // for its answer
	reportFresh = reportEvery / 4 // an answer is given again to whoever asks within so short a time
)

// channel is the agent's end of the peer channel. It runs beside the loop, asks it as any command does, and is asked only for what lies here.
type channel struct {
	a       *Agent
	server  *peer.Server
	client  *peer.Client
	wanted  chan channelSpec // of a reload; room for one
	witness *witness

	mu    sync.Mutex
	ring  peer.Keyring
	views map[string]view      // of the peers, by name
	spec  Spec                 // as the file has it now
	syncs []confsync.Job       // its jobs
	held  map[string]time.Time // since when a rollback holds a job, by name

	marks  map[string]uint64 // of the changes here of what the others copy, by job
	unread map[string]bool   // jobs whose record cannot be read; syncing's own

	own   sync.Mutex // held while a report is made
	last  Report     // of this node
	asked time.Time
}

// channelSpec is what the file says of the channel.
type channelSpec struct {
	listen []string
	peers  []peer.Node
	kept   kept // by this node, as an arbiter
}

// view is what this node knows of another one.
type view struct {
	report *Report
	at     time.Time // of the report
	err    error     // of the last try
}

func newChannel(a *Agent) *channel {
	c := &channel{a: a, server: peer.NewServer(a.Version, a.Log), client: peer.NewClient(a.Version, nil), wanted: make(chan channelSpec, 1), views: map[string]view{}, marks: map[string]uint64{}, unread: map[string]bool{}}
	c.server.Handle(peer.VerbReport, func(ctx context.Context, from peer.Node, _ json.RawMessage) (any, error) {
		if err := c.switched(from); err != nil {
			return nil, err
		}
		return c.report(ctx)
	})
	c.server.Handle(peer.VerbSID, tellSIDs(check.NewSIDReader(a.Clock.Now, check.LocalSIDs)))
	c.server.Handle(peer.VerbDRBDConf, tellDRBDConf(conf.Dir(a.Root), os.Hostname))
	c.witness = newWitness(a)
	c.server.Handle(peer.VerbArbiter, c.witness.handle)
	c.server.Handle(peer.VerbRekey, c.askedRekey)
	c.server.Handle(peer.VerbAskHandover, c.askedHandover)
	c.server.Handle(peer.VerbStorage, c.greeted)
	c.server.Handle(peer.VerbOutdateDisk, c.askedLetGo)
	c.server.Handle(peer.VerbSplitBrainStep, c.askedResolve)
	c.server.HandleStream(peer.VerbSyncPull, c.askedPull)
	return c
}

// want says, from the loop, what the file has now.
func (c *channel) want(s Spec) {
	c.mu.Lock()
	c.spec, c.syncs = s, s.Syncs
	c.mu.Unlock()
	select {
	case <-c.wanted: // of before, not taken yet
	default:
	}
	c.wanted <- channelSpec{s.Channel.Listen, s.Peers, kept{s.Arbiter, s.Etcd}} // it has room for one, and nobody else fills it
}

// keyring is this node's key and the peers with theirs, as they were read last.
func (c *channel) keyring() peer.Keyring {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.ring
}

// run serves and asks until ctx ends. Keys are read again each second: kvmha pair needs no reload.
func (c *channel) run(ctx context.Context) {
	defer c.client.Close()
	var spec channelSpec
	var listening, asking, witness runs
	defer witness.stop()
	witness.begin(ctx, c.witness.run)
	defer listening.stop()
	defer asking.stop()
	tick := time.NewTicker(reportEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case next := <-c.wanted:
			if !slices.Equal(next.listen, spec.listen) {
				listening.stop()
				for _, at := range next.listen {
					listening.begin(ctx, func(ctx context.Context) { c.listen(ctx, at) })
				}
			}
			c.witness.use(next.kept)
			spec = next
		case <-tick.C:
			if len(spec.peers) == 0 && len(c.keyring().Nodes) == 0 {
				continue
			}
		}
		if !c.readKeys(spec.peers) {
			continue
		}
		asking.stop()
		for _, n := range c.keyring().Nodes {
			if !n.Key.IsZero() {
				asking.begin(ctx, func(ctx context.Context) { c.follow(ctx, n) })
			}
		}
	}
}

// readKeys reports whether a key or a peer has changed.
func (c *channel) readKeys(peers []peer.Node) bool {
	var ring peer.Keyring
	var err error
	c.mu.Lock()
	before := c.ring
	c.mu.Unlock()
	if len(peers) > 0 {
		ring, err = before.Reread(c.a.Keys, peers)
	}
	c.a.Degrade("peer channel keys", err)
	c.mu.Lock()
	defer c.mu.Unlock()
	if ring.Equal(c.ring) {
		return false
	}
	c.ring = ring
	c.server.Use(ring.Identity, ring.Nodes)
	c.client.Use(ring.Identity)
	known := map[string]view{}
	for _, n := range ring.Nodes {
		known[n.Name] = c.views[n.Name]
	}
	for name := range c.views {
		if _, still := known[name]; !still {
			c.a.Degrade("peer "+name, nil)
		}
	}
	c.views = known
	return true
}

// listen serves at one address, and tries again where that is not possible yet.
func (c *channel) listen(ctx context.Context, at string) {
	subject := "peer channel at " + at
	defer c.a.Degrade(subject, nil)
	for ctx.Err() == nil {
		l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", at)
		if c.a.Degrade(subject, err); err == nil {
			err = c.server.Serve(ctx, l)
		}
		if ctx.Err() == nil {
			c.a.Degrade(subject, err)
		}
		sleep(ctx, reportEvery)
	}
}

// follow asks a peer for its report each second.
func (c *channel) follow(ctx context.Context, n peer.Node) {
	for ctx.Err() == nil {
		began := c.a.Clock.Now()
		var r Report
		within, cancel := context.WithTimeout(ctx, reportWait)
		err := c.client.Do(within, n, peer.VerbReport, nil, &r)
		cancel()
		if ctx.Err() != nil {
			return
		}
		c.saw(n, began, r, err)
		sleep(ctx, reportEvery)
	}
}

// saw notes what a peer answered.
func (c *channel) saw(n peer.Node, began time.Time, r Report, err error) {
	c.mu.Lock()
	v := c.views[n.Name]
	if v.err = err; err == nil {
		v.report, v.at = &r, began // it may be as old as the question
	}
	c.views[n.Name] = v
	c.mu.Unlock()
	c.a.Degrade("peer "+n.Name, err)
}

// report is what this node says of itself. Several peers that ask at once cost the loop one turn.
func (c *channel) report(ctx context.Context) (Report, error) {
	c.own.Lock()
	defer c.own.Unlock()
	now := c.a.Clock.Now()
	if c.last.Node != "" && now.Sub(c.asked) < reportFresh {
		return c.last, nil
	}
	reply := c.a.ask(ctx, Request{Verb: VerbStatus})
	if reply.Status == nil {
		return Report{}, errors.New(reply.Error)
	}
	c.last, c.asked = reportOf(*reply.Status, c.a.BootID), now
	c.last.Changed = c.changed()
	return c.last, nil
}

// HandoverRequest is the body of peer.VerbAskHandover.
type HandoverRequest struct {
	Group string `json:"group"`
	Who   string `json:"who,omitempty"` // asks there, for the log
}

// askedHandover hands a group over because a peer wants it: what `kvmha switch` does here, with all its refusals.
func (c *channel) askedHandover(ctx context.Context, from peer.Node, in json.RawMessage) (any, error) {
	var r HandoverRequest
	if json.Unmarshal(in, &r) != nil || r.Group == "" || from.Role != peer.Member {
		return nil, &peer.AnswerError{Code: peer.CodeBadRequest, Text: "this is no request of a member for a group"}
	}
	reply := c.a.ask(ctx, Request{Verb: VerbSwitch, Groups: []string{r.Group}, Who: fmt.Sprintf("peer %s (%.40q)", from.Name, r.Who)})
	if reply.Error == "" {
		return struct{}{}, nil
	}
	code := peer.CodeFailed
	switch {
	case reply.Passing:
		code = peer.CodeNotYet
	case reply.Refused:
		code = peer.CodeRefused
	}
	return nil, &peer.AnswerError{Code: code, Text: reply.Error, Advice: reply.Hint}
}

// askedRekey lets a peer change its key.
func (c *channel) askedRekey(_ context.Context, from peer.Node, in json.RawMessage) (any, error) {
	ring := c.keyring()
	if ring.Identity == nil {
		return nil, &peer.NotPairedError{Name: from.Name}
	}
	if err := peer.AcceptRekey(c.a.Keys, ring.Identity.Public(), from, in); err != nil {
		return nil, err
	}
	c.a.Log.Info("a peer changes its key", "peer", from.Name)
	return struct{}{}, nil
}

// switched notes that a peer's agent uses its new key; a file is touched only then.
func (c *channel) switched(from peer.Node) error {
	for _, n := range c.keyring().Nodes {
		if n.Name == from.Name && !n.Next.IsZero() && n.Next == from.Key {
			c.a.Log.Info("a peer has changed its key", "peer", from.Name)
			return peer.Switched(c.a.Keys, from)
		}
	}
	return nil
}

// status is what is known of the peers.
func (c *channel) status(now time.Time) (all []PeerStatus) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, n := range c.ring.Nodes {
		v := c.views[n.Name]
		p := PeerStatus{Name: n.Name, Role: string(n.Role), Paired: !n.Key.IsZero(), Report: v.report}
		if v.report != nil {
			ago := now.Sub(v.at).Seconds()
			p.Seen = &ago
		}
		switch {
		case !p.Paired:
			p.Wrong = (&peer.NotPairedError{Name: n.Name}).Error()
		case v.err != nil:
			p.Wrong = strings.ReplaceAll(v.err.Error(), "\n", "; ")
		}
		all = append(all, p)
	}
	return all
}

// runs are goroutines that end together.
type runs struct {
	cancel []context.CancelFunc
	all    sync.WaitGroup
}

func (r *runs) begin(ctx context.Context, f func(context.Context)) {
	ctx, cancel := context.WithCancel(ctx)
	r.cancel = append(r.cancel, cancel)
	r.all.Go(func() { f(ctx) })
}

// stop ends them and waits for them.
func (r *runs) stop() {
	for _, cancel := range r.cancel {
		cancel()
	}
	r.all.Wait()
	r.cancel = nil
}

// sleep waits, or until ctx ends.
func sleep(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}
