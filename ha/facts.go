package ha

import (
	"errors"
	"net/netip"
	"slices"
	"strings"
	"syscall"
	"time"

	"kvmctl/ha/carp"
	"kvmctl/ha/check"
	"kvmctl/ha/failover"
	"kvmctl/ha/link"
)

// port is a Port and whose it is.
type port struct {
	Port
	index int
}

// linksChanged takes what happened to interfaces and addresses: all that has come in by now at once. Thousands of addresses that somebody else
// configures are looked at a few times, then, and not once each.
func (a *Agent) linksChanged(now time.Time, first link.Event) {
	look, find := map[*group]bool{}, map[*group]bool{}
	a.concerns(first, look, find)
	for range len(a.links) {
		a.concerns(<-a.links, look, find) // nobody else takes any
	}
	a.atOnce(func() {
		for _, g := range a.groups {
			if look[g] {
				a.lookAt(g, now)
			}
			if find[g] && g.held {
				a.missing(g)
			} else if find[g] {
				a.findAddresses(g)
			}
		}
	})
}

// concerns notes the groups whose interface an event is about, and those whose addresses.
func (a *Agent) concerns(e link.Event, look, find map[*group]bool) {
	switch e := e.(type) {
	case link.State:
		for _, g := range a.groups {
			look[g] = look[g] || g.iface() == e.Interface || g.home == e.Interface
		}
	case link.AddressAdded:
		if g := a.holder(e.Interface, e.Prefix.Addr()); g != nil {
			find[g] = find[g] || !g.held
		} else {
			a.stationChanged(e.Interface, look)
		}
	case link.AddressRemoved:
		if g := a.holder(e.Interface, e.Prefix.Addr()); g != nil {
			find[g] = find[g] || g.held
		} else {
			a.stationChanged(e.Interface, look)
		}
	case link.Rescan:
		for _, g := range a.groups {
			look[g], find[g] = true, true
		}
	}
}

func (a *Agent) stationChanged(iface string, look map[*group]bool) {
	for _, g := range a.groups {
		look[g] = look[g] || g.iface() == iface
	}
}

// lookAt sees what the group's interface is now, and opens its port when there is none.
func (a *Agent) lookAt(g *group, now time.Time) {
	s, err := a.station(g.iface())
	if err != nil && !errors.Is(err, syscall.ENODEV) {
		a.unseen(g.iface(), err) // it may be there as it was
		return
	}
	a.unseen(g.iface(), nil)
	if err != nil {
		g.carrier, g.station, g.raw = nil, Station{}, false
		a.closePort(g.iface())
		a.push(g, failover.Interface{Present: false})
		a.push(g, failover.Carrier{Up: false})
		return
	}
	if p := a.ports[g.iface()]; p != nil && p.index != s.Index {
		a.closePort(g.iface()) // it went away and came back: the socket is of the old one
	}
	if a.ports[g.iface()] == nil {
		if err := a.openPort(g.iface(), s.Index); err != nil {
			a.degrade("CARP on "+g.iface(), err)
			a.push(g, failover.Interface{Present: false})
			return
		}
		a.degrade("CARP on "+g.iface(), nil)
	}
	if err := a.ensureVirtualMAC(g); err != nil {
		a.push(g, failover.Interface{Present: false})
		return
	}
	if changed := s.IPv4 != g.station.IPv4 || s.IPv6 != g.station.IPv6; changed {
		a.stepCARP(g, now, carp.Reload{Config: g.carpConfig(s.source(g.spec))})
	}
	moved := s.MAC != g.station.MAC
	g.station, g.raw, g.filter.Self = s, s.Carrier, s.All
	if moved && g.held {
		a.announce(g, now) // a bridge takes another with its ports: whoever has learnt the old one finds nobody
	}
	switch {
	case g.carrier == nil:
		g.carrier = link.NewCarrier(link.CarrierConfig{UpDelay: g.spec.CarrierUpDelay, DownDelay: g.spec.CarrierDownDelay,
			HoldMin: g.spec.Damping.Min, HoldMax: g.spec.Damping.Max}, now, s.Carrier)
		a.push(g, failover.Interface{Present: true})
		a.push(g, failover.Carrier{Up: s.Carrier})
	case g.carrier.Step(now, s.Carrier):
		a.push(g, failover.Carrier{Up: g.carrier.Up()})
	}
}

