package vm

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"kvmctl/internal/units"
)

const (
	someUUID = "0b6c1b9e-8c9b-4b1e-9d0a-0123456789ab"
	q35      = "pc-q35-7.2"
)

func virtioDisk(image string) Disk {
	return Disk{Image: image, Format: "raw", Bus: BusVirtio, Cache: "writeback"}
}

func withDisks(disks ...Disk) *Spec {
	s := plainSpec("vm-olorin")
	s.Disks = disks
	return s
}

func mustPin(t *testing.T, old *ABI, s *Spec) *ABI {
	t.Helper()
	a, err := Pin(old, s, q35, someUUID)
	if err != nil {
		t.Fatal(err)
	}
	return &a
}

func slots(a *ABI, s *Spec) map[string]int {
	m := map[string]int{}
	for _, d := range s.Disks {
		m[d.Image] = a.diskOf(d).Slot
	}
	return m
}

func TestTheFirstStartPinsEverything(t *testing.T) {
	s := withDisks(virtioDisk("/a"), Disk{Image: "/b", Bus: BusSCSI}, Disk{Image: "/c", Bus: BusSATA})
	s.NICs = []NIC{{Model: "virtio", Queues: 1}, {Model: "e1000", Queues: 1, MAC: mac("52:54:00:00:00:01")}}
	want := &ABI{Version: 1, UUID: someUUID, Machine: q35, Headers: []string{"kvmctl", "Virtual Machine"},
		Memory: 2 * units.GiB, CPUs: 2,
		NICs: []ABINIC{{MAC: units.DeriveMAC(someUUID, "0"), Slot: 8}, {MAC: mac("52:54:00:00:00:01"), Slot: 9}},
		Disks: []ABIDisk{{Image: "/a", Bus: BusVirtio, Slot: 0x10, Serial: "disk0"}, {Image: "/b", Bus: BusSCSI, Serial: "disk1"},
			{Image: "/c", Bus: BusSATA, Serial: "disk2"}}}
	if d := cmp.Diff(want, mustPin(t, nil, s)); d != "" {
		t.Error(d)
	}
}

func TestWhatIsPinnedStays(t *testing.T) {
	a, b, c := virtioDisk("/a"), virtioDisk("/b"), virtioDisk("/c")
	first := mustPin(t, nil, withDisks(a, b))
	for _, tt := range []struct {
		name  string
		disks []Disk
		want  map[string]int
	}{
		{"nothing changed", []Disk{a, b}, map[string]int{"/a": 0x10, "/b": 0x11}},
		{"the other way round", []Disk{b, a}, map[string]int{"/a": 0x10, "/b": 0x11}},
		{"one added behind", []Disk{a, b, c}, map[string]int{"/a": 0x10, "/b": 0x11, "/c": 0x12}},
		{"one added in front", []Disk{c, a, b}, map[string]int{"/a": 0x10, "/b": 0x11, "/c": 0x12}},
		{"the first removed", []Disk{b}, map[string]int{"/b": 0x11}},
		{"one renamed", []Disk{a, virtioDisk("/moved/b")}, map[string]int{"/a": 0x10, "/moved/b": 0x11}},
		{"one on another bus", []Disk{a, {Image: "/b", Bus: BusSCSI}}, map[string]int{"/a": 0x10, "/b": 0}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := withDisks(tt.disks...)
			again := mustPin(t, first, s)
			if d := cmp.Diff(tt.want, slots(again, s)); d != "" {
				t.Error(d)
			}
			if again.UUID != first.UUID || again.Machine != first.Machine {
				t.Errorf("uuid or machine changed: %+v", again)
			}
		})
	}
}

func TestADiskThatComesBackFindsItsPlace(t *testing.T) {
	a, b, c := virtioDisk("/a"), virtioDisk("/b"), virtioDisk("/c")
	abi := mustPin(t, nil, withDisks(a, b))
	abi = mustPin(t, abi, withDisks(a))
	abi = mustPin(t, abi, withDisks(a, b, c))
	if d := cmp.Diff(map[string]int{"/a": 0x10, "/b": 0x11, "/c": 0x12}, slots(abi, withDisks(a, b, c))); d != "" {
		t.Error(d)
	}
}

