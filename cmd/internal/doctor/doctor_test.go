package doctor

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"kvmctl/internal/units"
	"kvmctl/vm"
	"kvmctl/vm/accel"
)

var update = flag.Bool("update", false, "rewrite the golden files")

var noon = time.Date(2026, 1, 31, 12, 0, 0, 0, time.UTC)

// sound is a host on which all is well.
func sound() *Facts {
	return &Facts{
		Now: noon, QEMU: "/usr/bin/qemu-system-x86_64", UIDBase: 70000, Bridged: true,
		KVM:      KVM{Device: "/dev/kvm", Verdict: accel.Verdict{Usable: true, Cause: accel.Proved, Took: 1104 * time.Microsecond}, Module: "kvm_intel", Nested: "Y"},
		Accounts: []Account{{"/etc/passwd", "root", 0, 1}, {"/etc/subuid", "alice", 100000, 65536}},
		Limits:   Limits{OpenFiles: 1 << 20, Memory: 16 * units.GiB, CommitLimit: 8 * units.GiB},
		Guests: []Guest{
			{Name: "vm-olorin", Configured: true, State: vm.StateRunning, PID: 2850, UID: 70001, Memory: units.GiB, MACs: []string{"52:54:00:00:00:01"}, LastFact: noon},
			{Name: "vm-varda", Configured: true, State: vm.StateStopped, UID: 70002, Memory: units.GiB, Autostart: true, MACs: []string{"52:54:00:00:00:02"}},
		},
		Processes:   []Process{{2850, 70001, 'S', "qemu-system-x86", "qemu"}},
		FileSystems: []FileSystem{{"/var/lib/kvm", 100 * units.GiB, 50 * units.GiB, 20 * units.GiB, 2}},
		TAPs:        []TAP{{"kv70001.0", "kvmctl:vm-olorin:0", "vm-olorin", []int{2850}, ""}},
		Tmpfs:       []Mount{{"/run/kvm/vm-olorin/rec", "vm-olorin"}},
	}
}

// sick is a host on which nothing is well.
func sick() *Facts {
	f := sound()
	f.KVM = KVM{Device: "/dev/kvm", Verdict: accel.Verdict{Cause: accel.Slow, Took: 50134 * time.Microsecond, Reason: "every instruction is emulated"}, Module: "kvm_amd", Nested: "0"}
	f.Mistakes = 2
	f.Accounts = append(f.Accounts, Account{"/etc/passwd", "bob", 70002, 1}, Account{"/etc/subuid", "carol", 71000, 1000}, Account{"/etc/subgid", "carol", 71000, 1000})
	f.Guests = []Guest{
		{Name: "vm-a", Configured: true, State: vm.StateWedged, PID: 11, UID: 70001, MACs: []string{"52:54:00:00:00:01"}},
		{Name: "vm-b", Configured: true, State: vm.StateCrashed, Note: "QEMU ended without a word", UID: 70002, Owed: true, MACs: []string{"52:54:00:00:00:01", "52:54:00:00:00:01"}},
		{Name: "vm-c", State: vm.StateRunning, PID: 13, UID: 70003, Memory: 20 * units.GiB},
		{Name: "vm-d", Configured: true, State: vm.StateWedged, PID: 14, UID: 70003},
		{Name: "vm-e", Configured: true, State: vm.StatePaused, PID: 15, Note: "stopped on a disk error"},
		{Name: "vm-f", Configured: true, State: vm.StateStarting, PID: 16, Note: "its start was interrupted"},
		{Name: "vm-g", Configured: true, State: vm.StateWedged, PID: 17, HugePages: true, LastFact: noon.Add(2 * time.Hour)},
		{Name: "vm-h", State: vm.StateWedged, Note: "qemu.pid is a symbolic link"},
		{Name: "vm-i", Configured: true, State: vm.StateRunning, PID: 18},
		{Name: "vm-j", Configured: true, HugePages: true, Memory: units.GiB, State: vm.StateStopped},
	}
	f.Processes = []Process{{11, 70001, 'T', "qemu-system-x86", "qemu"}, {14, 70003, 'D', "qemu-system-x86", "qemu"}, {18, 0, 't', "qemu-system-x86", "qemu"},
		{20, 70001, 'S', "sleep", "sleep 9"}, {21, 70002, 'S', "qemu-system-x86", "qemu-system-x86_64 -left"},
		{22, 1000, 'S', "qemu-system-aar", "qemu-system-aarch64 -M \x1b[2Jvirt"}, {23, 1000, 'Z', "qemu-system-x86", "gone"}}
	f.Limits = Limits{OpenFiles: 1024, Memory: 16 * units.GiB, Overcommit: 2, CommitLimit: 8 * units.GiB}
	f.BridgeNF = []string{"net.bridge.bridge-nf-call-iptables"}
	f.FileSystems = []FileSystem{{"/var/lib/kvm", 100 * units.GiB, 12 * units.GiB, 80 * units.GiB, 1}, {"/srv", units.GiB, units.MiB, 0, 0}, {"/run/kvm", units.GiB, 900 * units.MiB, 0, 0}}
	f.Files = []FileFault{{"", "QEMU", "", "/usr/bin/qemu-system-x86_64", "/usr/bin/qemu-system-x86_64: no such file or directory", "apt-get install qemu-system-x86"},
		{"vm-a", "disk.0.image", "disk[0].image", "/x.qcow2", "/x.qcow2: no such file or directory", "kvmctl image create /x.qcow2 8G"}}
	f.TAPs = []TAP{{"kv70009.0", "kvmctl:vm-z:0", "vm-z", nil, ""}, {"kv70009.1", "kvmctl:vm-z:1", "vm-z", []int{99}, ""}}
	f.Bridges = []string{"br9"}
	f.Tmpfs = []Mount{{"/run/kvm/vm-z/rec", "vm-z"}}
	f.StaleLocks = []string{"/run/kvm/.vm-y.lock"}
	f.Unfinished = []string{"/var/lib/kvm/vm-a"}
	f.Unsynced = true
	return f
}

