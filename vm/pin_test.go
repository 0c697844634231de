package vm

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"kvmctl/internal/units"
)

// places gives slot and port of a spec's cards and disks, in order.
func places(a ABI, s *Spec) (all [][2]int) {
	for _, n := range a.NICs[:len(s.NICs)] {
		all = append(all, [2]int{n.Slot, n.Port})
	}
	for _, d := range s.Disks {
		x := a.diskOf(d)
		all = append(all, [2]int{x.Slot, x.Port})
	}
	return all
}

// runs is a guest that runs with all that its spec has.
func runs(a *ABI, s *Spec) *Running {
	r := &Running{Base: s.Memory, Balloon: s.Memory, Growth: s.MemoryMax - s.Memory}
	for i := range s.CPUsMax {
		c := CPU{}
		if i < s.CPUs {
			c.Path = "/machine/unattached"
		}
		r.CPUs = append(r.CPUs, c)
	}
	for i, n := range a.NICs[:len(s.NICs)] {
		r.Cards = append(r.Cards, RunningCard{ID: "nic" + string(rune('0'+i)), MAC: n.MAC, Slot: n.Slot, Port: n.Port})
		r.Ports = append(r.Ports, n.Port)
	}
	for i, d := range s.Disks {
		x := a.diskOf(d)
		r.Disks = append(r.Disks, RunningDisk{ID: "disk" + string(rune('0'+i)), Image: d.Image, Port: x.Port, SCSI: d.Bus == BusSCSI})
		r.Ports = append(r.Ports, x.Port)
		r.SCSI = r.SCSI || d.Bus == BusSCSI
	}
	for i, c := range s.CDROMs {
		r.CDROMs = append(r.CDROMs, RunningCD{ID: "cd" + string(rune('0'+i)), Image: c.Image})
	}
	return r
}

func card(bridge string) NIC { return NIC{Bridge: bridge, Model: "virtio", Queues: 1} }

func TestWhatComesWhileTheGuestRunsStaysWhereItCame(t *testing.T) {
	s := withDisks(virtioDisk("/a"))
	s.NICs = []NIC{card("br0")}
	first := mustPin(t, nil, s)
	live := runs(first, s)

	more := withDisks(virtioDisk("/new"), virtioDisk("/a"), Disk{Image: "/s", Bus: BusSCSI})
	more.NICs = []NIC{card("br1"), card("br0")}
	got, err := PinLive(first, more, live)
	if err != nil {
		t.Fatal(err)
	}
	want := [][2]int{{0, 1}, {8, 0}, {0, 2}, {0x10, 0}, {0, 0}}
	if d := cmp.Diff(want, places(got, more)); d != "" {
		t.Errorf("while it runs: %s", d)
	}
	if d := cmp.Diff(places(got, more), places(*mustPin(t, &got, more), more)); d != "" {
		t.Errorf("at the next start: %s", d)
	}
	if err := func() error { got.UID = 1; return got.check() }(); err != nil {
		t.Errorf("the lock is refused: %v", err)
	}
	if got.NICs[1].MAC != first.NICs[0].MAC || got.NICs[0].MAC == got.NICs[1].MAC {
		t.Errorf("MAC addresses: %+v, before %+v", got.NICs, first.NICs)
	}
	if got.diskOf(more.Disks[0]).Serial != "disk1" || got.diskOf(more.Disks[1]).Serial != "disk0" {
		t.Errorf("serials: %+v", got.Disks)
	}
}

func TestTheNinthDeviceFindsNoPort(t *testing.T) {
	s := withDisks()
	first := mustPin(t, nil, s)
	live := runs(first, s)
	for _, image := range []string{"/1", "/2", "/3", "/4", "/5", "/6", "/7", "/8"} {
		s.Disks = append(s.Disks, virtioDisk(image))
	}
	full, err := PinLive(first, s, live)
	if err != nil {
		t.Fatal(err)
	}
	s.NICs = []NIC{card("br0")}
	_, err = PinLive(&full, s, live)
	if e := new(NoPortError); !errors.As(err, &e) || err.Error() != "nic 0: all 8 root ports are in use" {
		t.Errorf("got %v", err)
	}
	s.Disks = slices.Delete(s.Disks, 2, 3) // one that is gone makes room
	got, err := PinLive(&full, s, live)
	if err != nil || got.NICs[0].Port != 3 {
		t.Errorf("%+v, %v", got.NICs, err)
	}
	live.Ports = []int{3} // but not before the guest has let go of it
	if _, err := PinLive(&full, s, live); err == nil {
		t.Error("a port that is in use was given")
	}
}