func TestAnotherQEMUOrUUIDChangesNothing(t *testing.T) {
	first := mustPin(t, nil, withDisks(virtioDisk("/a")))
	again, err := Pin(first, withDisks(virtioDisk("/a")), "pc-q35-99.0", "another")
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(first, &again); d != "" {
		t.Error(d)
	}
	s := withDisks(virtioDisk("/a"))
	s.Machine = "pc-q35-9.1" // the admin's word counts
	if again, err = Pin(first, s, q35, "x"); err != nil || again.Machine != "pc-q35-9.1" {
		t.Errorf("machine %q, %v", again.Machine, err)
	}
}

func TestHeadroomGrowsAndNeverShrinks(t *testing.T) {
	s := plainSpec("vm-olorin")
	first := mustPin(t, nil, s)
	s.MemoryMax, s.CPUsMax = 4*units.GiB, 8
	grown := mustPin(t, first, s)
	if grown.Memory != 4*units.GiB || grown.CPUs != 8 {
		t.Errorf("%v, %d", grown.Memory, grown.CPUs)
	}
	s.MemoryMax, s.CPUsMax = units.GiB, 1
	if again := mustPin(t, grown, s); again.Memory != 4*units.GiB || again.CPUs != 8 {
		t.Errorf("%v, %d", again.Memory, again.CPUs)
	}
}

func TestAMACOfTheAdminsReplacesTheDerivedOne(t *testing.T) {
	s := plainSpec("vm-olorin")
	s.NICs = []NIC{{Model: "virtio", Queues: 1}}
	first := mustPin(t, nil, s)
	s.NICs[0].MAC = mac("52:54:00:aa:bb:cc")
	second := mustPin(t, first, s)
	if second.NICs[0] != (ABINIC{MAC: mac("52:54:00:aa:bb:cc"), Slot: 8}) {
		t.Errorf("%+v", second.NICs)
	}
	if first.NICs[0].MAC == second.NICs[0].MAC {
		t.Error("the old lock was changed in place")
	}
}

func TestFullBuses(t *testing.T) {
	many := func(n int, bus DiskBus) (all []Disk) {
		for i := range n {
			all = append(all, Disk{Image: fmt.Sprintf("/%d", i), Bus: bus})
		}
		return all
	}
	nics := func(n int) *Spec {
		s := plainSpec("x")
		s.NICs = make([]NIC, n)
		return s
	}
	cds := func(s *Spec, n int) *Spec { s.CDROMs = make([]CDROM, n); return s }
	pc := func(s *Spec) *Spec { s.Machine = "pc-i440fx-7.2"; return s }
	for _, tt := range []struct {
		name string
		spec *Spec
		want string // "": fits
	}{
		{"as many virtio disks as there are slots", withDisks(many(11, BusVirtio)...), ""},
		{"one virtio disk more", withDisks(many(12, BusVirtio)...), `disk 11: no place is left on bus "virtio" (11 at most); another bus may have one`},
		{"as many SCSI targets as we hand out", withDisks(many(64, BusSCSI)...), ""},
		{"one SCSI disk more", withDisks(many(65, BusSCSI)...), `disk 64: no place is left on bus "scsi" (64 at most); another bus may have one`},
		{"all ports of AHCI", cds(withDisks(many(4, BusSATA)...), 2), ""},
		{"one SATA disk more", cds(withDisks(many(5, BusSATA)...), 2), `disk 4: no place is left on bus "sata" (4 at most); another bus may have one`},
		{"one IDE disk more", pc(cds(withDisks(many(3, BusSATA)...), 2)), `disk 2: no place is left on bus "sata" (2 at most); another bus may have one`},
		{"drives alone", cds(plainSpec("x"), 6), ""},
		{"one drive more", cds(plainSpec("x"), 7), "7 CD drives: at most 6"},
		{"one IDE drive more", pc(cds(plainSpec("x"), 5)), "5 CD drives: at most 4"},
		{"eight cards", nics(8), ""},
		{"nine cards", nics(9), "nic 8: at most 8 network cards"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := Pin(nil, tt.spec, q35, someUUID)
			if got := errText(err); got != tt.want {
				t.Errorf("got  %q\nwant %q", got, tt.want)
			}
		})
	}
}

