package netbridge_test

import (
	"errors"
	"net"
	"net/netip"
	"slices"
	"syscall"
	"testing"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"

	"kvmctl/internal/units"
	"kvmctl/netbridge"
)

// withGuest is a bridge br0 with 10.98.0.1/24 and a "guest" behind it: a namespace with the address and MAC that are given.
func withGuest(t *testing.T, mac units.MAC, addr string) *world {
	t.Helper()
	w := newWorld(t)
	br := netbridge.Bridge{Name: "br0", MAC: brMAC, MTU: 1500, Address: netip.MustParsePrefix("10.98.0.1/24")}
	if _, err := netbridge.Ensure(t.Context(), w, []netbridge.Bridge{br}); err != nil {
		t.Fatal(err)
	}
	if err := w.Plant(netbridge.Link{Name: "p0", Kind: "veth", Master: "br0", Up: true}); err != nil {
		t.Fatal(err)
	}
	host, err := netns.Get()
	if err != nil {
		t.Fatal(err)
	}
	defer host.Close()
	inside, err := netns.New()
	if err != nil {
		t.Fatal(err)
	}
	defer inside.Close()
	guest := worldHere(t)
	if err := netns.Set(host); err != nil {
		t.Fatal(err)
	}
	end, err := w.admin.LinkByName("p0x")
	if err != nil {
		t.Fatal(err)
	}
	if err := w.admin.LinkSetNsFd(end, int(inside)); err != nil {
		t.Fatal(err)
	}
	ctx := t.Context()
	if err := errors.Join(guest.SetMAC(ctx, "p0x", mac), guest.AddAddress(ctx, "p0x", netip.MustParsePrefix(addr)),
		guest.SetUp(ctx, "p0x", true)); err != nil {
		t.Fatal(err)
	}
	return w
}

func TestNeighbourFindsTheAddressThatAGuestAnsweredFrom(t *testing.T) {
	mac := units.MAC{0x52, 0x54, 0, 0xcc, 0, 1}
	w := withGuest(t, mac, "10.98.0.7/24")
	if got, err := w.Neighbour(t.Context(), "br0", mac); err != nil || got != nil {
		t.Errorf("before they met: %v, %v, want none", got, err)
	}
	eventually(t, "the guest answers ARP", func() bool {
		// A datagram makes the host ask who has the address. The socket is of this thread, and so of its namespace.
		conn, err := net.Dial("udp", "10.98.0.7:9")
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		conn.Write([]byte("?")) // refused by a guest that does not listen, which is an answer too
		got, err := w.Neighbour(t.Context(), "br0", mac)
		if err != nil {
			t.Fatal(err)
		}
		return slices.Equal(got, []netip.Addr{netip.MustParseAddr("10.98.0.7")})
	})
	if got, err := w.Neighbour(t.Context(), "br0", units.MAC{0x52, 0x54, 0, 0xcc, 0, 2}); err != nil || got != nil {
		t.Errorf("of another MAC: %v, %v, want none", got, err)
	}
	if _, err := w.Neighbour(t.Context(), "br9", mac); !errors.Is(err, syscall.ENODEV) {
		t.Errorf("on a bridge that is not there: %v, want ENODEV", err)
	}
}

func TestNeighbourTakesWhatAnsweredAndPutsIPv4First(t *testing.T) {
	w := withBridge(t, 1500)
	if err := w.Plant(netbridge.Link{Name: "lan", Kind: "bridge", Up: true}); err != nil {
		t.Fatal(err)
	}
	mac, other := units.MAC{0x52, 0x54, 0, 0xcc, 0, 1}, units.MAC{0x52, 0x54, 0, 0xcc, 0, 2}
	for _, e := range []struct {
		bridge, addr string
		mac          units.MAC
		state        int
	}{
		{"br0", "fe80::7", mac, netlink.NUD_STALE},
		{"br0", "fd98::7", mac, netlink.NUD_REACHABLE},
		{"br0", "10.98.0.1", mac, netlink.NUD_FAILED},
		{"br0", "10.98.0.3", mac, netlink.NUD_STALE},
		{"br0", "10.98.0.5", other, netlink.NUD_REACHABLE},
		{"br0", "10.98.0.6", mac, netlink.NUD_NOARP},
		{"lan", "10.97.0.1", mac, netlink.NUD_REACHABLE},
		{"lan", "10.97.0.2", mac, netlink.NUD_PERMANENT},
	} {
		br, err := w.admin.LinkByName(e.bridge)
		if err != nil {
			t.Fatal(err)
		}
		n := &netlink.Neigh{LinkIndex: br.Attrs().Index, IP: net.ParseIP(e.addr), HardwareAddr: e.mac[:], State: e.state}
		if err := w.admin.NeighSet(n); err != nil {
			t.Fatal(err)
		}
	}
	for bridge, want := range map[string][]string{
		"br0": {"10.98.0.3", "fd98::7", "fe80::7"},
		"lan": {"10.97.0.1", "10.97.0.2"},
	} {
		got, err := w.Neighbour(t.Context(), bridge, mac)
		if err != nil {
			t.Fatal(err)
		}
		var text []string
		for _, a := range got {
			text = append(text, a.String())
		}
		if !slices.Equal(text, want) {
			t.Errorf("on %s: %v, want %v", bridge, text, want)
		}
	}
}
