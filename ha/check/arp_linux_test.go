package check

import (
	"errors"
	"net"
	"testing"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"kvmctl/internal/testenv"
)

// cable makes two cards of this network that hear each other, both up, the second with these addresses, and gives it.
func cable(t testing.TB, near, far string, addrs ...string) netlink.Link {
	t.Helper()
	err := netlink.LinkAdd(&netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: near}, PeerName: far, PeerHardwareAddr: net.HardwareAddr{2, 0, 0, 0, 0, 7}})
	if err != nil {
		t.Fatal(err)
	}
	n, err := netlink.LinkByName(near)
	f, err2 := netlink.LinkByName(far)
	if err := errors.Join(err, err2); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = netlink.LinkDel(n) })
	for _, a := range addrs {
		addr, err := netlink.ParseAddr(a)
		if err != nil {
			t.Fatal(err)
		}
		addr.Flags = unix.IFA_F_NODAD
		if err := netlink.AddrAdd(f, addr); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(netlink.LinkSetUp(n), netlink.LinkSetUp(f)); err != nil {
		t.Fatal(err)
	}
	return f
}

func TestARP(t *testing.T) {
	testenv.Need(t, testenv.Netns)
	far := cable(t, "near0", "far0", "10.7.0.1/24", "fd07::1/64")
	write(t, "/proc/sys/net/ipv4/conf/far0/arp_ignore", "1") // it answers for its own addresses only
	near, err := netlink.LinkByName("near0")
	if err == nil {
		err = netlink.AddrAdd(near, &netlink.Addr{IPNet: &net.IPNet{IP: net.IPv4(10, 7, 0, 2), Mask: net.CIDRMask(24, 32)}})
	}
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, func() string { // the carrier comes a moment later
		got, _, _ := once(t, ARP{Interface: "near0", Address: "10.7.0.1"}, long)
		return got
	}, "")
	for _, tt := range []struct {
		name string
		spec ARP
		want string
	}{
		{"ARP", ARP{Interface: "near0", Address: "10.7.0.1"}, ""},
		{"ND", ARP{Interface: "near0", Address: "fd07::1"}, ""},
		{"at its MAC", ARP{Interface: "near0", Address: "10.7.0.1", MAC: "02:00:00:00:00:07"}, ""},
		{"at another MAC", ARP{Interface: "near0", Address: "fd07::1", MAC: "02:00:00:00:00:08"}, `^fd07::1 is at 02:00:00:00:00:07, not at 02:00:00:00:00:08: another machine has the address$`},
		{"nobody", ARP{Interface: "near0", Address: "10.7.0.9"}, `^nobody on near0 answers for 10.7.0.9: it is off, or not on this network$`},
		{"nobody, ND", ARP{Interface: "near0", Address: "fd07::9"}, `^nobody on near0 answers for fd07::9: it is off, or not on this network$`},
		{"our own", ARP{Interface: "near0", Address: "10.7.0.2"}, `^10.7.0.2 is an address of this machine, so nobody else answers for it on near0$`},
		{"no such card", ARP{Interface: "near9", Address: "10.7.0.1"}, `^ask on near9 who has 10.7.0.1: find interface "near9": no such device$`},
	} {
		if tt.want != "" {
			late(t, tt.name, tt.spec, tt.want, "ADDR")
			continue
		}
		got, _, _ := once(t, tt.spec, long)
		says(t, tt.name, got, tt.want, "ADDR")
	}
	if err := netlink.LinkSetDown(far); err != nil {
		t.Fatal(err)
	}
	late(t, "the cable is out", ARP{Interface: "near0", Address: "10.7.0.1"}, `^nobody on near0 answers for 10.7.0.1: it is off, or not on this network$`, "ADDR")
	late(t, "the card is down", ARP{Interface: "far0", Address: "10.7.0.2"}, `^far0 is down or gone: nobody can be asked for 10.7.0.2$`, "ADDR")
}

func TestARPValidate(t *testing.T) {
	for want, spec := range map[string]ARP{
		"interface is empty":                                                 {Address: "10.7.0.1"},
		`address "router" is not a literal address`:                          {Interface: "eth0", Address: "router"},
		`address "224.0.0.18" is nobody's`:                                   {Interface: "eth0", Address: "224.0.0.18"},
		`mac "7" is not one such as 00:00:5e:00:01:07`:                       {Interface: "eth0", Address: "10.7.0.1", MAC: "7"},
		`mac "02-00-00-00-00-00-00-07" is not one such as 00:00:5e:00:01:07`: {Interface: "eth0", Address: "10.7.0.1", MAC: "02-00-00-00-00-00-00-07"},
	} {
		if err := spec.Validate(); err == nil || err.Error() != want {
			t.Errorf("got %v, want %s", err, want)
		}
	}
}

func BenchmarkARP(b *testing.B) {
	testenv.Need(b, testenv.Netns)
	cable(b, "near0", "far0", "10.7.0.1/24")
	bench(b, ARP{Interface: "near0", Address: "10.7.0.1"})
}