func TestFindings(t *testing.T) {
	for name, facts := range map[string]*Facts{"sound": sound(), "sick": sick()} {
		t.Run(name, func(t *testing.T) {
			all := Judge(facts)
			text := Text(all)
			var asJSON bytes.Buffer
			enc := json.NewEncoder(&asJSON)
			enc.SetIndent("", "  ")
			enc.SetEscapeHTML(false)
			if err := enc.Encode(all); err != nil {
				t.Fatal(err)
			}
			for file, got := range map[string]string{name + ".txt": text, name + ".json": asJSON.String()} {
				path := filepath.Join("testdata", file)
				if *update {
					if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
						t.Fatal(err)
					}
				}
				want, err := os.ReadFile(path)
				if err != nil {
					t.Fatal(err)
				}
				if d := cmp.Diff(string(want), got); d != "" {
					t.Errorf("%s (-want +got):\n%s", file, d)
				}
			}
			for _, f := range all {
				if f.Level.Calls() && f.Type == "" {
					t.Errorf("%s %s: nothing to type", f.Check, f.Message)
				}
				if f.Level.Calls() && name == "sound" {
					t.Errorf("%+v", f)
				}
			}
		})
	}
}

// What --fix does must not be offered where it could do harm.
func TestNothingInUseIsOfferedForRemoval(t *testing.T) {
	f := sound()
	f.TAPs[0].Holders = nil // its QEMU may have it in another namespace: the guest runs
	for _, x := range Judge(f) {
		if x.Fix != nil {
			t.Errorf("%+v", x)
		}
	}
	f.Guests[0].PID, f.Guests[0].State = 0, vm.StateStopped
	f.TAPs[0].Holders = []int{4}
	f.Tmpfs = nil
	for _, x := range Judge(f) {
		if x.Fix != nil {
			t.Errorf("%+v", x)
		}
	}
}

