package storage

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"kvmctl/ha/arbiter"
	"kvmctl/ha/drbd"
	"kvmctl/ha/failover"
	"kvmctl/ha/right"
)

// lab is a model of two nodes with one resource: DRBD as facts/ha.md 4.3 measured it, with resource-and-stonith, a peer channel, fences and an arbiter.
type lab struct {
	t     *testing.T
	mu    sync.Mutex
	nodes [2]*labNode
	dirs  [2]string // of the records
	link  bool      // DRBD's
	lan   bool      // the peer channel's
	fence map[int]error
	lies  bool    // the fence: it kills nobody
	mute  [2]bool // neither fence nor arbiter is reached from there
	won   arbiter.Record
	wins  bool // the arbiter answers
}

type labNode struct {
	lab  *lab
	i    int
	name string
	*Keeper
	off     bool
	role    drbd.Role
	disk    drbd.Disk
	peer    drbd.Disk // what DRBD thinks of the other one's
	frozen  bool
	alone   bool   // StandAlone
	changed uint64 // KiB, since they parted
	apart   drbd.Apart
	joined  string // how it was told to connect again
	watcher func(drbd.State, error)
	blind   error // why DRBD cannot be asked
	ups     error // of bringing it up
	told    []failover.Input

	verifies bool
	far      drbd.Comparison // how far the last one went, by the kernel's log
}

func (n *labNode) other() *labNode { return n.lab.nodes[1-n.i] }

// newLab begins with both connected and UpToDate.
func newLab(t *testing.T, alone string) *lab {
	l := &lab{t: t, link: true, lan: true, fence: map[int]error{}, dirs: [2]string{t.TempDir(), t.TempDir()}}
	for i, name := range []string{"varda2", "vm-varda"} {
		l.nodes[i] = &labNode{lab: l, i: i, name: name, role: drbd.Secondary, disk: drbd.UpToDate, peer: drbd.UpToDate}
	}
	for _, n := range l.nodes {
		records, err := right.Open(l.dirs[n.i])
		if err != nil {
			t.Fatal(err)
		}
		who, err := right.ParseAlone(alone, "varda2", "vm-varda")
		if err != nil {
			t.Fatal(err)
		}
		w := World{Disks: n, Records: records, Other: n, Fencer: n, Now: time.Now, Log: slog.New(slog.DiscardHandler), Tell: func(in failover.Input) { l.mu.Lock(); n.told = append(n.told, in); l.mu.Unlock() }}
		if alone == "arbiter" {
			w.Arbiter = n
		}
		n.Keeper = New(Config{Group: "varda", Node: n.name, Peer: l.nodes[1-n.i].name, Alone: who, Resources: []string{"r0"}, FenceAfter: 3 * time.Second}, w)
		n.Beats(Pulse{Alive: true})
	}
	var all sync.WaitGroup
	ctx, stop := context.WithCancel(t.Context())
	for _, n := range l.nodes {
		all.Go(func() { n.Run(ctx) })
	}
	t.Cleanup(func() { stop(); all.Wait() })
	time.Sleep(3 * time.Second)
	return l
}

func (l *lab) connected() bool { return l.link && !l.nodes[0].off && !l.nodes[1].off }

// state is what DRBD on a node says; mu is held.
func (n *labNode) state() drbd.State {
	p := drbd.Peer{Connection: drbd.Connecting, Role: drbd.UnknownRole, Volumes: []drbd.PeerVolume{{Replication: drbd.Off, Disk: n.peer}}}
	if n.alone {
		p.Connection = drbd.StandAlone // 8.4 tells of no bitmap then
	} else if n.lab.connected() {
		o := n.other()
		p.Connection, p.Role, p.Volumes[0].Replication, p.Volumes[0].Disk = drbd.Connected, o.role, drbd.Established, o.disk
		if n.verifies {
			p.Volumes[0].Replication = drbd.VerifyS
		}
	}
	var suspended drbd.Suspended
	if n.frozen {
		suspended = drbd.ByFencing
	}
	return drbd.State{Resources: []drbd.Resource{{Name: "r0", Role: n.role, Suspended: suspended, Volumes: []drbd.Volume{{Disk: n.disk}}, Peers: []drbd.Peer{p}}}}
}

