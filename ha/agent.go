package ha

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"kvmctl/ha/check"
	"kvmctl/ha/failover"
	"kvmctl/ha/link"
)

// Bounds of what waits for the main loop. A frame that finds no room is dropped and counted, as the kernel would.
const (
	framesWaiting  = 1024
	linksWaiting   = 1024
	resultsWaiting = 256
	newsWaiting    = 256
	asksWaiting    = maxClients
	actGrace       = 4 * time.Second // shorter than failover's, which waits 5 s longer than a step's timeout
)

// Agent runs the groups of one node. Its main loop alone touches the groups, refreshes the leases, sends the adverts and pets the watchdog;
// whatever may wait runs beside it and reports by a bounded channel.
type Agent struct {
	Options
	groups    []*group
	ports     map[string]*port
	checks    *check.Runner
	channel   *channel
	keepers   keepers
	resolving resolving

	heartbeat *heartbeat
	pulse     *pulse          // of the peer; nil: there is none
	quiet     map[string]bool // interfaces on which no frame has come in for a while
	units     *check.Runner   // tells the end of the units of active groups
	freeze    freezeWatch
	queue     []event // decisions that follow from the one under way
	began     time.Time
	loop      LoopStatus
	broken    map[string]string // what works less well than it should, by subject
	seen      *seen             // of this turn; nil: each look asks the kernel
	again     map[string]bool   // interfaces that could not be looked at

	peers       peers
	peersWanted chan peersWanted

	foreign chan foreign

	claimsWanted  chan claimsWanted
	hearingWanted chan map[string]time.Duration

	gateways       map[string]gateway // of the interfaces whose groups have a peer with heartbeats
	gatewaysWanted chan []string

	news    chan func(now time.Time) // what goroutines beside the loop have the loop do
	frames  chan heard
	links   chan link.Event
	results chan result
	asks    chan asked
	looks   chan Reading
	specs   chan loaded
	faults  chan fault

	petted          time.Time
	stopping        bool
	readsForRestart bool            // the file is being read for a restart in place
	reading         uint64          // of the file that was begun last
	read            uint64          // the newest that has ended
	wanted          []Group         // by the last reload, while it is not done; nil: it is
	out             map[string]bool // whether the groups that a reload or another program has ended were in maintenance
	wishes          map[uint64]wish // requests that a group's machine answers
	lastWish        uint64
	end             *Handover // set when the agent is to be replaced

	beside sync.WaitGroup // every goroutine that Run starts
}

// event is an input on its way to a group's machine.
type event struct {
	g  *group
	in failover.Input
}

// asked is a request and where its answer goes.
type asked struct {
	Request
	reply chan Reply // has room for one
}

// ErrReplaced says that Run ended because another program is to take the agent over, with what Agent.Handover gives.
var ErrReplaced = errors.New("the agent is to be replaced in place")

// New makes an agent; it starts nothing.
func New(o Options) *Agent {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	a := &Agent{
		Options: o, ports: map[string]*port{}, broken: map[string]string{}, again: map[string]bool{}, quiet: map[string]bool{}, wishes: map[uint64]wish{}, out: map[string]bool{},
		peersWanted: make(chan peersWanted, 1), claimsWanted: make(chan claimsWanted, 1), foreign: make(chan foreign, newsWaiting),
		hearingWanted: make(chan map[string]time.Duration, 1), gatewaysWanted: make(chan []string, 1),
		news: make(chan func(time.Time), newsWaiting), frames: make(chan heard, framesWaiting), links: make(chan link.Event, linksWaiting),
		results: make(chan result, resultsWaiting),
		asks:    make(chan asked, asksWaiting), looks: make(chan Reading, 1), specs: make(chan loaded, 1), faults: make(chan fault, 16),
	}
	a.checks = check.NewRunner(check.Env{Bus: o.Bus, SIDs: a.askSIDs}, o.Clock.Now)
	a.units = check.NewRunner(check.Env{Bus: o.Bus}, o.Clock.Now)
	a.channel = newChannel(a)
	a.heartbeat = newHeartbeat(a)
	return a
}

