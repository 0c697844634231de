package ha

import (
	"net/netip"
	"slices"
	"time"

	"kvmctl/ha/link"
)

// seen is what was seen of the machine's network within one turn: many groups share an interface, and each list of it may be long.
type seen struct {
	stations map[string]stationOf
	all      []netip.Addr // that found is about
	found    []link.Present
	err      error
}

type stationOf struct {
	Station
	err error
}

// atOnce has the groups look at the network within f, which changes nothing of it: the kernel is asked once for each thing.
func (a *Agent) atOnce(f func()) {
	a.seen = &seen{stations: map[string]stationOf{}}
	f()
	a.seen = nil
}

// station tells what an interface is.
func (a *Agent) station(iface string) (Station, error) {
	if a.seen == nil {
		return a.Network.Station(iface)
	}
	s, ok := a.seen.stations[iface]
	if !ok {
		s.Station, s.err = a.Network.Station(iface)
		a.seen.stations[iface] = s
	}
	return s.Station, s.err
}

// find gives where addresses are on this machine.
func (a *Agent) find(addrs []netip.Addr) ([]link.Present, error) {
	if a.seen == nil {
		return a.Network.Find(addrs...)
	}
	if a.seen.all == nil {
		for _, g := range a.Spec.Groups {
			a.seen.all = append(a.seen.all, g.Addresses...)
		}
		for _, g := range a.groups {
			a.seen.all = append(a.seen.all, g.spec.Addresses...)
		}
		a.seen.found, a.seen.err = a.Network.Find(a.seen.all...)
	}
	var found []link.Present
	for _, p := range a.seen.found {
		if slices.Contains(addrs, p.Prefix.Addr()) {
			found = append(found, p)
		}
	}
	return found, a.seen.err
}

// unseen notes that an interface could not be looked at, for want of descriptors or memory: that is no sign that it is gone. It is looked at
// again. nil: it was looked at.
func (a *Agent) unseen(iface string, err error) {
	a.degrade("a look at "+iface, err)
	if err == nil {
		delete(a.again, iface)
	} else {
		a.again[iface] = true
	}
}

// lookAgain looks at the interfaces that could not be looked at.
func (a *Agent) lookAgain(now time.Time) {
	a.atOnce(func() {
		for _, g := range a.groups {
			if a.again[g.iface()] {
				a.lookAt(g, now)
			}
		}
	})
}
