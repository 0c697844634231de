package storage

import (
	"context"
	"log/slog"
	"maps"
	"sync"
	"time"

	"kvmctl/ha/arbiter"
	"kvmctl/ha/drbd"
	"kvmctl/ha/failover"
	"kvmctl/ha/right"
)

// Config is one group's part of a valid kvmha.toml.
type Config struct {
	Group       string
	Node, Peer  string
	Alone       right.AloneBy
	Resources   []string
	FenceAfter  time.Duration // the peer has been silent for so long before it is fenced
	AddressWait time.Duration // for a resource's own address
	RightWait   time.Duration // for whoever is asked for the right
}

// Disks is DRBD on this node: control.Control, or a model.
type Disks interface {
	// Watch tells each state of all resources, the present one first, until ctx ends. With an error DRBD cannot be asked, and the state is empty.
	Watch(ctx context.Context, tell func(drbd.State, error)) error
	Up(ctx context.Context, resource string) error
	Primary(ctx context.Context, resource string) error
	Secondary(ctx context.Context, resource string) error // verified; one that is not configured is none
	Outdate(ctx context.Context, resource string) error
	Abandon(ctx context.Context, resource string) error                               // frozen writes fail, and the disk is let go of
	ResumeIO(ctx context.Context, resource string) error                              // frozen writes go on
	Changed(ctx context.Context, r drbd.Resource) (kib uint64, known bool, err error) // here, since it parted from its peer
	Verify(ctx context.Context, resource string) error                                // begins to compare both sides
	Compared(ctx context.Context, r drbd.Resource) (drbd.Comparison, error)           // how far that went
	Causes(ctx context.Context, s drbd.State) (map[string]drbd.Apart, error)
	Connect(ctx context.Context, resource string) error
	Disconnect(ctx context.Context, resource string) error
	ConnectDiscardMyData(ctx context.Context, resource string) error
}

// Mounts mounts and unmounts the group's file systems, by their directories.
type Mounts interface {
	Mount(ctx context.Context, dir string) error
	Unmount(ctx context.Context, dir string) (ended []string, err error) // with the end of whoever holds it, and who that was
}

// Fencer ends the peer for certain, or gives an error.
type Fencer interface {
	Fence(ctx context.Context, group, node string, id arbiter.ID) error
}

// Peer is the other node's Keeper of the same group, over the peer channel.
type Peer interface {
	Greet(ctx context.Context, own Hello) (Hello, error)
	LetGo(ctx context.Context, r LetGoRequest) error
}

// World is all that a Keeper acts on.
type World struct {
	Disks     Disks
	Mounts    Mounts
	Records   right.Store
	Other     Peer
	Fencer    Fencer                                           // nil: none
	Arbiter   arbiter.Asker                                    // nil: none
	Addresses func(ctx context.Context, resource string) error // waits until a resource's own address is there; nil: nobody waits
	Now       func() time.Time                                 // since boot, as the agent's Clock
	Log       *slog.Logger
	Tell      func(failover.Input) // what the group's machine has to know; it may wait
}

// Hello is what a node says of a group's storage to its peer, and what it hears.
type Hello struct {
	Group  string       `json:"group"`
	Record right.Record `json:"record"`
	Alone  string       `json:"alone"`
	Heard  string       `json:"heard"`  // the peer's `alone`, as it came here last
	Active bool         `json:"active"` // a resource is primary here
	Asks   bool         `json:"asks"`   // it asks to go on alone

	Parted map[string]Parted `json:"parted,omitempty"` // by resource: what is StandAlone there
}

// same reports whether a peer says nothing new.
func (h Hello) same(before Hello) bool {
	return h.Record == before.Record && h.Alone == before.Alone && h.Heard == before.Heard && h.Active == before.Active && h.Asks == before.Asks && maps.Equal(h.Parted, before.Parted)
}

// LetGoRequest asks a node to give up its right.
type LetGoRequest struct {
	Group string     `json:"group"`
	ID    arbiter.ID `json:"id"`
	N     uint64     `json:"n"`
}

// The times of a Keeper.
const (
	greetEvery = time.Second
	greetWait  = 2 * time.Second
	heardFor   = 3 * time.Second // a peer that has not answered for so long is not heard
	askAgain   = 500 * time.Millisecond
	lettingGo  = 2 * time.Second        // a peer that hands over is heard as active for so long at most: by its last greeting, or its heartbeat
	askAtMost  = 100 * time.Millisecond // between two rounds, whatever has changed
)