func TestCardsKeepTheirAddressesWhicheverGoes(t *testing.T) {
	path := filepath.Join(t.TempDir(), "var/lib/kvm/vm-a/abi.lock")
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	h := &Host{Layout: Layout{Root: filepath.Dir(filepath.Dir(filepath.Dir(filepath.Dir(filepath.Dir(path)))))}}
	for _, tt := range []struct {
		name    string
		nics    []NIC // before
		removed []int
		after   []NIC
		want    []int // index before; -1: new
		killed  int   // 0: not; 1: before vm.toml is written; 2: behind it
	}{
		{name: "the first of two alike", nics: []NIC{card("br0"), card("br0")}, removed: []int{0}, after: []NIC{card("br0")}, want: []int{1}},
		{name: "killed before vm.toml is written", nics: []NIC{card("br0"), card("br0")}, removed: []int{0}, after: []NIC{card("br0"), card("br0")}, want: []int{0, 1}, killed: 1},
		{name: "killed behind it", nics: []NIC{card("br0"), card("br0")}, removed: []int{0}, after: []NIC{card("br0")}, want: []int{1}, killed: 2},
		{name: "one goes, one comes", nics: []NIC{card("br0"), card("br0")}, removed: []int{0}, after: []NIC{card("br0"), card("br7")}, want: []int{1, -1}},
		{name: "two of three", nics: []NIC{card("br0"), card("br1"), card("br0")}, removed: []int{0, 1}, after: []NIC{card("br0")}, want: []int{2}},
		{name: "an editor takes the first of two", nics: []NIC{card("br0"), card("br1")}, after: []NIC{card("br1")}, want: []int{1}},
		{name: "an editor adds one in front", nics: []NIC{card("br0")}, after: []NIC{card("br1"), card("br0")}, want: []int{-1, 0}},
		{name: "an editor moves one to another bridge", nics: []NIC{card("br0"), card("br1")}, after: []NIC{card("br2"), card("br1")}, want: []int{0, 1}},
		{name: "the MAC tells", nics: []NIC{{MAC: mac("52:54:00:00:00:01")}, {MAC: mac("52:54:00:00:00:02")}}, after: []NIC{{MAC: mac("52:54:00:00:00:02")}}, want: []int{1}},
	} {
		s := plainSpec("vm-a")
		s.NICs = tt.nics
		first := *mustPin(t, nil, s)
		first.UID = 1
		if err := saveABI(path, nil, first); err != nil {
			t.Fatal(err)
		}
		if len(tt.removed) > 0 {
			func() {
				defer func() { _ = recover() }()
				err := h.RemoveCards("vm-a", len(tt.nics), tt.removed, func() error {
					if tt.killed > 0 {
						panic("killed") // what comes behind is not done
					}
					return nil
				})
				if err != nil {
					t.Fatal(err)
				}
			}()
		}
		abi, err := LoadABI(path)
		if err != nil {
			t.Fatal(err)
		}
		s.NICs = tt.after
		got := mustPin(t, abi, s)
		for i, w := range tt.want {
			same := w >= 0 && got.NICs[i].Slot == first.NICs[max(0, w)].Slot && got.NICs[i].MAC == first.NICs[max(0, w)].MAC
			known := slices.ContainsFunc(first.NICs, func(n ABINIC) bool { return n.MAC == got.NICs[i].MAC || n.Slot == got.NICs[i].Slot })
			if w >= 0 && !same || w < 0 && known {
				t.Errorf("%s: card %d is %+v, want what was %d of %+v", tt.name, i, got.NICs[i], w, first.NICs)
			}
		}
	}
}

func TestAFileThatCannotBeWrittenLeavesTheCardsAsTheyWere(t *testing.T) {
	root := t.TempDir()
	h := &Host{Layout: Layout{Root: root}}
	path := h.ABILock("vm-a")
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	s := plainSpec("vm-a")
	s.NICs = []NIC{card("br0"), card("br0")}
	first := *mustPin(t, nil, s)
	first.UID = 1
	if err := saveABI(path, nil, first); err != nil {
		t.Fatal(err)
	}
	full := errors.New("no space left on device")
	if err := h.RemoveCards("vm-a", 2, []int{0}, func() error { return full }); !errors.Is(err, full) {
		t.Fatal(err)
	}
	abi, err := LoadABI(path)
	if d := cmp.Diff(&first, abi); d != "" || err != nil {
		t.Errorf("%v %s", err, d)
	}
}

func TestDevicesAreDescribedToQMPAsToTheCommandLine(t *testing.T) {
	s := withDisks(Disk{Image: "/a,b", Bus: BusVirtio, Cache: "writeback"}, Disk{Image: "/s", Bus: BusSCSI, Cache: "writethrough"})
	s.NICs = []NIC{{Bridge: "br0", Model: "virtio", Queues: 2}}
	abi := mustPin(t, nil, s)
	abi.NICs[0] = ABINIC{MAC: units.MAC{0x52, 0x54, 0, 0, 0, 1}, Port: 3}
	w := &Wiring{fds: map[string]string{fdNIC(4, 0): "nic4.0", fdNIC(4, 1): "nic4.1"}}
	b := &builder{spec: s, abi: abi, w: w}
	tests := []struct {
		name      string
		got, want map[string]any
	}{
		{"virtio-blk", deviceArgs(b.diskDeviceAs("disk7", s.Disks[0], "disk7.0")), map[string]any{"driver": "virtio-blk-pci", "id": "disk7",
			"drive": "disk7.0", "bus": "pcie.0", "addr": "0x10", "serial": "disk0", "write-cache": "on"}},
		{"scsi", deviceArgs(b.diskDeviceAs("disk8", s.Disks[1], "disk8.0")), map[string]any{"driver": "scsi-hd", "id": "disk8",
			"drive": "disk8.0", "bus": "scsi0.0", "scsi-id": 0, "serial": "disk1", "write-cache": "off"}},
		{"card", deviceArgs(b.card(4, s.NICs[0], abi.NICs[0])), map[string]any{"driver": "virtio-net-pci", "id": "nic4", "netdev": "net4",
			"mac": "52:54:00:00:00:01", "bus": "port2", "mq": true, "vectors": 6, "romfile": ""}},
		{"TAP", netdevArgs(b.netdev(4, s.NICs[0])), map[string]any{"type": "tap", "id": "net4", "fds": "nic4.0:nic4.1"}},
		{"a comma", deviceArgs(newOpt("x").set("serial", "a,b=c")), map[string]any{"driver": "x", "serial": "a,b=c"}},
	}
	for _, tt := range tests {
		if d := cmp.Diff(tt.want, tt.got); d != "" {
			t.Errorf("%s (-want +got):\n%s", tt.name, d)
		}
	}
}