// ensureVirtualMAC makes the interface of a group that wants CARP's own MAC. One that was there is found again.
func (a *Agent) ensureVirtualMAC(g *group) error {
	if !g.spec.VirtualMAC {
		return nil
	}
	name, err := a.Network.VirtualMAC(g.iface(), g.spec.VHID)
	a.degrade("virtual MAC of "+g.spec.Name, err)
	if err == nil {
		g.home = name
	}
	return err
}

// dropVirtualMAC removes it.
func (a *Agent) dropVirtualMAC(g *group) {
	if g.spec.VirtualMAC {
		a.degrade("virtual MAC of "+g.spec.Name, a.Network.DropVirtualMAC(g.spec.VHID))
	}
}

// source is what equal skews are decided by.
func (s Station) source(g Group) (src netip.Addr) {
	switch v4 := slices.ContainsFunc(g.Addresses, netip.Addr.Is4); {
	case v4 && s.IPv4.IsValid():
		return s.IPv4
	case v4 && len(g.Unicast) == 0 && !slices.ContainsFunc(g.Addresses, netip.Addr.Is6):
		return netip.Addr{} // adverts go where the addresses are
	}
	return s.IPv6
}

func (a *Agent) openPort(iface string, index int) error {
	p, err := a.Network.Open(iface, func(frame []byte) {
		select {
		case a.frames <- heard{iface, slices.Clone(frame)}:
		default: // a flood: the kernel drops what has no room, too
		}
	})
	if err != nil {
		return err
	}
	a.ports[iface] = &port{p, index}
	return nil
}

func (a *Agent) closePort(iface string) {
	if p := a.ports[iface]; p != nil {
		delete(a.ports, iface)
		if err := p.Close(); err != nil {
			a.Log.Warn("close the CARP socket", "interface", iface, "error", err)
		}
	}
}

// closeUnused closes the ports that no group needs any more.
func (a *Agent) closeUnused() {
	for iface := range a.ports {
		if !slices.ContainsFunc(a.groups, func(g *group) bool { return g.iface() == iface }) {
			a.closePort(iface)
		}
	}
}

// findAddresses tells the group of its addresses that somebody else configured here.
func (a *Agent) findAddresses(g *group) {
	if g.held {
		return // they are ours
	}
	found, err := a.find(g.spec.Addresses)
	a.degrade("look for addresses", err)
	for _, f := range found {
		if f.Interface == g.home {
			a.foundHere(g, f.Prefix.Addr())
		}
	}
}

// missing tells the group which of its addresses are not there although it holds them.
func (a *Agent) missing(g *group) {
	found, err := a.find(g.spec.Addresses)
	if err != nil {
		a.degrade("look for addresses", err)
		return
	}
	for _, addr := range g.spec.Addresses {
		if !slices.ContainsFunc(found, func(f link.Present) bool { return f.Prefix.Addr() == addr }) {
			a.push(g, failover.AddressLost{Addr: addr})
		}
	}
}

// takeChecks tells the groups which checks have changed.
func (a *Agent) takeChecks(time.Time) {
	for _, s := range a.checks.Take() {
		name, check, _ := strings.Cut(s.Name, "/")
		if g := a.group(name); g != nil && s.On {
			a.push(g, failover.Checked{Name: check, State: stateOf(s.State), Why: s.Reason})
		}
	}
}

func stateOf(s check.State) failover.State {
	switch s {
	case check.Green:
		return failover.Green
	case check.Red:
		return failover.Red
	}
	return failover.Unknown
}

// activeChecks has the checks of the active node looked at, or not.
func (a *Agent) activeChecks(g *group, on bool) {
	for _, c := range g.spec.Checks {
		if c.ActiveOnly {
			if err := a.checks.Enable(g.spec.CheckName(c), on); err != nil {
				a.Log.Error("a check is gone", "error", err)
			}
		}
	}
}
