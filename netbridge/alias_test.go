package netbridge_test

import (
	"strings"
	"testing"

	"kvmctl/netbridge"
)

func TestAliasesOfTAPs(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		alias, vm string
		nic       int
		ok        bool
	}{
		{"kvmctl:vm-olorin:0", "vm-olorin", 0, true},
		{"kvmctl:0.a-b:12", "0.a-b", 12, true},
		{"kvmctl:bridge:7", "bridge", 7, true}, // a guest may be called so
		{"kvmctl:" + strings.Repeat("a", 40) + ":999", strings.Repeat("a", 40), 999, true},
		{"kvmctl:" + strings.Repeat("a", 41) + ":0", "", 0, false},
		{"kvmctl:vm:1000", "", 0, false},
		{"kvmctl:vm:00", "", 0, false},
		{"kvmctl:vm:+1", "", 0, false},
		{"kvmctl:vm:-1", "", 0, false},
		{"kvmctl:vm:", "", 0, false},
		{"kvmctl:vm", "", 0, false},
		{"kvmctl::0", "", 0, false},
		{"kvmctl:VM:0", "", 0, false},
		{"kvmctl:.vm:0", "", 0, false},
		{"kvmctl:v\x1bm:0", "", 0, false},
		{"kvmctl:vm:0:0", "", 0, false},
		{"kvmctl:vm:0\n", "", 0, false},
		{"Kvmctl:vm:0", "", 0, false},
		{"", "", 0, false},
	} {
		vm, nic, ok := netbridge.ParseTAPAlias(tt.alias)
		if vm != tt.vm || nic != tt.nic || ok != tt.ok {
			t.Errorf("%q: %q, %d, %v; want %q, %d, %v", tt.alias, vm, nic, ok, tt.vm, tt.nic, tt.ok)
		}
	}
}

func TestAliasesOfBridges(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		alias, name string
		ok          bool
	}{
		{"kvmctl:bridge:br0", "br0", true},
		{"kvmctl:bridge:", "", false},
		{"kvmctl:bridge:sixteen-bytes-br", "", false},
		{"kvmctl:bridge:br0:1", "", false},
		{"kvmctl:bridge:br\x1b", "", false},
		{"kvmctl:vm:0", "", false},
		{"bridge:br0", "", false},
	} {
		if name, ok := netbridge.ParseBridgeAlias(tt.alias); name != tt.name || ok != tt.ok {
			t.Errorf("%q: %q, %v; want %q, %v", tt.alias, name, ok, tt.name, tt.ok)
		}
	}
}

func FuzzParseTAPAlias(f *testing.F) {
	for _, s := range []string{"kvmctl:vm-olorin:0", "kvmctl:bridge:br0", "kvmctl::", "", "kvmctl:a:999", "kvmctl:\xff:1"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		vm, nic, ok := netbridge.ParseTAPAlias(s)
		if ok && netbridge.TAPAlias(vm, nic) != s {
			t.Errorf("%q reads as %q, %d, which is written %q", s, vm, nic, netbridge.TAPAlias(vm, nic))
		}
		if !ok && (vm != "" || nic != 0) {
			t.Errorf("%q is refused and yet gives %q, %d", s, vm, nic)
		}
	})
}

func FuzzParseBridgeAlias(f *testing.F) {
	for _, s := range []string{"kvmctl:vm-olorin:0", "kvmctl:bridge:br0", "kvmctl:bridge:", "", "kvmctl:bridge:a b"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		name, ok := netbridge.ParseBridgeAlias(s)
		if ok && (netbridge.BridgeAlias(name) != s || netbridge.CheckName(name) != nil) {
			t.Errorf("%q reads as %q", s, name)
		}
		if !ok && name != "" {
			t.Errorf("%q is refused and yet gives %q", s, name)
		}
	})
}
