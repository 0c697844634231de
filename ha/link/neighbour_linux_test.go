package link_test

import (
	"errors"
	"net"
	"net/netip"
	"testing"

	"golang.org/x/sys/unix"

	"kvmctl/ha/hatest"
	"kvmctl/ha/link"
	"kvmctl/internal/testenv"
)

func TestNeighboursAreConfirmedByTheKernel(t *testing.T) {
	t.Parallel()
	testenv.Need(t, testenv.Netns, "ip")
	lab := hatest.Start(t, "a", "b")
	b := lab.Node("b")
	n := on(t, lab.Node("a"), link.OpenNeighbours)
	t.Cleanup(n.Close)
	absent, _ := hatest.Shared(3)
	where := func(addr netip.Addr) (link.MAC, bool) {
		t.Helper()
		mac, known, err := n.Confirmed(link.Neighbour{Interface: "eth0", Addr: addr})
		if err != nil {
			t.Fatal(err)
		}
		return mac, known
	}
	confirm := func(addr netip.Addr) {
		t.Helper()
		if err := n.Confirm(link.Neighbour{Interface: "eth0", Addr: addr}); err != nil {
			t.Fatal(err)
		}
	}
	for _, addr := range []netip.Addr{b.Addr, b.Addr6} {
		if mac, known := where(addr); known {
			t.Errorf("%s was known before anybody asked: %v", addr, mac)
		}
		for range 3 { // the first looks for it, the others ask it alone
			confirm(addr)
			eventually(t, "b is confirmed", func() bool { mac, known := where(addr); return known && mac == link.MAC(b.MAC) })
		}
	}
	moved := net.HardwareAddr{2, 0, 0, 0x77, 9, 9}
	if out, err := b.Command(t.Context(), "ip", "link", "set", "eth0", "address", moved.String()).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	for _, addr := range []netip.Addr{b.Addr, b.Addr6} {
		eventually(t, "the new MAC is confirmed", func() bool {
			confirm(addr)
			mac, known := where(addr)
			return known && mac == link.MAC(moved)
		})
	}
	confirm(absent)
	if mac, known := where(absent); known {
		t.Errorf("nobody has %s: %v", absent, mac)
	}
	if err := n.Confirm(link.Neighbour{Interface: "nowhere", Addr: absent}); !errors.Is(err, unix.ENODEV) {
		t.Errorf("an interface that is not there: %v", err)
	}
}