func TestATAPOfAnotherRootIsLeftAlone(t *testing.T) {
	f := sound()
	f.TAPs = []TAP{{Name: "kv90001.0", Alias: "kvmctl:vm-z:0", Guest: "vm-z", Holders: []int{99}, Whose: "pid 99 has it open, which runs below /srv/other"},
		{Name: "kv90002.0", Alias: "kvmctl:vm-y:0", Guest: "vm-y", Whose: "uid 90002 is none of theirs"}}
	var said []string
	for _, x := range Judge(f) {
		if x.Check == "orphans" {
			said = append(said, x.About+": "+x.Message)
		}
		if x.Fix != nil || x.Level.Calls() {
			t.Errorf("%+v", x)
		}
	}
	want := []string{"kv90001.0: a TAP of vm-z, and not of a guest of these: pid 99 has it open, which runs below /srv/other",
		"kv90002.0: a TAP of vm-y, and not of a guest of these: uid 90002 is none of theirs"}
	if diff := cmp.Diff(want, said); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestWhoseATAPIs(t *testing.T) {
	for name, want := range map[string]int{"kv70001.0": 70001, "kv70001": 0, "kvorphan0": 0, "tap1.0": 0, "kv-1.0": 0, "kv.0": 0} {
		if uid, ok := ParseTAP(name); ok != (want > 0) || ok && uid != want {
			t.Errorf("%s: %d, %t", name, uid, ok)
		}
	}
	for cmdline, want := range map[string]string{"qemu\x00-S\x00-pidfile\x00/r/run/kvm/vm-a/qemu.pid\x00": "/r/run/kvm/vm-a/qemu.pid", "qemu\x00-pidfile": "", "": ""} {
		if got := ParsePidfile(cmdline); got != want {
			t.Errorf("%q: %q", cmdline, got)
		}
	}
}

func TestAFreeUIDBaseIsFree(t *testing.T) {
	accounts := []Account{{First: 65536, Count: 10000}, {First: 90000, Count: 1}, {First: 100000, Count: 65536}}
	if got := freeBase(accounts); got != 80000 {
		t.Errorf("%d", got)
	}
	if got := freeBase(nil); got != 70000 {
		t.Errorf("%d", got)
	}
}

func TestProcFiles(t *testing.T) {
	if name, state, ok := ParseStat([]byte("12 (a) b) T 1 2\n")); name != "a) b" || state != 'T' || !ok {
		t.Error(name, state, ok)
	}
	if uid, ok := ParseUID([]byte("Name:\tx\nUid:\t70001\t0\t0\t0\n")); uid != 70001 || !ok {
		t.Error(uid, ok)
	}
	if c := ParseCommand([]byte("qemu\x00-name\x00" + strings.Repeat("é", 200))); len([]rune(c)) != maxCommand+1 {
		t.Error(c)
	}
	m := ParseMeminfo(strings.NewReader("MemTotal:       16 kB\nCommitLimit: 8 kB\nHugePages_Free:    3\nHugepagesize:       2048 kB\nMemFree: x kB\n"))
	if m != (Meminfo{16 * units.KiB, 8 * units.KiB, 6 * units.MiB}) {
		t.Error(m)
	}
	if f := ParseCPUFlags(strings.NewReader("model name : x\nflags\t\t: fpu vmx hypervisor\nflags : svm\n")); f != (CPUFlags{VMX: true, Hypervisor: true}) {
		t.Error(f)
	}
	mounts := "36 25 0:40 / /r\\040x/run/kvm/vm-a/rec rw,nosuid - tmpfs kvmctl rw,size=256k\n" +
		"37 25 0:41 / /r\\040x/run/kvm/vm-b/rec rw - tmpfs other rw\n38 25 0:42 / /elsewhere rw - tmpfs kvmctl rw\n39 1 -\n"
	if d := cmp.Diff([]Mount{{"/r x/run/kvm/vm-a/rec", "vm-a"}}, ParseTmpfs(strings.NewReader(mounts), "/r x/run/kvm")); d != "" {
		t.Error(d)
	}
	if n := ParseTUN([]byte("pos:\t0\niff:\tkv70001.0\n")); n != "kv70001.0" {
		t.Error(n)
	}
	got := ParseAccounts("/etc/subuid", strings.NewReader("alice:100000:65536\n# no\nbad\nbob:x:1\ncarol:5:0\nd:4294967296:1\n"), 1, 2)
	if d := cmp.Diff([]Account{{"/etc/subuid", "alice", 100000, 65536}}, got); d != "" {
		t.Error(d)
	}
}

// FuzzProcFiles: whatever a file says, what comes out of it is within bounds.
func FuzzProcFiles(f *testing.F) {
	f.Add([]byte("12 (a) S 1"))
	f.Add([]byte("36 25 0:40 / /run/kvm/vm-a/rec rw - tmpfs kvmctl rw\nalice:100000:65536\nHugePages_Free: 99999999999\nHugepagesize: 99999999 kB\nUid:\t-1"))
	f.Fuzz(func(t *testing.T, b []byte) {
		if name, _, ok := ParseStat(b); ok && len(name) > len(b) {
			t.Fatal(name)
		}
		if uid, ok := ParseUID(b); uid < 0 || !ok && uid != 0 {
			t.Fatal(uid)
		}
		if c := ParseCommand(b); len([]rune(c)) > maxCommand+1 {
			t.Fatal(c)
		}
		if m := ParseMeminfo(bytes.NewReader(b)); m.Total < 0 || m.CommitLimit < 0 || m.HugeFree < 0 {
			t.Fatal(m)
		}
		ParseCPUFlags(bytes.NewReader(b))
		ParseTUN(b)
		for _, m := range ParseTmpfs(bytes.NewReader(b), "/run/kvm") {
			if m.Guest == "" || strings.Contains(m.Guest, "/") || !strings.HasPrefix(m.Point, "/run/kvm/"+m.Guest+"/") {
				t.Fatalf("%+v", m)
			}
		}
		for _, a := range ParseAccounts("x", bytes.NewReader(b), 1, 2) {
			if a.First < 0 || a.Count < 1 || a.First+a.Count < 0 {
				t.Fatalf("%+v", a)
			}
		}
	})
}
