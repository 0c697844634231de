package link

import (
	"encoding/hex"
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var (
	nic  = MAC{0x02, 0, 0, 0x77, 0, 1}
	vip6 = netip.MustParseAddr("fd77::f0")
)

// The bytes as the RFCs have them, by hand.
func TestFrames(t *testing.T) {
	garp := func(op string) string {
		return "ffffffffffff" + "020000770001" + "0806" + "0001080006040" + op + "020000770001" + "0a4d00f0" + "020000770001" + "0a4d00f0"
	}
	announced := gratuitousARP(nic, vip)
	for _, tt := range []struct {
		name string
		got  []byte
		want string
	}{
		{"ARP probe (RFC 5227, 2.1.1)", arpProbe(nic, vip), "ffffffffffff020000770001080600010800060400010200007700010000000000000000000" + "00a4d00f0"},
		{"announcement, as ucarp's (facts 1.1)", announced[0], garp("001")},
		{"announcement as a reply", announced[1], garp("002")},
		{"solicitation (RFC 4862, 5.4.2)", solicitation(nic, vip6), "3333ff0000f0020000770001" + "86dd" + "6000000000183aff" +
			"00000000000000000000000000000000" + "ff0200000000000000000001ff0000f0" + "87007b50" + "00000000" + "fd7700000000000000000000000000f0"},
		{"unsolicited advertisement (RFC 4861, 7.2.6)", unsolicited(nic, vip6, false), "333300000001020000770001" + "86dd" + "6000000000203aff" +
			"fd7700000000000000000000000000f0" + "ff020000000000000000000000000001" + "8800" + "5758" + "20000000" + "fd7700000000000000000000000000f0" +
			"0201020000770001"},
	} {
		if d := cmp.Diff(tt.want, hex.EncodeToString(tt.got)); d != "" {
			t.Errorf("%s (-want +got):\n%s", tt.name, d)
		}
	}
	if f := unsolicited(nic, vip6, true); f[etherHeader+ipv6Header+4] != 0xa0 {
		t.Errorf("flags of a router's advertisement: %#x, want R and O", f[etherHeader+ipv6Header+4])
	}
}

func TestClaims(t *testing.T) {
	other := MAC{0x02, 0, 0, 0x77, 0, 2}
	elsewhere := netip.MustParseAddr("10.77.0.241")
	for _, tt := range []struct {
		name  string
		frame []byte
		addr  netip.Addr
		want  bool
	}{
		{"a reply", arpPacket{arpReply, other, nic, vip, netip.IPv4Unspecified()}.frame(), vip, true},
		{"somebody sends from it (RFC 5227, 2.1.1)", arpPacket{arpRequest, other, MAC{}, vip, elsewhere}.frame(), vip, true},
		{"our own announcement", gratuitousARP(nic, vip)[0], vip, false},
		{"another's probe", arpProbe(other, vip), vip, false},
		{"another address", gratuitousARP(other, elsewhere)[0], vip, false},
		{"an advertisement", unsolicited(other, vip6, false), vip6, true},
		{"our own advertisement", unsolicited(nic, vip6, false), vip6, false},
		{"a solicitation", solicitation(other, vip6), vip6, false},
		{"IPv4 where IPv6 was asked", gratuitousARP(other, vip)[0], vip6, false},
		{"nothing", nil, vip, false},
	} {
		if _, got := claims(tt.frame, tt.addr, []MAC{nic}); got != tt.want {
			t.Errorf("%s: %v, want %v", tt.name, got, tt.want)
		}
	}
}

func FuzzClaims(f *testing.F) {
	f.Add(gratuitousARP(nic, vip)[0])
	f.Add(unsolicited(nic, vip6, true))
	f.Add(solicitation(nic, vip6))
	f.Fuzz(func(t *testing.T, b []byte) {
		_, _ = claims(b, vip, nil)
		_, _ = claims(b, vip6, nil)
		if p, err := parseARP(b); err == nil && len(b) == etherHeader+arpLength && MAC(b[:6]) == broadcastMAC && MAC(b[6:12]) == p.fromMAC {
			if string(p.frame()) != string(b) {
				t.Errorf("%x becomes %x", b, p.frame())
			}
		}
	})
}

func TestVMACAlias(t *testing.T) {
	v := VMAC{Interface: "kvha42", VHID: 42, arpIgnore: "0", arpAnnounce: "1"}
	if got, ok := parseVMACAlias(v.alias()); !ok || got != v {
		t.Errorf("%q is %+v, %v", v.alias(), got, ok)
	}
	for _, alias := range []string{"", "uplink", "kvmha:vmac:", "kvmha:vmac:42", "kvmha:vmac:256:arp_ignore=0:arp_announce=0",
		"kvmha:vmac:42:arp_ignore=x:arp_announce=0", "kvmha:vmac:42:arp_ignore=0", "kvmha:vmac:042:arp_ignore=0:arp_announce=0",
		"kvmha:vmac:42:arp_ignore=9:arp_announce=0", "kvmha:vmac:42:arp_ignore=0:arp_announce=3", "kvmha:vmac:42:arp_ignore=0:arp_announce=0\n"} {
		if got, ok := parseVMACAlias(alias); ok {
			t.Errorf("%q is taken for %+v", alias, got)
		}
	}
}
