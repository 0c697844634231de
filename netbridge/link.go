package netbridge

import (
	"context"
	"net/netip"
	"slices"

	"kvmctl/internal/units"
)

// The kinds of interface that matter here, as rtnetlink spells them.
const (
	KindBridge = "bridge"
	KindTUN    = "tun" // TAPs as well
)

// Link is one interface as the kernel has it.
type Link struct {
	Index     int
	Name      string
	AltNames  []string
	Alias     string         // bytes from outside: quote them before a terminal sees them
	Kind      string         // KindBridge, KindTUN, "veth", "device" (physical, lo), …
	MAC       units.MAC      `json:",omitzero"`
	MTU       int            // bytes
	Master    string         // the bridge it is a port of; empty: none
	Up        bool           // set up by someone (IFF_UP)
	Running   bool           // and it has a carrier (IFF_RUNNING)
	Queues    int            // of a multi-queue TAP: its open queues; the kernel tells 0 for any other
	Addresses []netip.Prefix // with the link-local ones

	STP           bool // of a bridge
	VLANFiltering bool // of a bridge
	Locked        bool // of a port: takes frames only from the addresses that it was given

	Holdings []Holding // only where somebody asked for them: Links does not
}

// Ours reports whether kvmctl made this bridge. One that was renamed since is no longer ours.
func (l Link) Ours() bool {
	name, ok := ParseBridgeAlias(l.Alias)
	return ok && l.Kind == KindBridge && name == l.Name
}

// Guest gives the guest and the NIC that a TAP of ours belongs to.
func (l Link) Guest() (vm string, nic int, ok bool) {
	if l.Kind != KindTUN {
		return "", 0, false
	}
	return ParseTAPAlias(l.Alias)
}

// find gives the link that answers to name; the kernel takes an alternative name for the name everywhere.
func find(links []Link, name string) (Link, bool) {
	i := slices.IndexFunc(links, func(l Link) bool { return l.Name == name || slices.Contains(l.AltNames, name) })
	if i < 0 {
		return Link{}, false
	}
	return links[i], true
}

// portsOf gives the ports of a bridge in the order of their index.
func portsOf(links []Link, bridge string) []Link {
	var ports []Link
	for _, l := range links {
		if l.Master == bridge {
			ports = append(ports, l)
		}
	}
	slices.SortFunc(ports, func(a, b Link) int { return a.Index - b.Index })
	return ports
}

// Kernel is what this package needs of a kernel. Every change is one message to it, so that each is done or not done.
// Errors are the kernel's own errnos, wrapped with the act and the object: ENODEV for a name that is not there, EPERM.
type Kernel interface {
	// Links gives the named interfaces that exist, or all of them when no name is given, with their addresses.
	Links(ctx context.Context, names ...string) ([]Link, error)
	// CreateBridge makes a bridge that is down, with STP off and no forward delay. EEXIST: the name is taken.
	// Its MTU is none that a Bridge may declare: only an MTU that changes afterwards is kept by the kernel when ports come and go.
	CreateBridge(ctx context.Context, name string, mac units.MAC) error
	// DeleteBridge removes a bridge. EBUSY: it has ports; EOPNOTSUPP: it is no bridge.
	DeleteBridge(ctx context.Context, name string) error
	// SetAlias sets the alias; an empty one removes it.
	SetAlias(ctx context.Context, name, alias string) error
	SetMAC(ctx context.Context, name string, mac units.MAC) error
	// SetMTU sets the MTU in bytes. EINVAL: not for this interface.
	SetMTU(ctx context.Context, name string, mtu int) error
	// AddAddress adds an address. EEXIST: the interface has it.
	AddAddress(ctx context.Context, name string, addr netip.Prefix) error
	// RemoveAddress removes an address. EADDRNOTAVAIL: the interface does not have it.
	RemoveAddress(ctx context.Context, name string, addr netip.Prefix) error
	SetUp(ctx context.Context, name string, up bool) error
	// SetSTP switches a bridge's spanning tree protocol. EOPNOTSUPP: it is no bridge.
	SetSTP(ctx context.Context, name string, on bool) error
	// SetVLANFiltering switches it. EOPNOTSUPP: it is no bridge, or the kernel cannot.
	SetVLANFiltering(ctx context.Context, name string, on bool) error
	// SetMaster makes an interface a port of a bridge; empty: of none.
	SetMaster(ctx context.Context, name, bridge string) error
	// Trunk lets a port of a bridge that filters carry VLANs with a tag.
	Trunk(ctx context.Context, port string, vlans units.VLANRange) error
	// Holdings gives the addresses, routes and neighbours of an interface, in the kernel's order, but for those that the kernel makes by
	// itself.
	Holdings(ctx context.Context, name string) ([]Holding, error)
	// Give gives an interface a holding. EEXIST: it has it. atOnce: an IPv6 address is not asked about first, whether somebody else
	// uses it.
	Give(ctx context.Context, name string, h Holding, atOnce bool) error
	// Take takes a holding from an interface. ENOENT: it does not have it.
	Take(ctx context.Context, name string, h Holding) error
}
