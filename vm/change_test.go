package vm

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"kvmctl/internal/units"
)

func lines(changes []Change) (all []string) {
	for _, c := range changes {
		all = append(all, strings.TrimSpace(fmt.Sprintf("%s: %q %q %q %s %s", c.Key, c.File, c.Started, c.Live, c.When, c.Reason)))
	}
	return all
}

// started is a guest with a bit of everything.
func startedSpec() *Spec {
	s := withDisks(virtioDisk("/a"), Disk{Image: "/s", Bus: BusSCSI})
	s.NICs = []NIC{card("br0"), card("br1")}
	s.CDROMs = []CDROM{{Image: "/iso"}}
	s.VNC.Enabled, s.VNC.Auto, s.VNC.PasswordFile = true, true, "/pw"
	return s
}

func TestEachChangeSaysWhenItComes(t *testing.T) {
	for _, tt := range []struct {
		name   string
		change func(file *Spec, live *Running, rec *Record)
		want   []string
	}{
		{"nothing", func(*Spec, *Running, *Record) {}, nil},
		{"what kvmctl alone looks at", func(f *Spec, _ *Running, _ *Record) {
			f.Description, f.Autostart, f.Order, f.Hooks.PreStart = "x", true, 3, "/x"
		}, nil},
		{"memory", func(f *Spec, _ *Running, _ *Record) { f.Memory, f.MemoryMax = units.GiB, 4*units.GiB }, []string{`memory: "1G" "512M" "512M" now`}},
		{"memory that was applied", func(f *Spec, l *Running, _ *Record) {
			f.Memory, f.MemoryMax, l.Plugged = units.GiB, 4*units.GiB, 512*units.MiB
		}, []string{`memory: "1G" "512M" "1G" done`}},
		{"memory that the guest does not see", func(f *Spec, l *Running, r *Record) {
			f.Memory, f.MemoryMax, l.Plugged, r.Unseen = units.GiB, 4*units.GiB, 512*units.MiB, []string{"memory"}
		}, []string{`memory: "1G" "512M" "1G" guest added, not seen by the guest`}},
		{"memory beyond this run", func(f *Spec, _ *Running, _ *Record) { f.Memory, f.MemoryMax = 3*units.GiB, 12*units.GiB },
			[]string{`memory: "3G" "512M" "512M" next start this run can grow to 2G: memory_max`}},
		{"odd memory", func(f *Spec, _ *Running, _ *Record) {
			f.Memory, f.MemoryMax = 513*units.MiB, DefaultMemoryMax(513*units.MiB)
		}, []string{`memory: "513M" "512M" "512M" next start while it runs it grows from 512M in steps of 2M`}},
		{"memory beyond this run's limit", func(f *Spec, _ *Running, r *Record) {
			f.Memory, f.MemoryMax, r.Limit = units.GiB, 4*units.GiB, 1279*units.MiB
		}, []string{`memory: "1G" "512M" "512M" next start the kernel kills this run when it needs more than 1279M: limits.memory`}},
		{"memory within it", func(f *Spec, _ *Running, r *Record) {
			f.Memory, f.MemoryMax, r.Limit = units.GiB, 4*units.GiB, 1280*units.MiB
		}, []string{`memory: "1G" "512M" "512M" now`}},
		{"less memory", func(f *Spec, _ *Running, _ *Record) { f.Memory, f.MemoryMax = 256*units.MiB, units.GiB }, []string{`memory: "256M" "512M" "512M" now`}},
		{"headroom", func(f *Spec, _ *Running, _ *Record) { f.MemoryMax, f.CPUsMax = 3*units.GiB, 7 },
			[]string{`memory_max: "3G" "2G" "2G" next start fixed while it runs`, `cpus_max: "7" "2" "2" next start fixed while it runs`}},
		{"CPUs", func(f *Spec, _ *Running, _ *Record) { f.CPUs, f.CPUsMax = 2, 4 }, []string{`cpus: "2" "1" "1" now`}},
		{"more CPUs than sockets", func(f *Spec, _ *Running, _ *Record) { f.CPUs, f.CPUsMax = 3, 6 },
			[]string{`cpus: "3" "1" "1" next start this run can have 2: cpus_max`}},
		{"the machine", func(f *Spec, _ *Running, _ *Record) { f.Machine = "pc" },
			[]string{`machine: "pc" "q35" "q35" next start the guest keeps pc-q35-7.2: kvmctl upgrade-machine vm-olorin`}},
		{"a password", func(f *Spec, l *Running, _ *Record) { f.VNC.PasswordFile, l.VNC, l.VNCPassword = "/new", true, true },
			[]string{`vnc.password_file: "/new" "/pw" "/pw" now`}},
		{"a password where none is asked for", func(f *Spec, l *Running, _ *Record) { f.VNC.PasswordFile, l.VNC = "/new", true },
			[]string{`vnc.password_file: "/new" "/pw" "/pw" next start whether a password is asked for is fixed while it runs`}},
		{"new disks", func(f *Spec, _ *Running, _ *Record) {
			f.Disks = append(f.Disks, virtioDisk("/b"), Disk{Image: "/t", Bus: BusSCSI}, Disk{Image: "/u", Bus: BusSATA})
		}, []string{`disk.2: "/b" "" "" now`, `disk.3: "/t" "" "" now`,
			`disk.4: "/u" "" "" next start SATA knows no hotplug here: bus = "virtio" or "scsi" does`}},
		{"a SCSI disk without a controller", func(f *Spec, l *Running, _ *Record) {
			f.Disks, l.SCSI = append(f.Disks, Disk{Image: "/t", Bus: BusSCSI}), false
		}, []string{`disk.2: "/t" "" "" next start the guest was started without a SCSI controller: bus = "virtio" needs none`}},
		{"disks that go", func(f *Spec, _ *Running, _ *Record) { f.Disks = nil },
			[]string{`disk: "" "/a" "/a" next start it sits on the root bus, which has no hotplug`, `disk: "" "/s" "/s" now`}},
		{"another image", func(f *Spec, _ *Running, _ *Record) { f.Disks[0].Image = "/z" },
			[]string{`disk.0: "/z" "" "" next start the image of an attached disk is fixed while it runs`,
				`disk: "" "/a" "/a" next start it sits on the root bus, which has no hotplug`}},
		{"a disk's cache", func(f *Spec, _ *Running, _ *Record) { f.Disks[0].Cache = "none" },
			[]string{`disk.0.cache: "none" "writeback" "writeback" next start fixed while it runs`}},
		{"another disc", func(f *Spec, _ *Running, _ *Record) { f.CDROMs[0].Image = "" }, []string{`cdrom.0.image: "empty" "/iso" "/iso" now`}},
		{"another drive", func(f *Spec, _ *Running, _ *Record) { f.CDROMs = append(f.CDROMs, CDROM{}) },
			[]string{`cdrom.1.image: "empty" "" "" next start a drive comes and goes with a start`}},
		{"a new card", func(f *Spec, _ *Running, _ *Record) {
			f.NICs = append(f.NICs, card("br2"), NIC{Bridge: "br3", Model: "e1000", Queues: 1})
		},
			[]string{`nic.2: "br2" "" "" now`, `nic.3: "br3" "" "" next start only virtio cards can be added while it runs`}},
		{"a card that goes", func(f *Spec, _ *Running, _ *Record) { f.NICs = f.NICs[1:] },
			[]string{`nic: "" "br0" "br0, MAC 52:54:00:e3:b0:c4" next start it sits on the root bus, which has no hotplug`}},
		{"a card's bridge and rate", func(f *Spec, _ *Running, _ *Record) { f.NICs[1].Bridge, f.NICs[1].Rate = "br9", 8_000_000 },
			[]string{`nic.1.bridge: "br9" "br1" "br1" next start fixed while it runs`, `nic.1.rate: "8Mbit" "" "" now`}},
		{"a limit", func(f *Spec, _ *Running, _ *Record) { f.Kernel = "/k" }, []string{`kernel: "/k" "" "" next start fixed while it runs`}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := startedSpec()
			abi := mustPin(t, nil, s)
			rec, live := newRecord(s, abi), runs(abi, s)
			file := startedSpec()
			tt.change(file, live, rec)
			pinned, err := PinLive(abi, file, live)
			if err != nil {
				t.Fatal(err)
			}
			got := lines(Plan(file, &pinned, rec, live))
			for i, line := range got { // a derived address is the UUID's affair
				if k := strings.Index(line, "MAC 52:54:00:"); k >= 0 {
					got[i] = line[:k] + "MAC 52:54:00:e3:b0:c4" + line[k+21:]
				}
			}
			if d := cmp.Diff(tt.want, got); d != "" {
				t.Errorf("-want +got:\n%s", d)
			}
			// The mark of `status` tells the same: without a difference there is none, and with one there is.
			pending := false
			for _, c := range Plan(file, &pinned, rec, live) {
				pending = pending || c.When == WhenNow || c.When == WhenStart
			}
			if marked := file.Digest() != rec.Applied.Digest(); marked != pending && !strings.Contains(tt.name, "applied") && !strings.Contains(tt.name, "see") {
				t.Errorf("status would be marked: %v, and pending is %v", marked, pending)
			}
		})
	}
}