func errText(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

func TestANewCDDriveDoesNotPushADiskFromItsPort(t *testing.T) {
	var disks []Disk
	for i := range 6 {
		disks = append(disks, Disk{Image: fmt.Sprintf("/%d", i), Bus: BusSATA})
	}
	first := mustPin(t, nil, withDisks(disks...))
	s := withDisks(disks[0], disks[5])
	s.CDROMs = []CDROM{{}}
	_, err := Pin(first, s, q35, someUUID)
	const want = "disk 1: its place on bus \"sata\" is the CD drive's; another bus may have one"
	if errText(err) != want {
		t.Errorf("got  %q\nwant %q", errText(err), want)
	}
	s.Disks = s.Disks[:1] // the disk that is gone needs no port
	if _, err := Pin(first, s, q35, someUUID); err != nil {
		t.Error(err)
	}
}

// Through any history of a guest's vm.toml: no two devices share a place, what was there keeps its place, and cards keep theirs
// whatever happens to disks.
func TestPlacesNeverClashNorMove(t *testing.T) {
	for seed := range uint64(300) {
		r := rand.New(rand.NewPCG(seed, 1))
		var abi *ABI
		var before *Spec
		for range 12 {
			s := plainSpec("x")
			for _, i := range r.Perm(12)[:r.IntN(6)] {
				s.Disks = append(s.Disks, Disk{Image: fmt.Sprintf("/%d", i), Bus: []DiskBus{BusVirtio, BusSCSI}[i%2]})
			}
			s.NICs = make([]NIC, r.IntN(5))
			next, err := Pin(abi, s, q35, someUUID)
			if err != nil {
				if strings.Contains(err.Error(), "no place is left") {
					continue // places of disks that are gone are kept
				}
				t.Fatalf("seed %d: %v", seed, err)
			}
			used := map[string]string{}
			for _, d := range next.Disks {
				at := fmt.Sprintf("%s %d", d.Bus, d.Slot)
				if used[at] != "" {
					t.Fatalf("seed %d: %s and %s are both at %s", seed, used[at], d.Image, at)
				}
				used[at] = d.Image
			}
			if abi != nil {
				for i := range abi.NICs {
					if next.NICs[i].MAC != abi.NICs[i].MAC || next.NICs[i].Slot != abi.NICs[i].Slot {
						t.Fatalf("seed %d: card %d moved: %+v, %+v", seed, i, abi.NICs[i], next.NICs[i])
					}
				}
				for _, d := range s.Disks {
					for _, was := range before.Disks {
						if was == d && abi.diskOf(d) != next.diskOf(d) {
							t.Fatalf("seed %d: %s moved", seed, d.Image)
						}
					}
				}
			}
			abi, before = &next, s
		}
	}
}

func TestABadABILockIsRefused(t *testing.T) {
	good := *mustPin(t, nil, withDisks(virtioDisk("/a")))
	good.UID = 7
	good.NICs = []ABINIC{{MAC: mac("52:54:00:00:00:01"), Slot: slotNIC}}
	change := func(f func(*ABI)) string {
		a := good
		a.NICs, a.Disks = append([]ABINIC{}, good.NICs...), append([]ABIDisk{}, good.Disks...)
		f(&a)
		b, err := json.Marshal(a)
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	path := filepath.Join(t.TempDir(), "abi.lock")
	for _, tt := range []struct{ name, content, want string }{
		{"good", change(func(*ABI) {}), ""},
		{"not JSON", "hello", "invalid character 'h' looking for beginning of value"},
		{"cut", change(func(*ABI) {})[:50], "unexpected end of JSON input"},
		{"an unknown version", change(func(a *ABI) { a.Version = 2 }), "version 2 is not one that this kvmctl knows"},
		{"no version", `{}`, "version 0 is not one that this kvmctl knows"},
		{"no uid", change(func(a *ABI) { a.UID = 0 }), "uuid, uid_number or machine is missing"},
		{"no uuid", change(func(a *ABI) { a.UUID = "" }), "uuid, uid_number or machine is missing"},
		{"no machine", change(func(a *ABI) { a.Machine = "" }), "uuid, uid_number or machine is missing"},
		{"one SMBIOS string", change(func(a *ABI) { a.Headers = a.Headers[:1] }), "smbios: want manufacturer and product"},
		{"a card on a disk's slot", change(func(a *ABI) { a.NICs[0].Slot = slotDisk }), "nic 0: no card sits at slot 16"},
		{"a card without a MAC", strings.Replace(change(func(*ABI) {}), `"mac":"52:54:00:00:00:01",`, "", 1), "nic 0: no mac"},
		{"two cards at one slot", change(func(a *ABI) { a.NICs = append(a.NICs, a.NICs[0]) }), "nic 1: no card sits at slot 8"},
		{"a disk on a card's slot", change(func(a *ABI) { a.Disks[0].Slot = slotNIC }), `disk "/a": no virtio disk sits at 8`},
		{"two disks at one slot", change(func(a *ABI) { a.Disks = append(a.Disks, ABIDisk{Image: "/b", Bus: BusVirtio, Slot: 0x10}) }), `disk "/b": no virtio disk sits at 16`},
		{"a disk on no bus", change(func(a *ABI) { a.Disks[0].Bus = "floppy" }), `disk "/a": no floppy disk sits at 16`},
		{"huge", `{"x":"` + strings.Repeat("a", maxABI) + `"}`, "it is larger than 262144 bytes"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if err := os.WriteFile(path, []byte(tt.content), 0o600); err != nil {
				t.Fatal(err)
			}
			_, err := LoadABI(path)
			want := tt.want
			if want != "" {
				want = "read " + path + ": " + want
			}
			if errText(err) != want {
				t.Errorf("got  %q\nwant %q", errText(err), want)
			}
		})
	}
	if _, err := LoadABI(path + ".none"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("no lock: %v", err)
	}
}

func TestTheABILockIsWrittenOnlyWhenItChanges(t *testing.T) {
	path := filepath.Join(t.TempDir(), "abi.lock")
	a := *mustPin(t, nil, withDisks(virtioDisk("/a")))
	a.UID = 3
	if err := saveABI(path, nil, a); err != nil {
		t.Fatal(err)
	}
	before, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	old, err := LoadABI(path)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(&a, old); d != "" {
		t.Errorf("there and back: %s", d)
	}
	if err := saveABI(path, old, *mustPin(t, old, withDisks(virtioDisk("/a")))); err != nil {
		t.Fatal(err)
	}
	after, err := os.Stat(path)
	if err != nil || !os.SameFile(before, after) {
		t.Errorf("the same lock was written anew: %v", err)
	}
}

// Whatever stands in a lock: it is refused, or gives a command line without a panic, with all places in range.
func FuzzLoadABI(f *testing.F) {
	a := ABI{Version: 1, UUID: someUUID, UID: 1, Machine: q35, Headers: []string{"a", "b"}, NICs: []ABINIC{{MAC: mac("52:54:00:00:00:01"), Slot: 8}},
		Disks: []ABIDisk{{Image: "/a", Bus: BusVirtio, Slot: 0x10}}}
	good, err := json.Marshal(a)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good)
	f.Add([]byte(`{"version":1,"uuid":"x","uid_number":1,"machine":"pc","smbios":["",""],"disks":[{"bus":"sata","slot":5}]}`))
	f.Add([]byte("{}"))
	path := filepath.Join(f.TempDir(), "abi.lock")
	f.Fuzz(func(t *testing.T, b []byte) {
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
		old, err := LoadABI(path)
		if err != nil {
			return
		}
		s := withDisks(virtioDisk("/a"), Disk{Image: "/b", Bus: BusSATA}, Disk{Image: "/c", Bus: BusSCSI})
		s.NICs, s.CDROMs = []NIC{{Model: "virtio", Queues: 2}, {Model: "e1000", Queues: 1}}, []CDROM{{}}
		abi, err := Pin(old, s, q35, someUUID)
		if err != nil {
			return
		}
		argv := Args(s, &abi, Wire(s, [][]Layer{{{"/a", "raw"}}, {{"/b", "raw"}}, {{"/c", "raw"}}}), Target{QEMU: "q", Accel: AccelTCG, Pidfile: "p"})
		for _, a := range argv {
			if strings.Contains(a, "addr=0x-") || strings.Contains(a, "ide.-") {
				t.Errorf("a place out of range: %s", a)
			}
		}
	})
}
