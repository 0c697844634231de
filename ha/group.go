package ha

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"time"

	"kvmctl/ha/beat"
	"kvmctl/ha/carp"
	"kvmctl/ha/failover"
	"kvmctl/ha/link"
	"kvmctl/ha/storage"
	"kvmctl/ha/unit"
)

// group is one group as it runs: its two machines, and what the loop knows of it. The main loop alone touches it.
type group struct {
	spec    Group
	fo      *failover.Machine
	carp    *carp.Machine
	filter  carp.Filter
	carrier *link.Carrier // nil: the interface is not there
	station Station
	raw     bool // the carrier as the kernel said last
	units   map[string]unit.Unit
	worker  *worker
	stop    func() // ends the worker

	restarts map[uint64]string // units that are being restarted, by step

	elector *beat.Elector // by heartbeats; nil: the group's peer has none
	beaten  bool          // it decides, and CARP does not
	wants   bool          // the role may be taken from a peer that goes after this node
	told    failover.Peer // what the machine was told last of the peer
	asked   failover.Isolated
	deaf    bool      // what it was told last of that
	reached time.Time // when the peer last said that its gateway answers
	near    bool      // the peer's heartbeats come by the group's own link

	home        string // where the addresses are: the interface, or the one of its virtual MAC
	held        bool   // the addresses are refreshed
	announces   int    // that are to come
	announceAt  time.Time
	maintenance bool
	moves       int
	alarms      map[alarmKey]failover.Alert

	keeper *storage.Keeper // nil: it has no storage
	silent time.Time       // since when the peer's heartbeats are; zero: they are not

	leaving bool // a reload has no place for it as it is
	stopped bool
	unclean bool
}

type alarmKey struct {
	subject failover.Subject
	name    string
}

// iface is where the group's adverts go.
func (g *group) iface() string { return g.spec.Interface }

// next is when one of the group's machines wants its turn.
func (g *group) next() time.Time {
	at := g.fo.Next()
	if t := g.carp.Next(); !t.IsZero() && (at.IsZero() || t.Before(at)) {
		at = t
	}
	if g.carrier != nil {
		if t := g.carrier.Next(); !t.IsZero() && (at.IsZero() || t.Before(at)) {
			at = t
		}
	}
	if g.announces > 0 {
		at = earlier(at, g.announceAt)
	}
	return at
}

// turn gives the machines whose time has come their turn.
func (g *group) turn(a *Agent, now time.Time) {
	if t := g.carp.Next(); !t.IsZero() && !now.Before(t) {
		a.stepCARP(g, now, carp.Turn{})
	}
	if g.carrier != nil && g.carrier.Step(now, g.raw) {
		a.push(g, failover.Carrier{Up: g.carrier.Up()})
	}
	a.announceAgain(g, now)
	if t := g.fo.Next(); !t.IsZero() && !now.Before(t) {
		a.push(g, failover.Turn{})
	}
}

// addAll begins the groups of the file, or goes on with those of the program before.
func (a *Agent) addAll(besides context.Context, now time.Time) (err error) {
	if a.Resume != nil {
		a.atOnce(func() { err = a.resumeAll(besides, now) }) // the leases wait for it
		return err
	}
	for _, spec := range a.Spec.Groups { // each looks at what it has removed
		if err := a.add(besides, spec, now); err != nil {
			return err
		}
	}
	return nil
}

// add begins a group: silent, until its machine knows enough.
func (a *Agent) add(ctx context.Context, spec Group, now time.Time) error {
	auth, err := carp.NewAuth(spec.Password.Reveal(), spec.VHID, spec.Addresses)
	if err != nil {
		return fmt.Errorf("group %s: %w", spec.Name, err)
	}
	g := &group{
		spec: spec, home: spec.Interface, fo: failover.New(spec.failoverConfig(), now), units: map[string]unit.Unit{}, restarts: map[uint64]string{}, worker: newWorker(a.results, actGrace),
		filter: carp.Filter{VHID: spec.VHID, Auth: auth, Unicast: spec.Unicast}, alarms: map[alarmKey]failover.Alert{},
	}
	if spec.Peer == PeerKVMHA {
		g.elector = beat.NewElector(uint8(spec.Skew), now)
	}
	a.resumeBeats(g)
	g.carp = carp.New(g.carpConfig(netip.Addr{}), now)
	a.resumeCARP(g)
	for i, u := range spec.RunUnits() {
		g.units[spec.stepUnits()[i].Name] = u
	}
	work, cancel := context.WithCancel(ctx)
	g.stop = cancel
	a.beside.Go(func() { g.worker.Run(work, spec.Name) })
	if err := a.startStorage(work, g); err != nil {
		return err
	}
	a.groups = append(a.groups, g)
	a.wantPeers()
	a.wantHearing()
	a.wantGateways()
	if a.Resume == nil {
		left, err := a.Network.Leftovers(spec.Addresses...)
		if err != nil {
			a.degrade("leftovers of "+spec.Name, err)
		}
		for _, l := range left {
			a.Log.Warn("an address that an agent left was removed", "group", spec.Name, "address", l.Prefix.Addr(), "interface", l.Interface)
		}
	}
	for _, item := range spec.CheckItems() {
		if err := a.checks.Add(item); err != nil {
			return fmt.Errorf("group %s: %w", spec.Name, err)
		}
	}
	a.addWatches(g)
	if a.out[spec.Name] {
		a.maintain(g, true) // known before it is fit
	}
	a.lookAt(g, now)
	if a.Resume != nil {
		a.resume(g, now)
	}
	a.findAddresses(g)
	a.settle(now)
	return nil
}