func TestAGuestThatDoesNotRunIsComparedWithItsLastStart(t *testing.T) {
	s := startedSpec()
	abi := mustPin(t, nil, s)
	file := startedSpec()
	file.Memory, file.MemoryMax = units.GiB, 4*units.GiB
	file.Disks, file.NICs = append(file.Disks[1:], virtioDisk("/b")), append(file.NICs[1:], card("br2"), card("br3"))
	pinned, err := Pin(abi, file, q35, someUUID)
	if err != nil {
		t.Fatal(err)
	}
	want := []string{`memory: "1G" "512M" "" next start`, `disk.1: "/b" "" "" next start`, `disk: "" "/a" "" next start`,
		`nic.1.bridge: "br2" "br0" "" next start`, `nic.2: "br3" "" "" next start`}
	got := lines(Plan(file, &pinned, newRecord(s, abi), nil))
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("-want +got:\n%s", d)
	}
	if got := Plan(file, &pinned, nil, nil); got != nil {
		t.Errorf("compared with nothing: %v", got)
	}
}

func TestARecordSurvivesItsFile(t *testing.T) {
	s := startedSpec()
	s.NICs[1].MAC, s.NICs[1].Rate = mac("52:54:00:00:00:09"), 1_000_000
	r := newRecord(s, mustPin(t, nil, s))
	r.Unseen = []string{"memory"}
	b, err := json.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	got, err := decodeRecord(b)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(fmt.Sprintf("%+v", r), fmt.Sprintf("%+v", got)); d != "" || got.Applied.Digest() != s.Digest() {
		t.Errorf("-want +got:\n%s", d)
	}
}

