package netbridgetest

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"kvmctl/internal/units"
	"kvmctl/netbridge"
)

// World is a kernel together with an admin, who makes and removes interfaces without asking.
type World interface {
	netbridge.Kernel
	// Plant makes an interface of kind bridge or veth, with the alias, MAC, MTU, addresses, master and state of l.
	Plant(l netbridge.Link) error
	// Pull removes an interface, whatever hangs on it.
	Pull(name string) error
}

var (
	mac      = units.MAC{0x52, 0x54, 0, 0xaa, 0, 1}
	otherMAC = units.MAC{0x52, 0x54, 0, 0xaa, 0, 2}
	v4       = netip.MustParsePrefix("10.99.0.1/16")
	v6       = netip.MustParsePrefix("fd99::1/64")
)

// RunContract runs what every Kernel has to keep; empty gives a World without bridges.
func RunContract(t *testing.T, empty func(t *testing.T) World) {
	for _, c := range contract {
		t.Run(c.name, func(t *testing.T) { c.run(t, empty(t)) })
	}
}

var contract = []struct {
	name string
	run  func(*testing.T, World)
}{
	{"a new bridge is down, unmarked, and has the MAC it was given", func(t *testing.T, w World) {
		must(t, w.CreateBridge(t.Context(), "br0", mac))
		want := netbridge.Link{Name: "br0", Kind: netbridge.KindBridge, MAC: mac, MTU: 65535}
		same(t, want, get(t, w, "br0"))
		if want.MTU <= netbridge.MaxMTU {
			t.Errorf("a new bridge has MTU %d, which can be declared", want.MTU)
		}
	}},
	{"a name that is taken is EEXIST, by a bridge or by anything else", func(t *testing.T, w World) {
		must(t, w.Plant(netbridge.Link{Name: "eth0", Kind: "veth"}))
		must(t, w.CreateBridge(t.Context(), "br0", mac))
		is(t, w.CreateBridge(t.Context(), "br0", otherMAC), syscall.EEXIST)
		is(t, w.CreateBridge(t.Context(), "eth0", mac), syscall.EEXIST)
		if got := get(t, w, "br0").MAC; got != mac {
			t.Errorf("br0 has MAC %s, want %s", got, mac)
		}
	}},
	{"names that the kernel does not take", func(t *testing.T, w World) {
		must(t, w.CreateBridge(t.Context(), "fifteen-bytes-b", mac))
		is(t, w.CreateBridge(t.Context(), "sixteen-bytes-br", mac), syscall.ERANGE)
		is(t, w.CreateBridge(t.Context(), "a/b", mac), syscall.EINVAL)
		is(t, w.CreateBridge(t.Context(), "a b", mac), syscall.EINVAL)
		is(t, w.CreateBridge(t.Context(), ".", mac), syscall.EINVAL)
	}},
	{"MAC addresses that no interface may have", func(t *testing.T, w World) {
		must(t, w.CreateBridge(t.Context(), "br0", mac))
		group := units.MAC{1, 0, 0x5e, 0, 0, 1}
		for _, bad := range []units.MAC{{}, group} {
			is(t, w.CreateBridge(t.Context(), "br1", bad), syscall.EADDRNOTAVAIL)
			is(t, w.SetMAC(t.Context(), "br0", bad), syscall.EADDRNOTAVAIL)
		}
		same(t, []netbridge.Link{{Name: "br0", Kind: netbridge.KindBridge, MAC: mac, MTU: 65535}}, named(t, w, "br0", "br1"))
	}},
	{"an interface that is not there is ENODEV", func(t *testing.T, w World) {
		ctx := t.Context()
		for name, err := range map[string]error{
			"DeleteBridge":  w.DeleteBridge(ctx, "br0"),
			"SetAlias":      w.SetAlias(ctx, "br0", "x"),
			"SetMAC":        w.SetMAC(ctx, "br0", mac),
			"SetMTU":        w.SetMTU(ctx, "br0", 1500),
			"AddAddress":    w.AddAddress(ctx, "br0", v4),
			"RemoveAddress": w.RemoveAddress(ctx, "br0", v4),
			"SetUp":         w.SetUp(ctx, "br0", true),
		} {
			if !errors.Is(err, syscall.ENODEV) {
				t.Errorf("%s: %v, want ENODEV", name, err)
			}
		}
	}},
	{"an alias is set, replaced and removed, up to 255 bytes", func(t *testing.T, w World) {
		must(t, w.CreateBridge(t.Context(), "br0", mac))
		for _, alias := range []string{"one", "another", strings.Repeat("a", 255), "", ""} {
			must(t, w.SetAlias(t.Context(), "br0", alias))
			if got := get(t, w, "br0").Alias; got != alias {
				t.Errorf("alias %q, want %q", got, alias)
			}
		}
		is(t, w.SetAlias(t.Context(), "br0", strings.Repeat("a", 256)), syscall.ERANGE)
	}},
	{"a MAC changes while the bridge is up", func(t *testing.T, w World) {
		must(t, w.CreateBridge(t.Context(), "br0", mac))
		must(t, w.SetUp(t.Context(), "br0", true))
		must(t, w.SetMAC(t.Context(), "br0", otherMAC))
		if got := get(t, w, "br0").MAC; got != otherMAC {
			t.Errorf("MAC %s, want %s", got, otherMAC)
		}
	}},
	{"a MAC stays when ports come and go", func(t *testing.T, w World) {
		must(t, w.CreateBridge(t.Context(), "br0", mac))
		must(t, w.Plant(netbridge.Link{Name: "p0", Kind: "veth", Master: "br0", MAC: units.MAC{2, 0, 0, 0, 0, 1}}))
		if got := get(t, w, "br0").MAC; got != mac {
			t.Errorf("with a port: MAC %s, want %s", got, mac)
		}
		must(t, w.Pull("p0"))
		if got := get(t, w, "br0").MAC; got != mac {
			t.Errorf("after the port: MAC %s, want %s", got, mac)
		}
	}},
	{"every MTU that can be declared stays when ports come and go", func(t *testing.T, w World) {
		for i, mtu := range []int{netbridge.MinMTU, 576, 1400, 1500, 9000, netbridge.MaxMTU} {
			br, port := fmt.Sprintf("br%d", i), fmt.Sprintf("p%d", i)
			must(t, w.CreateBridge(t.Context(), br, mac))
			must(t, w.SetMTU(t.Context(), br, mtu))
			must(t, w.SetMTU(t.Context(), br, mtu))
			must(t, w.Plant(netbridge.Link{Name: port, Kind: "veth", Master: br, MTU: 1450}))
			if got := get(t, w, br).MTU; got != mtu {
				t.Errorf("with a port: MTU %d, want %d", got, mtu)
			}
			must(t, w.Pull(port))
			if got := get(t, w, br).MTU; got != mtu {
				t.Errorf("after the port: MTU %d, want %d", got, mtu)
			}
		}
	}},
	{"the MTU of a bridge that nobody gave one follows its ports", func(t *testing.T, w World) {
		must(t, w.CreateBridge(t.Context(), "br0", mac))
		must(t, w.Plant(netbridge.Link{Name: "p0", Kind: "veth", Master: "br0", MTU: 1450}))
		if got := get(t, w, "br0").MTU; got != 1450 {
			t.Errorf("with a port: MTU %d, want 1450", got)
		}
		must(t, w.Pull("p0"))
		if got := get(t, w, "br0").MTU; got != 1500 {
			t.Errorf("after the port: MTU %d, want 1500", got)
		}
	}},
	{"MTUs out of range are EINVAL", func(t *testing.T, w World) {
		must(t, w.CreateBridge(t.Context(), "br0", mac))
		is(t, w.SetMTU(t.Context(), "br0", 67), syscall.EINVAL)
		is(t, w.SetMTU(t.Context(), "br0", 65536), syscall.EINVAL)
	}},
	{"addresses are added once and removed once", func(t *testing.T, w World) {
		must(t, w.CreateBridge(t.Context(), "br0", mac))
		must(t, w.SetMTU(t.Context(), "br0", 1500))
		for _, a := range []netip.Prefix{v4, v6} {
			must(t, w.AddAddress(t.Context(), "br0", a))
			is(t, w.AddAddress(t.Context(), "br0", a), syscall.EEXIST)
			if got := get(t, w, "br0").Addresses; !slices.Equal(got, []netip.Prefix{a}) {
				t.Errorf("addresses %v, want %v", got, a)
			}
			must(t, w.RemoveAddress(t.Context(), "br0", a))
			is(t, w.RemoveAddress(t.Context(), "br0", a), syscall.EADDRNOTAVAIL)
			if got := get(t, w, "br0").Addresses; len(got) > 0 {
				t.Errorf("addresses %v, want none", got)
			}
		}
	}},
	{"the same address under another prefix length is a second one for IPv4 and EEXIST for IPv6", func(t *testing.T, w World) {
		must(t, w.CreateBridge(t.Context(), "br0", mac))
		must(t, w.SetMTU(t.Context(), "br0", 1500))
		must(t, w.AddAddress(t.Context(), "br0", v4))
		must(t, w.AddAddress(t.Context(), "br0", netip.PrefixFrom(v4.Addr(), 24)))
		must(t, w.AddAddress(t.Context(), "br0", v6))
		is(t, w.AddAddress(t.Context(), "br0", netip.PrefixFrom(v6.Addr(), 48)), syscall.EEXIST)
	}},
	{"up and down are set as often as one likes", func(t *testing.T, w World) {
		must(t, w.CreateBridge(t.Context(), "br0", mac))
		for _, up := range []bool{true, true, false, false, true} {
			must(t, w.SetUp(t.Context(), "br0", up))
			if got := get(t, w, "br0").Up; got != up {
				t.Errorf("up is %v, want %v", got, up)
			}
		}
	}},
	{"a bridge is deleted, up or down, but not with ports, and nothing else is", func(t *testing.T, w World) {
		must(t, w.CreateBridge(t.Context(), "br0", mac))
		must(t, w.CreateBridge(t.Context(), "br1", otherMAC))
		must(t, w.SetUp(t.Context(), "br1", true))
		must(t, w.Plant(netbridge.Link{Name: "p0", Kind: "veth", Master: "br0"}))
		is(t, w.DeleteBridge(t.Context(), "br0"), syscall.EBUSY)
		is(t, w.DeleteBridge(t.Context(), "p0"), syscall.EOPNOTSUPP)
		must(t, w.DeleteBridge(t.Context(), "br1"))
		if got := named(t, w, "br0", "br1", "p0"); len(got) != 2 || got[1].Master != "br0" {
			t.Errorf("left: %+v, want br0 and its port p0", got)
		}
		must(t, w.Pull("p0"))
		must(t, w.DeleteBridge(t.Context(), "br0"))
	}},
	{"the list by name has what exists, in that order, once, and the whole list has the same", func(t *testing.T, w World) {
		must(t, w.CreateBridge(t.Context(), "br0", mac))
		must(t, w.SetMTU(t.Context(), "br0", 1500))
		must(t, w.AddAddress(t.Context(), "br0", v4))
		must(t, w.Plant(netbridge.Link{Name: "p0", Kind: "veth", Master: "br0", Alias: "the admin's", Up: true}))
		got := named(t, w, "p0", "gone", "br0", "p0")
		if len(got) != 2 || got[0].Name != "p0" || got[0].Master != "br0" || got[1].Name != "br0" {
			t.Fatalf("links %+v, want p0 with master br0, then br0", got)
		}
		all, err := w.Links(t.Context())
		must(t, err)
		for _, l := range got {
			i := slices.IndexFunc(all, func(o netbridge.Link) bool { return o.Name == l.Name })
			if i < 0 {
				t.Fatalf("%s is not in the list of all", l.Name)
			}
			if diff := cmp.Diff(l, all[i], cmpopts.EquateComparable(netip.Prefix{})); diff != "" {
				t.Errorf("by name (-) and in the whole list (+): %s", diff)
			}
		}
	}},
	{"a call with a context that has ended does nothing", func(t *testing.T, w World) {
		must(t, w.CreateBridge(t.Context(), "br0", mac))
		before := named(t, w, "br0", "br1")
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		_, err := w.Links(ctx)
		is(t, err, context.Canceled)
		_, err = w.Links(ctx, "br0")
		is(t, err, context.Canceled)
		is(t, w.CreateBridge(ctx, "br1", mac), context.Canceled)
		is(t, w.DeleteBridge(ctx, "br0"), context.Canceled)
		is(t, w.SetAlias(ctx, "br0", "x"), context.Canceled)
		is(t, w.SetMAC(ctx, "br0", otherMAC), context.Canceled)
		is(t, w.SetMTU(ctx, "br0", 1300), context.Canceled)
		is(t, w.AddAddress(ctx, "br0", v4), context.Canceled)
		is(t, w.RemoveAddress(ctx, "br0", v4), context.Canceled)
		is(t, w.SetUp(ctx, "br0", true), context.Canceled)
		is(t, w.SetSTP(ctx, "br0", true), context.Canceled)
		is(t, w.SetVLANFiltering(ctx, "br0", true), context.Canceled)
		is(t, w.SetMaster(ctx, "br0", ""), context.Canceled)
		_, err = w.Holdings(ctx, "br0")
		is(t, err, context.Canceled)
		same(t, before, named(t, w, "br0", "br1"))
	}},
	{"STP and the port of a bridge are switched as often as one likes, and of nothing else", func(t *testing.T, w World) {
		must(t, w.CreateBridge(t.Context(), "br0", mac))
		must(t, w.Plant(netbridge.Link{Name: "p0", Kind: "veth"}))
		for _, on := range []bool{true, true, false, true} {
			must(t, w.SetSTP(t.Context(), "br0", on))
			if got := get(t, w, "br0").STP; got != on {
				t.Errorf("stp is %v, want %v", got, on)
			}
		}
		is(t, w.SetSTP(t.Context(), "p0", true), syscall.EOPNOTSUPP)
		is(t, w.SetVLANFiltering(t.Context(), "p0", true), syscall.EOPNOTSUPP)
		is(t, w.SetSTP(t.Context(), "br9", true), syscall.ENODEV)
		for _, master := range []string{"br0", "br0", "", ""} {
			must(t, w.SetMaster(t.Context(), "p0", master))
			if got := get(t, w, "p0").Master; got != master {
				t.Errorf("master %q, want %q", got, master)
			}
		}
		is(t, w.SetMaster(t.Context(), "p0", "br9"), syscall.ENODEV)
		is(t, w.SetMaster(t.Context(), "br9", "br0"), syscall.ENODEV)
		is(t, w.SetMaster(t.Context(), "br0", "p0"), syscall.EOPNOTSUPP)
		is(t, w.Trunk(t.Context(), "p0", units.VLANRange{First: 2, Last: 4094}), syscall.EOPNOTSUPP)
	}},
	{"what an interface has is given to another one and taken from it", func(t *testing.T, w World) {
		must(t, w.CreateBridge(t.Context(), "br0", mac))
		must(t, w.SetUp(t.Context(), "br0", true))
		must(t, w.Plant(netbridge.Link{Name: "p0", Kind: "veth", Up: true, Addresses: []netip.Prefix{v4, v6}}))
		had, err := w.Holdings(t.Context(), "p0")
		must(t, err)
		if len(had) != 2 || had[0].Text != v4.String() || had[1].Text != v6.String() || had[0].Kind != netbridge.KindAddress || had[0].Valid != netbridge.Forever {
			t.Fatalf("p0 has %+v, want its two addresses", had)
		}
		for _, h := range had {
			must(t, w.Give(t.Context(), "br0", h, true))
			is(t, w.Give(t.Context(), "br0", h, true), syscall.EEXIST)
			must(t, w.Take(t.Context(), "p0", h))
			is(t, w.Take(t.Context(), "p0", h), syscall.ENOENT)
		}
		if got := get(t, w, "p0").Addresses; len(global(got)) > 0 {
			t.Errorf("p0 still has %v", got)
		}
		if diff := cmp.Diff([]netip.Prefix{v4, v6}, global(get(t, w, "br0").Addresses), cmpopts.EquateComparable(netip.Prefix{})); diff != "" {
			t.Errorf("br0: want (-), got (+): %s", diff)
		}
		for _, h := range had { // and back, exactly
			must(t, w.Take(t.Context(), "br0", h))
			must(t, w.Give(t.Context(), "p0", h, false))
		}
		again, err := w.Holdings(t.Context(), "p0")
		must(t, err)
		if diff := cmp.Diff(had, again); diff != "" {
			t.Errorf("p0 had (-), has (+): %s", diff)
		}
		_, err = w.Holdings(t.Context(), "p9")
		is(t, err, syscall.ENODEV)
		is(t, w.Give(t.Context(), "p9", had[0], true), syscall.ENODEV)
		is(t, w.Take(t.Context(), "p9", had[0]), syscall.ENODEV)
	}},
	{"Ensure twice is Ensure once, and so is the way down", func(t *testing.T, w World) {
		want := []netbridge.Bridge{
			{Name: "br0", MAC: mac, MTU: 1500, Address: v4},
			{Name: "br1", MAC: otherMAC, MTU: 9000, Address: v6},
			{Name: "br2", MAC: units.MAC{0x52, 0x54, 0, 0, 0, 9}, MTU: 1400},
		}
		steps, err := netbridge.Ensure(t.Context(), w, want)
		must(t, err)
		if len(steps) == 0 {
			t.Fatal("the first Ensure did nothing")
		}
		first := named(t, w, "br0", "br1", "br2")
		same(t, []netbridge.Link{
			{Name: "br0", Kind: netbridge.KindBridge, Alias: "kvmctl:bridge:br0", MAC: mac, MTU: 1500, Up: true, Addresses: []netip.Prefix{v4}},
			{Name: "br1", Kind: netbridge.KindBridge, Alias: "kvmctl:bridge:br1", MAC: otherMAC, MTU: 9000, Up: true, Addresses: []netip.Prefix{v6}},
			{Name: "br2", Kind: netbridge.KindBridge, Alias: "kvmctl:bridge:br2", MAC: want[2].MAC, MTU: 1400, Up: true},
		}, first)
		steps, err = netbridge.Ensure(t.Context(), w, want)
		must(t, err)
		if len(steps) != 0 {
			t.Errorf("the second Ensure did %v", steps)
		}
		same(t, first, named(t, w, "br0", "br1", "br2"))
		for range 2 {
			have, err := w.Links(t.Context())
			must(t, err)
			steps, err := netbridge.PlanDown(have, []string{"br2", "br0", "br1"}, nil)
			must(t, err)
			must(t, netbridge.Apply(t.Context(), w, steps))
			if left := named(t, w, "br0", "br1", "br2"); len(left) > 0 {
				t.Errorf("left: %+v", left)
			}
		}
	}},
}