// Run serves until ctx ends; then it hands over what is active, lets go of everything and gives nil. It gives ErrReplaced, with the groups as
// they were, when a restart in place was asked for.
func (a *Agent) Run(ctx context.Context) error {
	now := a.Clock.Now()
	a.began = now
	if a.Resume != nil {
		a.began = sinceBoot(a.Resume.Began)
		a.loop.Restart = a.Resume.Restarts + 1
	}
	besides, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer a.beside.Wait()
	defer stop()
	if a.Resume != nil {
		a.Network.Adopt(a.Resume.Held...)
	}
	if err := a.addAll(besides, now); err != nil {
		return errors.Join(err, a.closeAll())
	}
	a.dropOrphans()
	a.Resume = nil // a group that a reload adds begins anew
	if a.Unread != nil {
		a.unused(a.Unread)
	}
	a.resolving.life = besides
	a.startBeside(besides)
	if err := a.tell("READY=1", "STATUS="+a.oneLine()); err != nil {
		a.degrade("notify", err)
	}
	if err := a.turnUntil(ctx, besides); err != nil {
		return errors.Join(err, a.closeAll())
	}
	return errors.Join(a.letGo(), a.closeAll())
}

// startBeside starts what waits on the loop's behalf.
func (a *Agent) startBeside(ctx context.Context) {
	for _, r := range []*check.Runner{a.checks, a.units} {
		a.beside.Go(func() {
			if err := r.Run(ctx); err != nil {
				a.Log.Error("checks ended", "error", err)
			}
		})
	}
	a.beside.Go(func() { a.watchLinks(ctx) })
	a.beside.Go(func() { a.readClocks(ctx) })
	a.beside.Go(func() { a.followPeers(ctx) })
	a.beside.Go(func() { a.findFiles(ctx) })
	a.beside.Go(func() { a.followClaims(ctx) })
	a.beside.Go(func() { a.listen(ctx) })
	a.beside.Go(func() { a.followGateways(ctx) })
	a.channel.want(a.Spec)
	a.heartbeat.want(a.Spec)
	a.beside.Go(func() { a.heartbeat.run(ctx) })
	a.beside.Go(func() { a.channel.run(ctx) })
	if a.Sync != nil {
		a.beside.Go(func() { a.channel.syncing(ctx) })
		a.beside.Go(func() { a.channel.watching(ctx) })
	}
	if a.Control != nil {
		a.beside.Go(func() { serveControl(a.Control, func(r Request) Reply { return a.ask(ctx, r) }) })
		context.AfterFunc(ctx, func() { a.Control.Close() })
	}
}

// watchLinks follows the kernel's news, and begins again when the socket broke.
func (a *Agent) watchLinks(ctx context.Context) {
	for ctx.Err() == nil {
		err := a.Network.Watch(ctx, func(e link.Event) {
			select {
			case a.links <- e:
			case <-ctx.Done():
			}
		})
		if ctx.Err() != nil {
			return
		}
		a.Log.Warn("the kernel's news of interfaces ended", "error", err)
		select {
		case <-ctx.Done():
		case <-time.After(time.Second):
			select {
			case a.links <- link.Rescan{}:
			case <-ctx.Done():
			}
		}
	}
}

// readClocks looks at the RTC each second (lease.md: a guest whose QEMU stood still learns it from nothing else).
func (a *Agent) readClocks(ctx context.Context) {
	t := time.NewTicker(time.Second)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
			select {
			case a.looks <- a.Clock.Look():
			default: // the loop has not seen the last one yet
			}
		}
	}
}

func (a *Agent) tell(lines ...string) error {
	if a.Notifier == nil {
		return nil
	}
	return a.Notifier.Tell(lines...)
}

func (a *Agent) closeAll() error {
	var errs []error
	for name, p := range a.ports {
		errs = append(errs, p.Close())
		delete(a.ports, name)
	}
	return errors.Join(errs...)
}

// ErrUnclean says that a group could not let go of everything at the stop.
var ErrUnclean = errors.New("not everything was let go of")

// letGo tells whether the stop was clean.
func (a *Agent) letGo() error {
	var errs []error
	for _, g := range a.groups {
		a.dropVirtualMAC(g)
		if g.unclean {
			errs = append(errs, fmt.Errorf("group %s: %w", g.spec.Name, ErrUnclean))
		}
	}
	return errors.Join(errs...)
}
