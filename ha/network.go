package ha

import (
	"context"
	"io"
	"net/netip"
	"time"

	"kvmctl/ha/carp"
	"kvmctl/ha/link"
)

// Network is the machine's network as the agent needs it: the kernel's, or a model. Only Probe and Resolve wait, and they are called beside the main loop; what
// asks the kernel is bounded.
type Network interface {
	// Open makes the CARP socket of an interface. Each frame that it hears goes to deliver, which does not wait and does not keep the bytes.
	Open(iface string, deliver func(frame []byte)) (Port, error)
	// Station tells what an interface is at this moment. ENODEV: there is none; all else says nothing about it.
	Station(iface string) (Station, error)
	// Take adds an address for the lifetime of a lease, and has Turn refresh it.
	Take(iface string, addr netip.Addr) error
	// Drop deletes it, and ends its refresh whether or not that succeeds. One that is not there is dropped.
	Drop(iface string, addr netip.Addr) error
	// Turn refreshes what is due, and gives what was lost.
	Turn() ([]link.Lost, error)
	// Next is when Turn wants to be called; zero: nothing is held.
	Next() time.Time
	// Held and Adopt carry the leases over a restart in place.
	Held() []link.Held
	Adopt(...link.Held)
	// VirtualMAC makes the interface that carries CARP's own MAC, or finds it, and gives its name. DropVirtualMAC removes it.
	VirtualMAC(iface string, vhid uint8) (name string, err error)
	DropVirtualMAC(vhid uint8) error
	// Find gives where addresses are on this machine.
	Find(addrs ...netip.Addr) ([]link.Present, error)
	// Leftovers deletes the leases that an agent which is gone has left.
	Leftovers(addrs ...netip.Addr) ([]link.Present, error)
	// Probe asks whether somebody else has an address, and who: empty is nobody.
	// An answer may take so long.
	Probe(ctx context.Context, iface string, addr netip.Addr, wait time.Duration) (owner string, err error)
	// Resolve has the kernel ask, or ask again, where neighbours are, and gives those that have answered within wait.
	Resolve(ctx context.Context, all []link.Neighbour, wait time.Duration) (map[link.Neighbour]carp.MAC, error)
	// Hears gives how many frames have come in on an interface, and the gateways on its network.
	Hears(iface string) (frames uint64, gateways []netip.Addr, err error)
	// Claims listens for whoever else says on an interface's network that he has one of the addresses, until it is closed. deliver does not wait.
	Claims(iface string, addrs []netip.Addr, deliver func(netip.Addr)) (io.Closer, error)
	// Announce tells everybody on the wire where an address is now.
	Announce(iface string, addr netip.Addr) error
	// Watch tells of what changes until ctx ends, the state of each interface first; deliver may wait.
	Watch(ctx context.Context, deliver func(link.Event)) error
}

// Port is a CARP socket on one interface.
type Port interface {
	Send(frame []byte) error // a whole Ethernet frame; what cannot go at once is an error
	Close() error
}

// Station is an interface as CARP needs it.
type Station struct {
	Index   int // one that went away and came back has another
	MAC     carp.MAC
	IPv4    netip.Addr // that adverts come from; invalid: there is none
	IPv6    netip.Addr // link-local
	All     []netip.Addr
	Carrier bool
}