// remove ends a group that was let go.
func (a *Agent) remove(g *group) {
	for _, c := range g.spec.Checks {
		if err := a.checks.Remove(g.spec.CheckName(c)); err != nil {
			a.Log.Error("a check is gone already", "error", err)
		}
	}
	a.removeWatches(g)
	a.dropWishes(g)
	g.stop()
	a.keepers.set(g.spec.Name, nil)
	a.dropVirtualMAC(g)
	a.groups = slices.DeleteFunc(a.groups, func(x *group) bool { return x == g })
	a.closeUnused()
	a.wantPeers()
	a.wantHearing()
	a.wantGateways()
}

func (a *Agent) group(name string) *group {
	for _, g := range a.groups {
		if g.spec.Name == name {
			return g
		}
	}
	return nil
}

// holder gives the group that an address belongs to.
func (a *Agent) holder(iface string, addr netip.Addr) *group {
	for _, g := range a.groups {
		if g.home == iface && slices.Contains(g.spec.Addresses, addr) {
			return g
		}
	}
	return nil
}

// carpConfig gives the group in CARP's terms. source is where adverts come from.
func (g Group) carpConfig(source netip.Addr) carp.Config {
	return carp.Config{
		VHID: g.VHID, Base: g.Base, Skew: g.Skew, DeadRatio: g.DeadRatio, Profile: carp.Profile(g.Peer),
		Source: source, Authoritative: true, Random: rand.Uint64,
	}
}

// carpConfig is Group's, but that CARP's adverts are facts only where heartbeats decide.
func (g *group) carpConfig(source netip.Addr) carp.Config {
	c := g.spec.carpConfig(source)
	c.Authoritative = !g.beaten
	return c
}

// probeTimeout is far more than a probe takes: one that a busy machine broke off would count as one that nobody answered.
const probeTimeout = 500 * time.Millisecond

// failoverConfig gives the group in the terms of its failover machine.
func (g Group) failoverConfig() failover.Config {
	c := failover.Config{
		Name: g.Name, Units: g.stepUnits(), Probe: g.Probe, ProbeWait: probeTimeout, Dead: g.carpConfig(netip.Addr{}).Dead(), Preempt: g.Preempt, PreemptDelay: g.PreemptDelay,
		IgnoreCarrier: g.IgnoreCarrier, Restarts: g.Restarts, RestartWindow: g.RestartWindow, Stay: g.OnFailure == FailureStay, Remind: g.Remind,
		Damping: failover.Damping(g.Damping), Resources: g.stepResources(), Mounts: g.stepMounts(), RightTimeout: max(rightAtLeast, g.Storage.FenceAfter+verbWait+drbdTimeout),
		Hooks: failover.Hooks{Active: len(g.Hooks.Active) > 0, Standby: len(g.Hooks.Standby) > 0, Waiting: len(g.Hooks.Waiting) > 0,
			Timeout: g.Hooks.Timeout},
	}
	if !g.VirtualMAC { // it waits for an interface of its own otherwise
		c.Iface = g.Interface
	}
	for _, s := range g.Order {
		c.Order = append(c.Order, failover.Stage(s))
	}
	for _, k := range g.Checks {
		one := failover.Check{Name: k.Name, ActiveOnly: k.ActiveOnly, TellsOnly: k.Type.TellsOnly(), Settle: time.Duration(k.Rise)*k.Interval + k.Timeout}
		if slices.ContainsFunc(c.Units, func(u failover.Unit) bool { return k.Unit != "" && u.Name == k.Unit }) {
			one.Unit = k.Unit
		}
		c.Checks = append(c.Checks, one)
	}
	return c
}

// stepUnits names what RunUnits gives, in the same order: a pair of scripts for ucarp is one for each address.
func (g Group) stepUnits() []failover.Unit {
	var all []failover.Unit
	for _, u := range g.Units {
		names := []string{u.Name}
		if u.Kind == UnitUCARP && len(g.Addresses) > 1 {
			names = nil
			for _, a := range g.Addresses {
				names = append(names, u.Name+" "+a.String())
			}
		} else if u.Kind == UnitUCARP && len(g.Addresses) == 0 {
			names = nil
		}
		for _, n := range names {
			all = append(all, failover.Unit{Name: n, StartTimeout: u.StartTimeout, StopTimeout: u.StopTimeout})
		}
	}
	return all
}
