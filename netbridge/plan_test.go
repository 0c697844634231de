package netbridge_test

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"kvmctl/internal/units"
	"kvmctl/netbridge"
)

var (
	mac0  = units.MAC{0x52, 0x54, 0, 0, 0, 0x10}
	mac1  = units.MAC{0x52, 0x54, 0, 0, 0, 0x11}
	addr0 = netip.MustParsePrefix("10.2.0.1/16")
	addr6 = netip.MustParsePrefix("fd02::1/64")
	br0   = netbridge.Bridge{Name: "br0", MAC: mac0, MTU: 1500, Address: addr0}
	ours0 = netbridge.Link{
		Index: 2, Name: "br0", Alias: "kvmctl:bridge:br0", Kind: "bridge", MAC: mac0, MTU: 1500, Up: true,
		Addresses: []netip.Prefix{addr0},
	}
	lo = netbridge.Link{Index: 1, Name: "lo", Kind: "device", Up: true}
)

// but gives a copy of the link with something changed.
func but(l netbridge.Link, change func(*netbridge.Link)) netbridge.Link {
	change(&l)
	return l
}

func lines[T fmt.Stringer](steps []T) string {
	var b strings.Builder
	for _, s := range steps {
		b.WriteString(s.String() + "\n")
	}
	return b.String()
}

func TestPlanGivesWhatIsMissingInOrder(t *testing.T) {
	t.Parallel()
	tap := netbridge.Link{Index: 9, Name: "kv1.0", Alias: "kvmctl:vm-a:0", Kind: "tun", Master: "br0"}
	type link = netbridge.Link
	for _, tt := range []struct {
		name string
		have []link
		want []netbridge.Bridge
		plan string
	}{
		{"nothing is there", []link{lo}, []netbridge.Bridge{br0, {Name: "br1", MAC: mac1, MTU: 9000}}, `create bridge br0
set alias "kvmctl:bridge:br0" on br0
set mtu 1500 on br0
add address 10.2.0.1/16 to br0
bring br0 up
create bridge br1
set alias "kvmctl:bridge:br1" on br1
set mtu 9000 on br1
bring br1 up
`},
		{"all is there", []link{lo, ours0, tap}, []netbridge.Bridge{br0}, ""},
		{"nothing is wanted", []link{lo, ours0}, nil, ""},
		{"killed before the mark", []link{lo, {Name: "br0", Kind: "bridge", MAC: mac0, MTU: 65535}}, []netbridge.Bridge{br0},
			`set alias "kvmctl:bridge:br0" on br0
set mtu 1500 on br0
add address 10.2.0.1/16 to br0
bring br0 up
`},
		{"ours is down", []link{but(ours0, func(l *link) { l.Up = false })}, []netbridge.Bridge{br0}, "bring br0 up\n"},
		{"ours has another mac and mtu", []link{but(ours0, func(l *link) { l.MAC, l.MTU = mac1, 1400 })}, []netbridge.Bridge{br0},
			"set mac 52:54:00:00:00:10 on br0\nset mtu 1500 on br0\n"},
		{"ours has other addresses besides", []link{but(ours0, func(l *link) {
			l.Addresses = []netip.Prefix{addr6, addr0, netip.MustParsePrefix("fe80::1/64")}
		})}, []netbridge.Bridge{br0}, ""},
		{"ours has another address only", []link{but(ours0, func(l *link) { l.Addresses = []netip.Prefix{addr6} })}, []netbridge.Bridge{br0},
			"add address 10.2.0.1/16 to br0\n"},
		{"ours has the address under another prefix length", []link{but(ours0, func(l *link) {
			l.Addresses = []netip.Prefix{netip.MustParsePrefix("10.2.0.1/24")}
		})}, []netbridge.Bridge{br0}, "remove address 10.2.0.1/24 from br0\nadd address 10.2.0.1/16 to br0\n"},
		{"no address is wanted", []link{ours0}, []netbridge.Bridge{{Name: "br0", MAC: mac0, MTU: 1500}}, ""},
		{"the admin's is used as it is", []link{{Name: "br0", Kind: "bridge", MAC: mac1, MTU: 1400}}, []netbridge.Bridge{br0}, ""},
		{"the admin's, by another name of it", []link{{Name: "lan", AltNames: []string{"br0"}, Kind: "bridge", MAC: mac1}}, []netbridge.Bridge{br0}, ""},
		{"one of ours that was renamed is the admin's", []link{but(ours0, func(l *link) { l.Alias = "kvmctl:bridge:br7"; l.Up = false })},
			[]netbridge.Bridge{br0}, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			got, err := netbridge.Plan(tt.have, tt.want)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.plan, lines(got)); diff != "" {
				t.Errorf("want (-), got (+): %s", diff)
			}
		})
	}
}

func TestAnUnmarkedBridgeIsOursOnlyAsCreationLeavesIt(t *testing.T) {
	t.Parallel()
	newborn := netbridge.Link{Name: "br0", Kind: "bridge", MAC: mac0, MTU: 65535}
	for name, have := range map[string][]netbridge.Link{
		"it is up":            {but(newborn, func(l *netbridge.Link) { l.Up = true })},
		"it has an address":   {but(newborn, func(l *netbridge.Link) { l.Addresses = []netip.Prefix{addr0} })},
		"it has another MAC":  {but(newborn, func(l *netbridge.Link) { l.MAC = mac1 })},
		"it has another mark": {but(newborn, func(l *netbridge.Link) { l.Alias = "lab" })},
		"it has a port":       {newborn, {Name: "eth0", Kind: "device", Master: "br0"}},
	} {
		if steps, err := netbridge.Plan(have, []netbridge.Bridge{br0}); err != nil || len(steps) > 0 {
			t.Errorf("%s: steps %v, error %v, want neither", name, steps, err)
		}
	}
}