// Keeper is one group's storage. Its methods may be called by several goroutines at once.
type Keeper struct {
	Config
	World

	nudge   chan struct{} // greet now
	news    chan struct{} // tell what is new
	telling sync.Mutex
	own     sync.Mutex    // held while a record is written, and what follows from it is done
	cold    chan struct{} // writes stand still
	ask     chan struct{} // a token: whoever asks for the right holds it

	mu        sync.Mutex
	record    right.Record
	damaged   error
	unwritten string // why the record could not be written last; empty: it could
	disks     map[string]drbd.Resource
	seen      bool                // a state of the disks is in
	blind     string              // why DRBD cannot be asked; empty: it can
	downs     map[string]string   // by resource: why it could not be brought up when that was tried last
	split     map[string]*parting // resources that are StandAlone
	giveUp    map[string]bool     // resources of which what was changed here may be overwritten
	joined    time.Time           // since when DRBD is connected; zero: it is not
	looked    time.Time           // the joined in which the arbiter was looked at
	arbiterN  uint64              // its number then
	both      bool                // in this connection or in the last one: all volumes are good on both sides
	behind    bool                // likewise: good here, and not there
	last      right.Record        // the peer's, as it was heard last in that connection
	hello     Hello               // of the peer
	heardAt   time.Time           // zero: never
	agreed    bool
	beats     Pulse
	licence   right.Licence
	inFlight  arbiter.ID
	number    uint64    // that inFlight asks for
	lost      string    // who has the right, when it was refused to an active node
	frozenAt  time.Time // zero: no writes stand still
	told      map[string]failover.Disk
	toldOf    failover.Right
	wakes     map[chan struct{}]bool // whoever waits for something to change
}

// Pulse is what heartbeats say of the peer.
type Pulse struct {
	Alive  bool      // heard on some path, lately
	Active bool      // it said so
	Since  time.Time // silent since; zero: it is heard, or never was
	Gone   bool      // its host says that it has ended
}

// New makes a group's keeper, with the record as it is on the disk. It starts nothing.
func New(c Config, w World) *Keeper {
	k := &Keeper{Config: c, World: w, nudge: make(chan struct{}, 1), news: make(chan struct{}, 1), ask: make(chan struct{}, 1), cold: make(chan struct{}, 1), disks: map[string]drbd.Resource{}, split: map[string]*parting{}, giveUp: map[string]bool{}, downs: map[string]string{},
		told: map[string]failover.Disk{}, wakes: map[chan struct{}]bool{}}
	k.record, k.damaged = w.Records.Read(c.Group)
	return k
}

// Run follows disks and peer until ctx ends.
func (k *Keeper) Run(ctx context.Context) {
	var all sync.WaitGroup
	defer all.Wait()
	all.Go(func() { k.watch(ctx) })
	all.Go(func() { k.greet(ctx) })
	all.Go(func() { k.mindFrozen(ctx) })
	all.Go(func() { k.mindApart(ctx) })
	for {
		select {
		case <-ctx.Done():
			return
		case <-k.news:
			k.tell()
		}
	}
}

// watch follows the disks.
func (k *Keeper) watch(ctx context.Context) {
	for ctx.Err() == nil {
		err := k.Disks.Watch(ctx, k.sawDisks)
		if ctx.Err() != nil {
			return
		}
		k.Log.Warn("DRBD's news ended", "group", k.Group, "error", err)
		k.sawDisks(drbd.State{}, err) // nobody knows any more
		sleep(ctx, greetEvery)
	}
}

// greet exchanges records with the peer, each second and whenever something has changed.
func (k *Keeper) greet(ctx context.Context) {
	t := time.NewTicker(greetEvery)
	defer t.Stop()
	for {
		began := k.Now()
		within, cancel := context.WithTimeout(ctx, greetWait)
		h, err := k.Other.Greet(within, k.Hello())
		cancel()
		if err == nil {
			k.lookAtArbiter(ctx)
			k.Met(began, h)
		}
		k.tell() // an old answer is none
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		case <-k.nudge:
		}
	}
}

// lookAtArbiter asks once a connection for the number of its record: it may have given one to a request whose answer was lost.
func (k *Keeper) lookAtArbiter(ctx context.Context) {
	k.mu.Lock()
	ask := k.Arbiter != nil && !k.joined.IsZero() && k.looked != k.joined
	joined := k.joined
	k.mu.Unlock()
	if !ask {
		return
	}
	within, cancel := context.WithTimeout(ctx, greetWait)
	defer cancel()
	if r, err := k.Arbiter.Look(within, k.Group); err == nil {
		k.mu.Lock()
		k.looked, k.arbiterN = joined, r.N
		k.mu.Unlock()
	}
}

