package netbridge

import (
	"bytes"
	"cmp"
	"context"
	"net/netip"
	"slices"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"kvmctl/internal/units"
)

// answered are the states of a neighbour whose address was once heard from it, or that the admin entered.
const answered = netlink.NUD_REACHABLE | netlink.NUD_STALE | netlink.NUD_DELAY | netlink.NUD_PROBE | netlink.NUD_PERMANENT

// neighbour is one entry of the table.
type neighbour struct {
	addr netip.Addr
	age  uint32 // since it was last confirmed, in ticks of the kernel
}

// Neighbour gives the addresses under which the host has met a MAC address on a bridge: IPv4 first, link-local ones last,
// within that the latest confirmed first. None when they never talked; ENODEV when there is no such interface.
func (k *LinuxKernel) Neighbour(ctx context.Context, bridge string, mac units.MAC) ([]netip.Addr, error) {
	addrs, err := k.neighbour(ctx, bridge, mac)
	return addrs, wrap(err, "look up %s on %q", mac, bridge)
}

func (k *LinuxKernel) neighbour(ctx context.Context, bridge string, mac units.MAC) ([]netip.Addr, error) {
	l, err := k.linkByName(ctx, bridge)
	if err != nil {
		return nil, err
	}
	msgs, err := retryDump(ctx, func() ([][]byte, error) {
		req := k.request(unix.RTM_GETNEIGH, unix.NLM_F_DUMP, &netlink.Ndmsg{},
			nl.NewRtAttr(netlink.NDA_IFINDEX, nl.Uint32Attr(uint32(l.Index))))
		return req.Execute(unix.NETLINK_ROUTE, unix.RTM_NEWNEIGH)
	})
	if err != nil {
		return nil, err
	}
	var found []neighbour
	for _, m := range msgs {
		if n, ok := parseNeighbour(m, l.Index, mac); ok {
			found = append(found, n)
		}
	}
	return order(found), nil
}

// parseNeighbour reads one entry; ok is false for those of other interfaces or MACs and for those that never answered.
func parseNeighbour(m []byte, index int, mac units.MAC) (n neighbour, ok bool) {
	if len(m) < unix.SizeofNdMsg {
		return n, false
	}
	e, err := netlink.NeighDeserialize(m)
	if err != nil || e.LinkIndex != index || e.State&answered == 0 || !bytes.Equal(e.HardwareAddr, mac[:]) {
		return n, false
	}
	addr, ok := netip.AddrFromSlice(e.IP)
	return neighbour{addr, e.Confirmed}, ok
}

func order(found []neighbour) []netip.Addr {
	slices.SortFunc(found, func(a, b neighbour) int {
		return cmp.Or(cmp.Compare(rank(a.addr), rank(b.addr)), cmp.Compare(a.age, b.age), a.addr.Compare(b.addr))
	})
	var addrs []netip.Addr
	for _, n := range found {
		addrs = append(addrs, n.addr)
	}
	return addrs
}

func rank(a netip.Addr) int {
	switch {
	case a.IsLinkLocalUnicast():
		return 2
	case a.Is6():
		return 1
	default:
		return 0
	}
}