func global(addrs []netip.Prefix) []netip.Prefix {
	return slices.DeleteFunc(slices.Clone(addrs), func(p netip.Prefix) bool { return p.Addr().IsLinkLocalUnicast() })
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func is(t *testing.T, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Errorf("error %v, want %v", err, want)
	}
}

func named(t *testing.T, w World, names ...string) []netbridge.Link {
	t.Helper()
	links, err := w.Links(t.Context(), names...)
	must(t, err)
	return links
}

func get(t *testing.T, w World, name string) netbridge.Link {
	t.Helper()
	links := named(t, w, name)
	if len(links) != 1 {
		t.Fatalf("%d interfaces are called %s, want 1", len(links), name)
	}
	return links[0]
}

// same compares what a test can foresee: not the index, the carrier, and the link-local addresses that come by themselves.
func same[T any](t *testing.T, want, got T) {
	t.Helper()
	opts := cmp.Options{
		cmpopts.EquateComparable(netip.Prefix{}),
		cmpopts.EquateEmpty(),
		cmpopts.IgnoreFields(netbridge.Link{}, "Index", "Running"),
		cmpopts.IgnoreSliceElements(func(p netip.Prefix) bool { return p.Addr().IsLinkLocalUnicast() }),
	}
	if diff := cmp.Diff(want, got, opts); diff != "" {
		t.Errorf("want (-), got (+): %s", diff)
	}
}