// changed tells both watchers.
func (l *lab) changed() {
	for _, n := range l.nodes {
		l.mu.Lock()
		w, s, err := n.watcher, n.state(), n.blind
		if err != nil {
			s = drbd.State{}
		}
		l.mu.Unlock()
		if w != nil {
			w(s, err)
		}
	}
}

// set changes the world. A link that comes back resyncs at once whoever was not the last to write.
func (l *lab) set(f func()) {
	l.mu.Lock()
	before := l.connected()
	f()
	after := l.connected()
	if before && !after {
		for _, n := range l.nodes {
			n.peer, n.frozen = drbd.DUnknown, n.role == drbd.Primary
		}
	}
	if after {
		for _, n := range l.nodes {
			n.frozen, n.peer = false, drbd.UpToDate
		}
	}
	l.mu.Unlock()
	l.changed()
}

func (n *labNode) Watch(ctx context.Context, tell func(drbd.State, error)) error {
	n.lab.mu.Lock()
	n.watcher = tell
	s := n.state()
	n.lab.mu.Unlock()
	tell(s, nil)
	<-ctx.Done()
	return ctx.Err()
}

func (n *labNode) Up(context.Context, string) error {
	n.lab.mu.Lock()
	defer n.lab.mu.Unlock()
	return n.ups
}

// Primary is refused while the peer is, and without the peer until the handler says that it is fenced.
func (n *labNode) Primary(ctx context.Context, _ string) error {
	n.lab.mu.Lock()
	connected, other := n.lab.connected(), n.other().role
	n.lab.mu.Unlock()
	if connected && other == drbd.Primary {
		return errors.New("multiple primaries not allowed")
	}
	if !connected {
		if exit, err := n.Fenced(ctx); exit != 4 && exit != 7 {
			return fmt.Errorf("refusing to be Primary while peer is not outdated: %w", err)
		}
	}
	n.lab.mu.Lock()
	n.role = drbd.Primary
	n.lab.mu.Unlock()
	n.lab.changed()
	return nil
}

func (n *labNode) Secondary(context.Context, string) error {
	n.lab.mu.Lock()
	n.role = drbd.Secondary
	n.lab.mu.Unlock()
	n.lab.changed()
	return nil
}

func (n *labNode) Outdate(context.Context, string) error {
	n.lab.mu.Lock()
	n.disk = drbd.Outdated
	n.lab.mu.Unlock()
	n.lab.changed()
	return nil
}

// Abandon has what is frozen fail, which costs the disk.
func (n *labNode) Abandon(context.Context, string) error {
	n.lab.mu.Lock()
	frozen := n.frozen
	if frozen {
		n.frozen, n.disk = false, drbd.Diskless
	}
	n.lab.mu.Unlock()
	n.lab.changed()
	if !frozen {
		return errors.New("it is not frozen")
	}
	return nil
}

// ResumeIO has what is frozen go on.
func (n *labNode) ResumeIO(context.Context, string) error {
	n.lab.mu.Lock()
	if n.frozen && n.record.State != right.Alone {
		n.lab.t.Errorf("%s writes on without a record of it", n.name)
	}
	n.frozen = false
	n.lab.mu.Unlock()
	n.lab.changed()
	return nil
}

func (n *labNode) Causes(context.Context, drbd.State) (map[string]drbd.Apart, error) {
	n.lab.mu.Lock()
	defer n.lab.mu.Unlock()
	return map[string]drbd.Apart{"r0": n.apart}, nil
}

// Connect and ConnectDiscardMyData note which it was.
func (n *labNode) Connect(context.Context, string) error { return n.joins("plain") }

func (n *labNode) ConnectDiscardMyData(context.Context, string) error { return n.joins("discard") }

func (n *labNode) Changed(context.Context, drbd.Resource) (uint64, bool, error) {
	n.lab.mu.Lock()
	defer n.lab.mu.Unlock()
	return n.changed, true, nil
}