func TestPlanReportsEveryImpossibleDeclaration(t *testing.T) {
	t.Parallel()
	have := []netbridge.Link{lo, {Name: "enp3s0", AltNames: []string{"wan"}, Kind: "device"}, {Name: "tun0", Kind: "tun"}}
	for _, tt := range []struct {
		want []netbridge.Bridge
		text string
	}{
		{[]netbridge.Bridge{
			{Name: "sixteen-bytes-br", MAC: mac0, MTU: 1500}, {Name: "", MAC: mac0, MTU: 1500},
			{Name: "a/b", MAC: mac0, MTU: 1500}, {Name: "br\x1b", MAC: mac0, MTU: 1500}, {Name: "..", MAC: mac0, MTU: 1500},
			{Name: "br1", MTU: 67}, {Name: "br2", MAC: units.MAC{1}, MTU: 65522}, br0, br0,
		}, `bad interface name "sixteen-bytes-br": 16 bytes, the kernel takes 15
bad interface name "": empty
bad interface name "a/b": '/' may not stand in it
bad interface name "br\x1b": '\x1b' may not stand in it
bad interface name "..": reserved
bridge "br1": bad MAC address 00:00:00:00:00:00: want a unicast address of its own
bridge "br1": bad MTU 67: want 68 to 65521
bridge "br2": bad MAC address 01:00:00:00:00:00: want a unicast address of its own
bridge "br2": bad MTU 65522: want 68 to 65521
bridge "br0": declared twice`},
		{[]netbridge.Bridge{{Name: "enp3s0", MAC: mac0, MTU: 1500}, br0, {Name: "wan", MAC: mac0, MTU: 1500}, {Name: "tun0", MAC: mac0, MTU: 1500}},
			`interface "enp3s0" is a physical or built-in interface, not a bridge
"wan" is another name of interface "enp3s0", which is a physical or built-in interface, not a bridge
interface "tun0" is a TUN or TAP, not a bridge`},
	} {
		steps, err := netbridge.Plan(have, tt.want)
		if err == nil || steps != nil {
			t.Errorf("steps %v, error %v; want none and an error", steps, err)
			continue
		}
		if diff := cmp.Diff(tt.text, err.Error()); diff != "" {
			t.Errorf("want (-), got (+): %s", diff)
		}
	}
	e := &netbridge.NotBridgeError{Name: "wan", Link: have[1]}
	if want := "give the bridge a name that is free, or see what enp3s0 is: ip -d link show enp3s0"; e.Hint() != want {
		t.Errorf("hint %q, want %q", e.Hint(), want)
	}
}

func TestPlanDownRemovesOnlyWhatIsOursAndIdle(t *testing.T) {
	t.Parallel()
	ours1 := but(ours0, func(l *netbridge.Link) { l.Name, l.Alias = "br1", "kvmctl:bridge:br1" })
	have := []netbridge.Link{
		lo, ours0, ours1,
		{Index: 9, Name: "kv2.0", Alias: "kvmctl:vm-b:0", Kind: "tun", Master: "br1"},
		{Index: 8, Name: "kv1.1", Alias: "kvmctl:vm-a:1", Kind: "tun", Master: "br1"},
		{Index: 7, Name: "kv1.0", Alias: "kvmctl:vm-a:0", Kind: "tun", Master: "br1"},
		{Index: 6, Name: "eth0", Alias: "kvmctl:vm-c:0", Kind: "device", Master: "br1"},
		{Index: 5, Name: "lan", Kind: "bridge"},
		{Index: 4, Name: "br2", Alias: "kvmctl:bridge:br2", Kind: "bridge"},
		{Index: 10, Name: "eth1", Kind: "device", Master: "br2"},
	}
	steps, err := netbridge.PlanDown(have, []string{"br0", "br9", "br0"}, nil)
	if err != nil || lines(steps) != "delete bridge br0\n" {
		t.Errorf("steps %v, error %v, want one that deletes br0", steps, err)
	}
	steps, err = netbridge.PlanDown(have, []string{"br0", "br1", "lan", "lo", "br2"}, nil)
	want := `bridge "br1" still has ports eth0, kv1.0 (guest vm-a, nic 0), kv1.1 (guest vm-a, nic 1), kv2.0 (guest vm-b, nic 0)
bridge "lan" was not made by kvmctl
interface "lo" is a physical or built-in interface, not a bridge
bridge "br2" still has port eth1`
	if err == nil || steps != nil {
		t.Fatalf("steps %v, error %v; want none and an error", steps, err)
	}
	if diff := cmp.Diff(want, err.Error()); diff != "" {
		t.Errorf("want (-), got (+): %s", diff)
	}
	for hint, e := range map[string]interface{ Hint() string }{
		"kvmctl stop vm-a vm-b":                                  &netbridge.PortsError{Name: "br1", Ports: []netbridge.Link{have[6], have[5], have[4], have[3]}},
		"ip link set eth1 nomaster":                              &netbridge.PortsError{Name: "br2", Ports: have[9:]},
		"remove it the way it was made, for example: ifdown lan": &netbridge.ForeignError{Name: "lan"},
	} {
		if got := e.Hint(); got != hint {
			t.Errorf("hint %q, want %q", got, hint)
		}
	}
}
