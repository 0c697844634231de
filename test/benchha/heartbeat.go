package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"kvmctl/ha"
	"kvmctl/ha/hatest"
	"kvmctl/ha/peer"
)

// contendersByHeartbeat are two agents that know each other, and keepalived at intervals with which it notices as soon.
func (b *bench) contendersByHeartbeat() []contender {
	at := func(d time.Duration) func(*rig, *hatest.Node) (*hatest.Process, error) {
		return func(r *rig, n *hatest.Node) (*hatest.Process, error) { return keepalivedAt(r, n, d) }
	}
	all := []contender{
		{start: b.paired, before: pair, ready: beating, beside: b.tick},
		{start: at(100 * time.Millisecond)},
		{start: at(10 * time.Millisecond)},
		{start: b.paired, before: pair, ready: beating},
	}
	for i := range all {
		all[i].name = namesByHeartbeat[i]
	}
	return all
}

// heartbeatCells are the events of a pair that shares a second network: what breaks the first one does not break the other, unless it says so.
// The bounds are FAILOVER's: a lease that has to end has its time, the link is asked whether it has, and nobody has the address meanwhile.
func heartbeatCells() []cell {
	const crash, late = 1700 * time.Millisecond, 2500 * time.Millisecond
	const back = 300 * time.Millisecond // to ask for it by heartbeats; the other one serves until then
	restart := func(r *rig) error { return errors.Join(r.a.Join(), r.start(r.a)) }
	return []cell{
		{"hcrash", "host crash, by heartbeat", false, []act{
			{"host crash", "b", 0, func(r *rig) error { return r.a.Crash() }, rule{first: crash, outage: late}, 0},
			{"failback after it", "a", 0, restart, rule{outage: 50 * time.Millisecond}, 0}}},
		{"hkill", "kill −9 of the daemon, by heartbeat", false, []act{
			{"kill −9", "b", dualWindow, func(r *rig) error { return r.signal(r.a, unix.SIGKILL) }, rule{alone: true, first: crash, outage: late}, 0}}},
		{"hstop", "clean hand-over, by heartbeat", false, []act{
			{"clean hand-over", "b", 0, func(r *rig) error { return r.procs["a"].Signal(unix.SIGTERM) }, rule{alone: true, outage: 50 * time.Millisecond}, 0}}},
		{"hpartition", "partition on every path and its heal, by heartbeat", false, []act{
			{"partition", "b", dualWindow, func(r *rig) error { return errors.Join(r.a.Cut(), r.cable(false)) }, rule{noDual: true, first: late, outage: late}, 0},
			{"partition heals", "a", 4 * time.Second, func(r *rig) error { return errors.Join(r.a.Join(), r.cable(true)) }, rule{outage: 50 * time.Millisecond, rivals: []int{1}}, healSpread}}},
		{"hdeaf", "a standby that hears nothing, by heartbeat", false, []act{
			{"standby is deaf", "a", dualWindow, func(r *rig) error { return r.b.Cut() }, rule{alone: true, outage: 50 * time.Millisecond}, 0},
			{"it hears again", "a", 4 * time.Second, func(r *rig) error { return r.b.Join() }, rule{alone: true, outage: 50 * time.Millisecond}, healSpread}}},
		{"hhang", "hang and thaw, by heartbeat", false, []act{
			{"hang", "b", dualWindow, func(r *rig) error { return r.signal(r.a, unix.SIGSTOP) }, rule{alone: true, first: crash, outage: late}, 0},
			{"thaw", "a", 4 * time.Second, func(r *rig) error { return r.signal(r.a, unix.SIGCONT) }, rule{alone: true, first: back}, 0}}},
	}
}

// pair lays the second cable and gives each node the other's key, as kvmha pair does.
func pair(r *rig) error {
	if err := r.lab.Cable(r.a, r.b); err != nil {
		return err
	}
	keys := map[string]peer.PublicKey{}
	for _, n := range []*hatest.Node{r.a, r.b} {
		id, err := peer.CreateIdentity(keyDir(n))
		if err != nil {
			return err
		}
		keys[n.Name] = id.Public()
	}
	return errors.Join(peer.SavePin(keyDir(r.a), "b", peer.Pin{Key: keys["b"]}), peer.SavePin(keyDir(r.b), "a", peer.Pin{Key: keys["a"]}))
}

func keyDir(n *hatest.Node) string { return filepath.Join(n.Dir(), "k", ha.StateDir, peer.Dir) }

// cable sets the second cable up or down.
func (r *rig) cable(up bool) error {
	eth1, err := r.a.Kernel.LinkByName("eth1")
	switch {
	case r.c.before == nil:
		return nil // keepalived has none
	case err != nil:
		return err
	case up:
		return r.a.Kernel.LinkSetUp(eth1)
	}
	return r.a.Kernel.LinkSetDown(eth1)
}

// paired starts an agent that knows the other node by its key.
func (b *bench) paired(r *rig, n *hatest.Node) (*hatest.Process, error) {
	other := r.b
	if n == r.b {
		other = r.a
	}
	return b.agent(n, fmt.Sprintf("node = %q\n[peer.%s]\naddresses = [%q, %q]\n%speer = \"kvmha\"\n", n.Name, other.Name, other.Addr, other.CableAddr(),
		group("web", vhid, r.vip, n.Name == "a")))
}

// beating tells whether both agents follow heartbeats, on both paths.
func beating(r *rig) bool {
	for _, n := range []*hatest.Node{r.a, r.b} {
		if !follows(n) {
			return false
		}
	}
	return true
}

func follows(n *hatest.Node) bool {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	got, err := ha.Ask(ctx, filepath.Join(n.Dir(), "k", "run/kvmha/kvmha.sock"), ha.Request{Verb: ha.VerbStatus})
	if err != nil || got.Status == nil || got.Status.Beat == nil || !got.Status.Beat.Alive {
		return false
	}
	for _, p := range got.Status.Beat.Paths {
		if !p.Heard || !p.Hears {
			return false
		}
	}
	return got.Status.Groups[0].Decides == "heartbeat"
}