func (n *labNode) Disconnect(context.Context, string) error { return nil }

func (n *labNode) howJoined() string {
	n.lab.mu.Lock()
	defer n.lab.mu.Unlock()
	return n.joined
}

func (n *labNode) joins(how string) error {
	n.lab.mu.Lock()
	n.joined = how
	n.lab.mu.Unlock()
	return nil
}

var errDown = errors.New("nobody answers")

func (n *labNode) reached() bool {
	n.lab.mu.Lock()
	defer n.lab.mu.Unlock()
	return n.lab.lan && !n.lab.nodes[0].off && !n.lab.nodes[1].off
}

func (n *labNode) Greet(_ context.Context, own Hello) (Hello, error) {
	if !n.reached() {
		return Hello{}, errDown
	}
	o := n.other()
	o.Met(time.Now(), own)
	return o.Keeper.Hello(), nil
}

func (n *labNode) LetGo(ctx context.Context, r LetGoRequest) error {
	if !n.reached() {
		return errDown
	}
	return n.other().Keeper.LetGo(ctx, r)
}

// Fence kills the other node, or does not answer.
func (n *labNode) Fence(_ context.Context, _, node string, _ arbiter.ID) error {
	if node != n.other().name {
		n.lab.t.Errorf("%s fences %s", n.name, node)
	}
	n.lab.mu.Lock()
	err, answers := n.lab.fence[n.i]
	lies, mute := n.lab.lies, n.lab.mute[n.i]
	n.lab.mu.Unlock()
	switch {
	case mute:
		return errDown
	case lies:
		return nil
	}
	if !answers {
		return errDown
	}
	if err != nil {
		return err
	}
	n.lab.set(func() { n.other().off = true })
	return nil
}

func (n *labNode) Ask(_ context.Context, r arbiter.Request) (arbiter.Record, error) {
	n.lab.mu.Lock()
	defer n.lab.mu.Unlock()
	if !n.lab.wins || n.lab.mute[n.i] {
		return arbiter.Record{}, errDown
	}
	if n.lab.won.Group == "" {
		n.lab.won.Group = r.Group
	}
	won, err := arbiter.Decide(n.lab.won, []string{"varda2", "vm-varda"}, n.name, r, time.Now())
	n.lab.won = won
	return won, err
}

func (n *labNode) Look(context.Context, string) (arbiter.Record, error) {
	n.lab.mu.Lock()
	defer n.lab.mu.Unlock()
	if !n.lab.wins {
		return arbiter.Record{}, errDown
	}
	return n.lab.won, nil
}

// rightNow is what the machine was told last.
func (n *labNode) rightNow() failover.Right {
	synctest.Wait()
	n.lab.mu.Lock()
	defer n.lab.mu.Unlock()
	for _, in := range slices.Backward(n.told) {
		if r, ok := in.(failover.Right); ok {
			return r
		}
	}
	return failover.Right{}
}

// diskNow is what it was told last of the disk.
func (n *labNode) diskNow() failover.Disk {
	synctest.Wait()
	n.lab.mu.Lock()
	defer n.lab.mu.Unlock()
	for _, in := range slices.Backward(n.told) {
		if d, ok := in.(failover.Disk); ok {
			return d
		}
	}
	return failover.Disk{}
}

func (n *labNode) recordNow() string { return n.Standing().Record }

// partition cuts everything between the two.
func (l *lab) partition(cut bool) {
	l.set(func() { l.link, l.lan = !cut, !cut })
	for _, n := range l.nodes {
		if cut {
			n.Beats(Pulse{Since: time.Now()})
		} else {
			n.Beats(Pulse{Alive: true})
		}
	}
}

// Verify compares until somebody ends it.
func (n *labNode) Verify(context.Context, string) error {
	n.lab.set(func() { n.verifies, n.far = true, drbd.UnderWay })
	return nil
}

func (n *labNode) Compared(context.Context, drbd.Resource) (drbd.Comparison, error) {
	n.lab.mu.Lock()
	defer n.lab.mu.Unlock()
	return n.far, nil
}
