package netbridge_test

import (
	"errors"
	"slices"
	"testing"

	"kvmctl/internal/units"
	"kvmctl/netbridge"
)

func TestVLANsAreKeptApart(t *testing.T) {
	w := newWorld(t)
	if err := w.Plant(netbridge.Link{Name: "p0", Kind: "veth"}); err != nil {
		t.Fatal(err)
	}
	want := []netbridge.Bridge{{Name: "br0", MAC: brMAC, MTU: 1500, Uplink: "p0", VLANFiltering: true}}
	_, err := netbridge.Ensure(t.Context(), w, want)
	var why *netbridge.UnsupportedError
	if errors.As(err, &why) && !full() {
		if why.Hint() == "" || w.names(t) != "lo p0x p0" {
			t.Errorf("refused with %v, hint %q, left %s", err, why.Hint(), w.names(t))
		}
		return
	}
	if err != nil {
		t.Fatal(err)
	}
	peer, err := w.admin.LinkByName("p0x")
	if err != nil {
		t.Fatal(err)
	}
	if err := w.admin.LinkSetUp(peer); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the link has a carrier", func() bool { return w.get(t, "p0").Running })
	lan := onLAN(t, "p0x")
	macs := map[string]units.MAC{}
	stations := map[string]guest{}
	for i, tap := range []netbridge.TAP{
		{Alias: "kvmctl:plain:0"}, {Alias: "kvmctl:ten:0", VLAN: 10}, {Alias: "kvmctl:ten2:0", VLAN: 10}, {Alias: "kvmctl:twenty:0", VLAN: 20},
		{Alias: "kvmctl:trunk:0", Trunk: units.VLANs{{First: 10, Last: 12}, {First: 20, Last: 20}}},
	} {
		tap.Name, tap.Bridge, tap.Queues, tap.MAC = []string{"kv1.0", "kv2.0", "kv3.0", "kv4.0", "kv5.0"}[i], "br0", 1, units.MAC{0x52, 0x54, 0, 0xcc, 1, byte(i)}
		name := []string{"plain", "ten", "ten2", "twenty", "trunk"}[i]
		stations[name], macs[name] = guest{w.open(t, tap)[0]}, tap.MAC
	}
	// Everybody speaks, and then the one who listens is told by the LAN that this was all.
	for name, vlan := range map[string]int{"plain": 0, "ten": 0, "ten2": 0, "twenty": 0} {
		stations[name].send(t, frame(broadcast, macs[name], vlan, "from "+name))
		stations[name].send(t, frame(broadcast, lanMAC, vlan, "forged by "+name))
	}
	for _, vlan := range []int{0, 10, 12, 20, 30} {
		stations["trunk"].send(t, frame(broadcast, macs["trunk"], vlan, "from trunk"))
		stations["trunk"].send(t, frame(broadcast, lanMAC, vlan, "forged by trunk"))
	}
	for name, vlan := range map[string]int{"plain": 0, "ten": 10, "ten2": 10, "twenty": 20, "trunk": 12} {
		lan.send(t, frame(macs[name], lanMAC, vlan, "end"))
	}
	stations["plain"].send(t, frame(broadcast, macs["plain"], 0, "end"))
	for name, want := range map[string][]string{
		"plain":  nil,
		"ten":    {"from ten2", "from trunk"},
		"ten2":   {"from ten", "from trunk"},
		"twenty": {"from trunk"},
		"trunk":  {"from ten in VLAN 10", "from ten2 in VLAN 10", "from twenty in VLAN 20"},
	} {
		got := heard(t, stations[name])
		slices.Sort(got)
		t.Log(name)
		expect(t, got, want...)
	}
	got := heard(t, lan)
	slices.Sort(got)
	expect(t, got, "from plain", "from ten in VLAN 10", "from ten2 in VLAN 10", "from trunk in VLAN 10", "from trunk in VLAN 12", "from trunk in VLAN 20", "from twenty in VLAN 20")
	// With guests on it, the bridge does not change its mind.
	want[0].VLANFiltering = false
	var busy *netbridge.PortsError
	if _, err := netbridge.Ensure(t.Context(), w, want); !errors.As(err, &busy) || len(busy.Ports) != 5 {
		t.Errorf("switched off under guests: %v", err)
	}
}

func TestATAPWithAVLANIsRefusedByABridgeThatKnowsNone(t *testing.T) {
	w := withBridge(t, 1500)
	tap := olorin(1)
	tap.VLAN = 10
	var no *netbridge.NoVLANsError
	if _, err := w.OpenTAP(t.Context(), tap); !errors.As(err, &no) || no.Hint() == "" {
		t.Errorf("error %v, want a NoVLANsError", err)
	}
	if got := w.names(t); got != "lo br0" {
		t.Errorf("left %s", got)
	}
}