// greetSoon has the peer told of what has changed.
func (k *Keeper) greetSoon() {
	select {
	case k.nudge <- struct{}{}:
	default: // it will
	}
}

// Hello is what this node says.
func (k *Keeper) Hello() Hello {
	k.mu.Lock()
	defer k.mu.Unlock()
	return Hello{Group: k.Group, Record: k.record, Alone: k.Alone.String(), Heard: k.hello.Alone, Active: k.active(), Asks: k.inFlight != arbiter.ID{}, Parted: k.partedOf()}
}

// Met takes what the peer said in a conversation that began at a time.
func (k *Keeper) Met(began time.Time, h Hello) {
	if h.Group != k.Group {
		return
	}
	k.mu.Lock()
	changed := !h.same(k.hello)
	k.hello, k.heardAt = h, began
	k.agreed = h.Alone == k.Alone.String() && h.Heard == h.Alone
	if !k.joined.IsZero() && !began.Before(k.joined) {
		k.last = h.Record
	}
	k.mu.Unlock()
	k.pair()
	if changed {
		k.greetSoon() // it has to hear that it was heard
	}
	k.tell()
}

// pair writes what two nodes that see each other agree on.
func (k *Keeper) pair() {
	k.own.Lock()
	defer k.own.Unlock()
	k.mu.Lock()
	said := !k.joined.IsZero() && !k.heardAt.Before(k.joined)
	s := right.Session{Peer: k.Config.Peer, Own: k.record, Said: k.hello.Record, Active: k.active(), Disk: worst(k.allUpToDate()), PeerDisk: worst(k.peerUpToDate())}
	if k.looked == k.joined {
		s.Arbiter = k.arbiterN
	}
	ok := said && k.damaged == nil && k.seen
	k.mu.Unlock()
	if !ok {
		return
	}
	m := right.Meet(s)
	if m.Write != nil {
		if err := k.write(*m.Write); err != nil {
			k.Log.Error("write the record of who may be alone", "group", k.Group, "error", err)
		}
	}
}

func worst(upToDate bool) right.Disk {
	if upToDate {
		return right.UpToDate
	}
	return right.Worse
}

// write puts a record on the disk; own is held. Only then does anything follow from it.
func (k *Keeper) write(r right.Record) error {
	r.Group = k.Group
	err := k.Records.Write(r, time.Now())
	k.mu.Lock()
	if k.unwritten = ""; err != nil {
		k.unwritten = err.Error()
		k.mu.Unlock()
		return err
	}
	before := k.record
	k.record = r
	k.mu.Unlock()
	k.Log.Info("right", "group", k.Group, "from", before.String(), "to", r.String(), "cause", r.Why)
	k.greetSoon()
	return nil
}

// Beats takes what heartbeats say. It does not wait.
func (k *Keeper) Beats(p Pulse) {
	k.mu.Lock()
	same := k.beats == p
	k.beats = p
	k.mu.Unlock()
	if !same {
		k.tellSoon()
	}
}

// tellSoon has Run tell what is new: whoever calls it does not wait.
func (k *Keeper) tellSoon() {
	select {
	case k.news <- struct{}{}:
	default: // it will
	}
}

// heard reports whether the peer said something lately, and since its heartbeats have ended if they have.
func (k *Keeper) heard() bool {
	return !k.heardAt.IsZero() && k.Now().Sub(k.heardAt) < heardFor && (k.beats.Since.IsZero() || k.heardAt.After(k.beats.Since))
}

// situation is what decisions are made of.
func (k *Keeper) situation() right.Situation {
	s := right.Situation{
		Node: k.Node, Peer: k.Config.Peer, Group: k.Group, Alone: k.Alone, Agreed: k.agreed || k.heardAt.IsZero(), Own: k.record, Damaged: k.damaged, Disk: worst(k.allUpToDate()),
		Active: k.active(), Connected: !k.joined.IsZero(), PeerActive: k.any(drbd.Resource.PeerPrimary) || k.heard() && k.hello.Active || k.beats.Alive && k.beats.Active,
		BothUpToDate: k.both, PeerBehind: k.behind, Last: k.last, Licence: k.licence, InFlight: k.inFlight,
	}
	if k.heard() {
		said := k.hello.Record
		s.Heard = &said
	}
	return s
}

// sleep waits, or until ctx ends.
func sleep(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-t.C:
	}
}