func FuzzRecord(f *testing.F) {
	s := startedSpec()
	abi, err := Pin(nil, s, q35, someUUID)
	if err != nil {
		f.Fatal(err)
	}
	b, err := json.Marshal(newRecord(s, &abi))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Add([]byte(`{"version":1,"applied_nics":[{}]}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := decodeRecord(b)
		if err != nil {
			if r != nil {
				t.Fatal("a record and an error")
			}
			return
		}
		Plan(s, &abi, r, runs(&abi, s))
		Plan(s, &abi, r, nil)
	})
}

func TestTheGuestHasToHaveEveryNewBlock(t *testing.T) {
	const block = 128 * units.MiB
	for _, tt := range []struct{ from, to, want units.Size }{
		{0, 512 * units.MiB, 512 * units.MiB}, {0, 2 * units.MiB, block}, {2 * units.MiB, 128 * units.MiB, 0},
		{2 * units.MiB, 130 * units.MiB, block}, {512 * units.MiB, 0, 0}, {0, 0, 0},
	} {
		if got := newBlocks(tt.from, tt.to, block); got != tt.want {
			t.Errorf("from %v to %v: %v, want %v", tt.from, tt.to, got, tt.want)
		}
	}
	if newBlocks(0, units.GiB, 0) != 0 {
		t.Error("blocks of no size")
	}
}
