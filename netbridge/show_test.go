package netbridge_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"kvmctl/netbridge"
)

func TestShowHasDeclaredOursAndForeignOnesThatGuestsUse(t *testing.T) {
	t.Parallel()
	links := []netbridge.Link{
		lo,
		{Index: 2, Name: "eth0", Kind: "device", Master: "lan", Up: true},
		{Index: 3, Name: "lan", Kind: "bridge", Up: true},
		{Index: 4, Name: "docker0", Kind: "bridge", Up: true},
		{Index: 5, Name: "veth1", Kind: "veth", Master: "docker0"},
		{Index: 6, Name: "old", Alias: "kvmctl:bridge:old", Kind: "bridge"},
		but(ours0, func(l *netbridge.Link) { l.Index = 7 }),
		{Index: 9, Name: "kv1.1", Alias: "kvmctl:vm-a:1", Kind: "tun", Master: "lan"},
		{Index: 8, Name: "kv1.0", Alias: "kvmctl:vm-a:0", Kind: "tun", Master: "br0"},
		{Index: 10, Name: "tap0", Alias: "the admin's", Kind: "tun", Master: "br0"},
		{Index: 11, Name: "fake0", Alias: "kvmctl:vm-z:0", Kind: "veth", Master: "br0"},
	}
	status := netbridge.Survey(links, []netbridge.Bridge{br0, {Name: "br1", MAC: mac1, MTU: 1500}, {Name: "eth0", MAC: mac1, MTU: 1500}})
	var b strings.Builder
	for _, s := range status {
		fmt.Fprintf(&b, "%s %s declared=%v ours=%v index=%d pending=%d\n", s.Name, s.State, s.Declared != nil, s.Ours, s.Link.Index, len(s.Pending))
		for _, p := range s.Ports {
			fmt.Fprintf(&b, "  %s guest=%q nic=%d\n", p.Link.Name, p.Guest, p.NIC)
		}
	}
	want := `br0 up declared=true ours=true index=7 pending=0
  kv1.0 guest="vm-a" nic=0
  tap0 guest="" nic=0
  fake0 guest="" nic=0
br1 missing declared=true ours=false index=0 pending=4
eth0 blocked declared=true ours=false index=2 pending=0
lan up declared=false ours=false index=3 pending=0
  eth0 guest="" nic=0
  kv1.1 guest="vm-a" nic=1
old down declared=false ours=true index=6 pending=0
`
	if diff := cmp.Diff(want, b.String()); diff != "" {
		t.Errorf("want (-), got (+): %s", diff)
	}
}
