package vm_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"kvmctl/internal/units"
	"kvmctl/vm"
	"kvmctl/vm/vmtest"
)

// bare describes a guest that costs no processor: its firmware finds nothing to boot.
func (h site) bare(name string) *vm.Spec {
	h.t.Helper()
	s := vmtest.Spec(h.t, h.Host, name)
	s.Kernel, s.Initrd, s.Cmdline = "", "", ""
	return s
}

func (h site) start(s *vm.Spec) *vm.Started { h.t.Helper(); return vmtest.Start(h.t, h.Host, s) }

// wantFail starts a guest that cannot start, compares the error and its hint, and makes sure that nothing is left.
func (h site) wantFail(s *vm.Spec, want, hint string) error {
	h.t.Helper()
	_, err := h.Start(h.within(), s)
	if errText(err) != want {
		h.t.Errorf("got  %q\nwant %q", errText(err), want)
	}
	var hinted interface{ Hint() string }
	got := ""
	if errors.As(err, &hinted) {
		got = hinted.Hint()
	}
	if got != hint {
		h.t.Errorf("hint %q\nwant %q", got, hint)
	}
	h.nothingLeft(s.Name)
	return err
}

func TestEveryKindOfGuestStarts(t *testing.T) {
	for _, tt := range []struct {
		name   string
		change func(site, *vm.Spec)
	}{
		{"with headroom", func(_ site, s *vm.Spec) { s.MemoryMax, s.CPUsMax = 4*s.Memory, 4 }},
		{"pc", func(h site, s *vm.Spec) {
			s.Machine, s.MemoryMax, s.CPUsMax = "pc", 2*s.Memory, 2
			s.Disks = []vm.Disk{{Image: h.image("raw"), Format: "raw", Bus: vm.BusSATA, Cache: "writeback"},
				{Image: h.image("qcow2"), Format: "qcow2", Bus: vm.BusVirtio, Cache: "writeback"},
				{Image: h.image("raw"), Format: "raw", Bus: vm.BusSCSI, Cache: "writeback"}}
			s.CDROMs = []vm.CDROM{{}, {Image: h.image("raw")}}
			s.NICs = []vm.NIC{{Model: "rtl8139", Queues: 1}, {Model: "e1000", Queues: 1}, {Model: "virtio", Queues: 1}}
		}},
		{"uefi", func(h site, s *vm.Spec) {
			s.Firmware = vm.FirmwareUEFI
			s.Disks = []vm.Disk{{Image: h.image("qcow2"), Format: "qcow2", Bus: vm.BusVirtio, Cache: "none", Discard: true}}
		}},
		{"every bus and cache", func(h site, s *vm.Spec) {
			base := h.image("qcow2")
			s.Disks = []vm.Disk{
				{Image: h.image("qcow2", "-b", base, "-F", "qcow2"), Format: "qcow2", Bus: vm.BusVirtio, Cache: "none", Discard: true},
				{Image: h.image("raw"), Format: "raw", Bus: vm.BusSCSI, Cache: "writethrough"},
				{Image: h.image("raw"), Format: "raw", Bus: vm.BusSATA, Cache: "unsafe", Discard: true},
				{Image: h.image("qcow2"), Format: "qcow2", Bus: vm.BusVirtio, Cache: "writeback", ReadOnly: true},
				{Image: h.image("qcow2"), Format: "qcow2", Bus: vm.BusSCSI, Cache: "writeback", ReadOnly: true},
			}
			s.CDROMs = []vm.CDROM{{Image: h.image("raw")}, {}, {}, {}}
			s.NICs = []vm.NIC{{Model: "virtio", Queues: 4}, {Model: "e1000", Queues: 1}, {Model: "rtl8139", Queues: 1}}
			s.Boot = []vm.BootDevice{vm.BootNetwork, vm.BootCDROM, vm.BootDisk}
		}},
		{"windows with an agent and a screen", func(h site, s *vm.Spec) {
			s.Guest = vm.Guest{Profile: "windows", Agent: true}
			password := filepath.Join(h.Root, "password")
			if err := os.WriteFile(password, []byte("12345678\n"), 0o600); err != nil {
				h.t.Fatal(err)
			}
			s.VNC = vm.VNC{Enabled: true, Auto: true, Listen: netip.MustParseAddr("::1"), PasswordFile: password}
		}},
		{"as many devices as there are places", func(h site, s *vm.Spec) {
			for range 11 {
				s.Disks = append(s.Disks, vm.Disk{Image: h.image("raw"), Format: "raw", Bus: vm.BusVirtio, Cache: "writeback"})
			}
			for range 8 {
				s.NICs = append(s.NICs, vm.NIC{Model: "virtio", Queues: 1})
			}
			for range 6 {
				s.CDROMs = append(s.CDROMs, vm.CDROM{})
			}
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			h := newSite(t)
			h.Network = newTapRoom(t).network
			s := h.bare("vm-olorin")
			tt.change(h, s)
			st := h.start(s)
			if st.Already || st.State.Accel != vm.AccelTCG || len(st.Notes) != 0 {
				t.Errorf("%+v", st)
			}
			h.wantState(s.Name, vm.StateRunning, "")
			h.stop(s, byForce)
			h.nothingLeft(s.Name)
		})
	}
}

func TestASecondStartLeavesTheGuestAndItsABIAlone(t *testing.T) {
	t.Parallel()
	h := newSite(t)
	s := h.bare("vm-olorin")
	first := h.start(s)
	lock := read(t, h.ABILock(s.Name))
	second := h.start(s)
	if !second.Already || second.PID != first.PID || second.State.Run != first.State.Run {
		t.Errorf("%+v, then %+v", first, second)
	}
	argv := h.argv(s)
	h.stop(s, byForce)
	third := h.start(s)
	if third.Already || third.State.Run == first.State.Run || third.State.UID != first.State.UID {
		t.Errorf("%+v, then %+v", first, third)
	}
	if d := cmp.Diff(string(lock), string(read(t, h.ABILock(s.Name)))); d != "" {
		t.Errorf("the ABI lock changed: %s", d)
	}
	if d := cmp.Diff(argv, h.argv(s)); d != "" {
		t.Errorf("the command line changed: %s", d)
	}
}

// argv is the command line that a running guest was started with.
func (h site) argv(s *vm.Spec) []string {
	h.t.Helper()
	argv, err := h.StartedArgv(s.Name)
	if err != nil {
		h.t.Fatal(err)
	}
	return argv
}

// snapshot is what lies below a directory: names, modes, owners, content.
func (h site) snapshot() map[string]string {
	h.t.Helper()
	all := map[string]string{}
	err := filepath.WalkDir(h.Root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		st := info.Sys().(*syscall.Stat_t)
		line := fmt.Sprintf("%v %d:%d inode %d", info.Mode(), st.Uid, st.Gid, st.Ino)
		if info.Mode().IsRegular() {
			b, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			line += fmt.Sprintf(" %q", b)
		}
		all[strings.TrimPrefix(path, h.Root)] = line
		return nil
	})
	if err != nil {
		h.t.Fatal(err)
	}
	return all
}

func TestADryRunTouchesNothing(t *testing.T) {
	t.Parallel()
	h := newSite(t)
	s := h.bare("vm-olorin")
	s.Accel = vm.AccelAuto
	s.Disks = []vm.Disk{{Image: h.image("raw"), Format: "raw", Bus: vm.BusVirtio, Cache: "writeback"}}
	before := h.snapshot()
	// A fresh host, where not even the directories of the caches are.
	p, err := h.Prepare(h.within(), s)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(before, h.snapshot()); d != "" {
		t.Errorf("before the first start: %s", d)
	}
	s.Accel = vm.AccelTCG
	h.start(s)
	before = h.snapshot()
	again, err := h.Prepare(h.within(), s)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(before, h.snapshot()); d != "" {
		t.Errorf("while it runs: %s", d)
	}
	if d := cmp.Diff(h.argv(s), again.Argv); d != "" {
		t.Errorf("what a dry run shows is not what runs: %s", d)
	}
	if len(p.Argv) != len(again.Argv) {
		t.Errorf("%d arguments, then %d", len(p.Argv), len(again.Argv))
	}
}

func TestAnImageThatCannotBeUsed(t *testing.T) {
	t.Parallel()
	h := newSite(t)
	s := h.bare("vm-olorin")
	with := func(path, format string) *vm.Spec {
		s.Disks = []vm.Disk{{Image: path, Format: format, Bus: vm.BusVirtio, Cache: "writeback"}}
		return s
	}
	none := filepath.Join(h.Root, "none.qcow2")
	err := h.wantFail(with(none, "qcow2"), "disk 0 ("+none+"): open image: open "+none+": no such file or directory",
		"make it with `kvmctl image create "+none+" 8G`, or correct `image` in vm.toml")
	if !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("%v", err)
	}
	raw := h.image("raw")
	h.wantFail(with(raw, "qcow2"), "disk 0 ("+raw+"): image "+raw+": is raw, not qcow2", `set format = "raw", or give an image that is qcow2`)
	fifo := filepath.Join(h.Root, "fifo")
	if err := unix.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	h.wantFail(with(fifo, "raw"), "disk 0 ("+fifo+"): image "+fifo+": is a FIFO, not a file", "")
	s.Disks = nil
	s.Kernel = fifo
	h.wantFail(s, "load the kernel: "+fifo+" is not a regular file", "")
	s.Kernel, s.CDROMs = "", []vm.CDROM{{Image: fifo}}
	h.wantFail(s, "cdrom 0: "+fifo+" is a p---------, not an image", "")
	s.CDROMs, s.VNC.Enabled, s.VNC.Auto, s.VNC.PasswordFile = nil, true, true, fifo
	h.wantFail(s, "read the VNC password: "+fifo+" is not a regular file", "")
}

func TestAnImageThatAnotherQEMUHasIsNamed(t *testing.T) {
	t.Parallel()
	h := newSite(t)
	shared := h.image("qcow2")
	spec := func(name string, images ...string) *vm.Spec {
		s := h.bare(name)
		for _, i := range images {
			s.Disks = append(s.Disks, vm.Disk{Image: i, Format: "qcow2", Bus: vm.BusVirtio, Cache: "writeback"})
		}
		return s
	}
	first := spec("vm-olorin", shared)
	pid := h.start(first).PID
	second := spec("vm-varda", h.image("qcow2"), shared)
	_, err := h.Start(h.within(), second)
	if want := "an image is in use by another QEMU: " + shared; errText(err) != want {
		t.Errorf("got  %q\nwant %q", errText(err), want)
	}
	var inUse *vm.ImageInUseError
	if !errors.As(err, &inUse) || !strings.Contains(strings.Join(inUse.Stderr, "\n"), `Failed to get "write" lock`) {
		t.Errorf("QEMU's own words are lost: %+v", inUse)
	}
	if isThere(h.RunDir(second.Name)) {
		t.Error("its run directory is left")
	}
	h.wantState(second.Name, vm.StateStopped, "start failed: an image is in use by another QEMU: "+shared)
	if st := h.wantState(first.Name, vm.StateRunning, ""); st.PID != pid {
		t.Errorf("the first one is pid %d, was %d", st.PID, pid)
	}
	log, err := h.Log(second.Name)
	if err != nil {
		t.Fatal(err)
	}
	if last := log[len(log)-1]; last.Kind != vm.KindNote || !strings.HasPrefix(last.Reason, "QEMU said: ") {
		t.Errorf("the log ends with %+v", last)
	}
	h.stop(first, byForce)
	h.start(second)
	h.stop(second, byForce)
}

func TestNoQEMUAndNoKVM(t *testing.T) {
	t.Parallel()
	h := newSite(t)
	s := h.bare("vm-olorin")
	qemu := h.QEMU
	h.QEMU = filepath.Join(h.Root, "none")
	h.wantFail(s, "no usable QEMU at "+h.QEMU+": stat "+h.QEMU+": no such file or directory",
		"apt-get install qemu-system-x86, or set `qemu = \"/path\"` in kvm.toml")
	h.QEMU, h.KVMDevice = qemu, filepath.Join(h.Root, "kvm")
	s.Accel = vm.AccelKVM
	var none *vm.NoKVMError
	_, err := h.Start(h.within(), s)
	if !errors.As(err, &none) || none.Reason == "" {
		t.Fatalf("%v", err)
	}
	h.nothingLeft(s.Name)
	s.Accel = vm.AccelAuto
	st := h.start(s)
	if d := cmp.Diff([]string{"runs by emulation (tcg), slowly: " + none.Reason}, st.Notes); d != "" || st.State.Accel != vm.AccelTCG {
		t.Errorf("%s %s", st.State.Accel, d)
	}
	h.stop(s, byForce)
}

// On a host whose /dev/kvm opens, answers and emulates, auto says so and emulates itself, and kvm refuses; elsewhere KVM is taken.
func TestAKVMThatIsTooSlowIsNotTaken(t *testing.T) {
	t.Parallel()
	h := newSite(t)
	s := h.bare("vm-olorin")
	s.Accel = vm.AccelKVM
	p, err := h.Prepare(h.within(), s)
	var none *vm.NoKVMError
	switch {
	case err == nil:
		if p.Target.Accel != vm.AccelKVM || len(p.Notes) != 0 {
			t.Errorf("%+v", p)
		}
		t.Log("KVM is usable here")
		return
	case !errors.As(err, &none):
		t.Fatal(err)
	}
	// Not compared with the first reason: on a busy host the figures differ, and are not kept.
	if _, err := h.Start(h.within(), s); !errors.As(err, &none) || err.Error() != "KVM cannot be used: "+none.Reason ||
		none.Hint() != "`accel = \"auto\"` or \"tcg\" in vm.toml runs it by emulation, slowly" {
		t.Errorf("%v", err)
	}
	h.nothingLeft(s.Name)
	s.Accel = vm.AccelAuto
	p, err = h.Prepare(h.within(), s)
	if err != nil {
		t.Fatal(err)
	}
	if p.Target.Accel != vm.AccelTCG || len(p.Notes) != 1 || !strings.HasPrefix(p.Notes[0], "runs by emulation (tcg), slowly: ") {
		t.Errorf("%s %q", p.Target.Accel, p.Notes)
	}
}

func TestAQEMUThatDiesOnStartIsExplainedAndLeavesNothing(t *testing.T) {
	t.Parallel()
	h := newSite(t)
	h.Network = newTapRoom(t).network
	s := h.bare("vm-olorin")
	s.NICs = []vm.NIC{{Model: "virtio", Queues: 1}}
	s.QEMUArgs = []string{"-device", "no-such-device"}
	said := "QEMU ended before it was ready (exit status 1): " + filepath.Base(h.QEMU) + ": -device no-such-device: 'no-such-device' is not a valid device model name"
	h.wantFail(s, said,
		"the guest has qemu_args of its own in vm.toml: try without them")
	h.wantState(s.Name, vm.StateStopped, "start failed: "+said)
	// Many words: the last ones count.
	script := filepath.Join(h.Root, "qemu")
	if err := os.WriteFile(script, []byte("#!/bin/sh\n[ \"$1\" = -version ] && exec "+h.QEMU+" -version\nseq 100000 >&2\nkill -SEGV $$\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	h.QEMU, s.QEMUArgs = script, nil
	h.wantFail(s, "QEMU ended before it was ready (signal: segmentation fault): 99993\n  99994\n  99995\n  99996\n  99997\n  99998\n  99999\n  100000", "")
}

// A QEMU that never greets is given up, and killed.
func TestAQEMUThatNeverGreetsIsGivenUp(t *testing.T) {
	t.Parallel()
	h := newSite(t)
	s := h.bare("vm-olorin")
	script := filepath.Join(h.Root, "qemu")
	if err := os.WriteFile(script, []byte("#!/bin/sh\n[ \"$1\" = -version ] && exec "+h.QEMU+" -version\nexec sleep 1000\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	h.QEMU = script
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
	defer cancel()
	_, err := h.Start(ctx, s)
	if err == nil || !strings.HasPrefix(err.Error(), "start the flight recorder: ") || !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("%v", err)
	}
	h.nothingLeft(s.Name)
}

// A busy host, a cold disk: nobody takes a QEMU for silent while it gets ready.
func TestAQEMUThatTakesItsTimeIsWaitedFor(t *testing.T) {
	t.Parallel()
	h := newSite(t)
	s := h.bare("vm-olorin")
	script := filepath.Join(h.Root, "qemu")
	if err := os.WriteFile(script, []byte("#!/bin/sh\n[ \"$1\" = -version ] || sleep 4\nexec "+h.QEMU+" \"$@\"\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	h.QEMU = script
	h.start(s)
	h.wantState(s.Name, vm.StateRunning, "")
	h.stop(s, byForce)
}

// Whoever runs the hook has finished with the guest: it is there for the hook's own commands.
func TestAPostStartHookFindsTheMonitorFree(t *testing.T) {
	t.Parallel()
	h := newSite(t)
	s := h.bare("vm-olorin")
	s.Hooks.PostStart = filepath.Join(h.Root, "hook")
	const script = "#!/bin/sh\ncd \"$KVM_ROOT/run/kvm/$KVM_VM\" && flock -n qmp.lock true && test ! -e starting || echo in use\n"
	if err := os.WriteFile(s.Hooks.PostStart, []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	if st := h.start(s); len(st.Notes) != 0 {
		t.Errorf("%q", st.Notes)
	}
	log, err := h.Log(s.Name)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range log {
		if f.Kind == vm.KindHook {
			t.Errorf("the hook says %q", f.Reason)
		}
	}
	h.stop(s, byForce)
}

func TestAnInterruptedStartIsUndone(t *testing.T) {
	t.Parallel()
	for _, step := range startSteps[:len(startSteps)-1] {
		t.Run("after "+step, func(t *testing.T) {
			t.Parallel()
			h := newSite(t)
			room := newTapRoom(t)
			h.Network = room.network
			s := h.bare("vm-olorin")
			s.NICs = []vm.NIC{{Model: "virtio", Queues: 1}}
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			h.Step = func(name string) {
				if name == step {
					cancel()
				}
			}
			if _, err := h.Start(ctx, s); !errors.Is(err, context.Canceled) {
				t.Errorf("%v", err)
			}
			h.nothingLeft(s.Name)
			h.until("the TAP is gone", func() bool { return len(room.names(t)) == 0 })
		})
	}
}

func TestAClosedDirectoryAboveIsNamed(t *testing.T) {
	t.Parallel()
	h := newSite(t)
	if err := os.Chmod(h.Root, 0o700); err != nil {
		t.Fatal(err)
	}
	h.wantFail(h.bare("vm-olorin"), "the guest's uid has no way through "+h.Root+" to its pidfile", "chmod o+x "+h.Root)
}

// hold-lock is a process of its own that locks files in the way that QEMU does.
func init() {
	helpers["hold-lock"] = func() int {
		var held []*os.File
		for _, path := range filepath.SplitList(os.Getenv("KVM_VM_TEST_FILE")) {
			f, err := os.OpenFile(path, os.O_RDWR, 0)
			if err == nil {
				err = unix.FcntlFlock(f.Fd(), unix.F_SETLK, &unix.Flock_t{Type: unix.F_WRLCK})
			}
			if err != nil {
				fmt.Println(err)
				return 1
			}
			held = append(held, f)
		}
		fmt.Println("locked")
		_, _ = bufio.NewReader(os.Stdin).ReadByte() // until the test closes it
		runtime.KeepAlive(held)
		return 0
	}
}

// holdLock locks path in another process, the victim of whoever believes it to be a guest's QEMU.
func holdLock(t *testing.T, path string) *exec.Cmd {
	t.Helper()
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), helperEnv+"=hold-lock", "KVM_VM_TEST_FILE="+path)
	in, err1 := cmd.StdinPipe()
	out, err2 := cmd.StdoutPipe()
	if err := errors.Join(err1, err2, cmd.Start()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { in.Close(); _ = cmd.Wait() })
	if line, err := bufio.NewReader(out).ReadString('\n'); line != "locked\n" {
		t.Fatalf("the victim says %q, %v", line, err)
	}
	return cmd
}

func TestWhatIsPlantedAsPidfileIsRefusedAndNobodyIsSignalled(t *testing.T) {
	for _, tt := range []struct {
		name  string
		plant func(t *testing.T, path, victims string)
		want  func(victim, uid int) string
	}{
		{"a symlink to another daemon's pidfile", func(t *testing.T, path, victims string) {
			if err := os.Symlink(victims, path); err != nil {
				t.Fatal(err)
			}
		}, func(int, int) string { return "is a symbolic link" }},
		{"a FIFO", func(t *testing.T, path, _ string) {
			if err := unix.Mkfifo(path, 0o666); err != nil {
				t.Fatal(err)
			}
		}, func(int, int) string { return "is not a regular file" }},
		{"another daemon's pidfile itself", func(t *testing.T, path, victims string) {
			if err := os.Link(victims, path); err != nil {
				t.Fatal(err)
			}
		}, func(victim, uid int) string {
			return fmt.Sprintf("is locked by pid %d, which runs as uid 0 and not as this guest's %d", victim, uid)
		}},
		{"a file locked by an open file", func(t *testing.T, path, _ string) {
			f := openTemp(t, path, os.O_RDWR|os.O_CREATE)
			if err := unix.FcntlFlock(f.Fd(), unix.F_OFD_SETLK, &unix.Flock_t{Type: unix.F_WRLCK}); err != nil {
				t.Fatal(err)
			}
		}, func(int, int) string { return "is locked by an open file, which is not how QEMU does it" }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			h := newSite(t)
			victims := filepath.Join(h.Root, "victim.pid")
			if err := os.WriteFile(victims, nil, 0o600); err != nil {
				t.Fatal(err)
			}
			victim := holdLock(t, victims).Process
			s := h.bare("vm-olorin")
			uid := h.start(s).State.UID
			h.stop(s, byForce)
			if err := vm.MakeDirs(h.RunDir(s.Name), 0o711); err != nil {
				t.Fatal(err)
			}
			tt.plant(t, h.Pidfile(s.Name), victims)
			want := h.Pidfile(s.Name) + " " + tt.want(victim.Pid, uid)
			_, startErr := h.Start(h.within(), s)
			_, stopErr := h.Stop(h.within(), s, byForce)
			st := h.status(s.Name)
			for what, err := range map[string]error{"start": startErr, "stop": stopErr, "status": st.Err} {
				var foreign *vm.ForeignError
				if !errors.As(err, &foreign) || err.Error() != want {
					t.Errorf("%s: got  %v\nwant %s", what, err, want)
				}
			}
			if st.State != vm.StateWedged || st.Note != want {
				t.Errorf("status: %s %q", st.State, st.Note)
			}
			if !isThere(h.Pidfile(s.Name)) {
				t.Error("it was removed")
			}
			if err := victim.Signal(syscall.Signal(0)); err != nil {
				t.Errorf("the victim is gone: %v", err)
			}
			if err := os.Remove(h.Pidfile(s.Name)); err != nil { // as the hint says
				t.Fatal(err)
			}
			h.start(s)
			h.stop(s, byForce)
		})
	}
}

func TestAStalePidfileWithAReusedPidMisleadsNobody(t *testing.T) {
	t.Parallel()
	h := newSite(t)
	s := h.bare("vm-olorin")
	uid := h.start(s).State.UID
	vmtest.Kill(t, h.Host, s.Name)
	// The pid in the file now belongs to a process of even the guest's own uid.
	bystander := exec.Command("sleep", "1000")
	bystander.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(uid), Gid: uint32(uid)}}
	if err := bystander.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = bystander.Process.Kill(); _ = bystander.Wait() })
	if err := os.WriteFile(h.Pidfile(s.Name), fmt.Appendf(nil, "%d\n", bystander.Process.Pid), 0o600); err != nil {
		t.Fatal(err)
	}
	h.wantState(s.Name, vm.StateCrashed, "QEMU ended without a word: SIGKILL, out of memory, or a crash")
	st := h.start(s)
	if st.Already || st.PID == bystander.Process.Pid {
		t.Errorf("%+v", st)
	}
	h.stop(s, byForce)
	if err := bystander.Process.Signal(syscall.Signal(0)); err != nil {
		t.Errorf("the bystander is gone: %v", err)
	}
}

func TestAUIDThatAProcessHasIsNotChosen(t *testing.T) {
	t.Parallel()
	h := newSite(t)
	bystander := exec.Command("sleep", "1000")
	bystander.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(h.UIDBase + 1), Gid: uint32(h.UIDBase + 1)}}
	if err := bystander.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = bystander.Process.Kill(); _ = bystander.Wait() })
	s := h.bare("vm-olorin")
	if st := h.start(s); st.State.UID != h.UIDBase+2 {
		t.Errorf("uid %d, want %d", st.State.UID, h.UIDBase+2)
	}
	h.stop(s, byForce)
}

// kvmctlJob is what a kvmctl of its own does on the test's host.
type kvmctlJob struct {
	Host  vm.Host
	Spec  *vm.Spec
	Netns string // path of the namespace for TAPs
	Die   string // the step after which it kills itself
	Said  bool   // it first waits until QEMU has said something
}

func readSome(path string) []byte {
	b, _ := os.ReadFile(path) // not there: nothing
	return b
}

// startSteps are the steps of a start with a NIC, in order.
var startSteps = []string{"pre-start hook", "run directory", "files", "network", "state", "QEMU", "flight recorder", "monitor", "settings", "scope", "let go"}

func init() {
	helpers["start"] = func() int {
		st, err := func() (*vm.Started, error) {
			job, err := theJob()
			if err != nil {
				return nil, err
			}
			h := &job.Host
			if job.Netns != "" {
				ns, err := os.Open(job.Netns)
				if err != nil {
					return nil, err
				}
				h.Network = (&tapRoom{ns}).network
			}
			return h.Start(context.Background(), job.Spec)
		}()
		if err != nil {
			fmt.Println(err)
			return 1
		}
		fmt.Println(st.Already, st.PID)
		return 0
	}
}

// theJob is that of this process, whose host kills it after the step Die.
func theJob() (*kvmctlJob, error) {
	var job kvmctlJob
	if err := json.Unmarshal([]byte(os.Getenv("KVM_VM_TEST_JOB")), &job); err != nil {
		return nil, err
	}
	job.Host.Step = func(name string) {
		if name == job.Die {
			for job.Said && len(readSome(job.Host.RunDir(job.Spec.Name)+"/con/stderr")) == 0 {
				time.Sleep(time.Millisecond)
			}
			_ = unix.Kill(os.Getpid(), unix.SIGKILL)
			select {}
		}
	}
	return &job, nil
}

// kvmctlStart runs a start in a process of its own.
func (h site) kvmctlStart(job kvmctlJob) *exec.Cmd {
	h.t.Helper()
	job.Host = *h.Host
	job.Host.Network, job.Host.Step = nil, nil
	fields := map[string]any{}
	for name, v := range map[string]any{"Root": job.Host.Root, "UIDBase": job.Host.UIDBase, "QEMU": job.Host.QEMU, "KVMDevice": job.Host.KVMDevice,
		"RecorderSize": job.Host.RecorderSize, "ConsoleSize": job.Host.ConsoleSize, "HistorySize": job.Host.HistorySize, "By": job.Host.By} {
		fields[name] = v
	}
	b, err := json.Marshal(map[string]any{"Host": fields, "Spec": job.Spec, "Netns": job.Netns, "Die": job.Die, "Said": job.Said})
	if err != nil {
		h.t.Fatal(err)
	}
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), helperEnv+"=start", "KVM_VM_TEST_JOB="+string(b))
	return cmd
}

// killedAfter runs a start that is killed after a step.
func (h site) killedAfter(job kvmctlJob) {
	h.t.Helper()
	out, err := h.kvmctlStart(job).CombinedOutput()
	var status *exec.ExitError
	if !errors.As(err, &status) || status.Sys().(syscall.WaitStatus).Signal() != syscall.SIGKILL {
		h.t.Fatalf("it was not killed after %q: %v, %s", job.Die, err, out)
	}
}

func TestAStartKilledAfterAnyStepIsCleanedUp(t *testing.T) {
	const interrupted = "its start was interrupted before it ran"
	for i, step := range startSteps {
		ran := step == "let go"
		executed := i >= 5 // "QEMU"
		for _, next := range []string{"start", "stop", "status"} {
			t.Run(next+" after "+step, func(t *testing.T) {
				t.Parallel()
				h := newSite(t)
				room := newTapRoom(t)
				h.Network = room.network
				s := h.bare("vm-olorin")
				s.VNC.Enabled, s.VNC.Auto = true, true
				s.NICs = []vm.NIC{{Model: "virtio", Queues: 1, MAC: units.DeriveMAC("test", "0")}}
				s.Disks = []vm.Disk{{Image: h.image("raw"), Format: "raw", Bus: vm.BusVirtio, Cache: "writeback"}} // a second QEMU could not lock it
				h.killedAfter(kvmctlJob{Spec: s, Die: step, Netns: fmt.Sprintf("/proc/%d/fd/%d", os.Getpid(), room.ns.Fd())})
				switch next {
				case "start":
					st := h.start(s)
					if st.Already != ran {
						t.Errorf("%+v", st)
					}
				case "stop":
					st := h.stop(s, byForce)
					want := vm.RungNone
					if ran {
						want = vm.RungQuit
					}
					if st.Rung != want || !st.Clean {
						t.Errorf("%+v", st)
					}
				case "status":
					st := h.status(s.Name)
					got := string(st.State) + ": " + st.Note
					want := []string{"stopped: never started"}
					switch {
					case ran:
						want = []string{"running: "}
					case executed: // its QEMU may not have come as far as its pidfile
						want = []string{"starting: its start was interrupted: `kvmctl start vm-olorin` begins anew", "stopped: " + interrupted}
					}
					if got != want[0] && got != want[len(want)-1] || st.Err != nil {
						t.Errorf("%s (%v), want %q", got, st.Err, want)
					}
				}
				if next != "start" {
					h.start(s)
				}
				st := h.wantState(s.Name, vm.StateRunning, "")
				abi, err := vm.LoadABI(h.ABILock(s.Name))
				if err != nil {
					t.Fatal(err)
				}
				if pids := h.processes(h.UIDBase + abi.UID); len(pids) != 1 || pids[0] != fmt.Sprintf("/proc/%d/status", st.PID) {
					t.Errorf("processes of the guest: %v; it is %d", pids, st.PID)
				}
				if n := len(h.mounts()); n != 2 {
					t.Errorf("%d mounts", n)
				}
				if names := room.names(t); len(names) != 1 {
					t.Errorf("TAPs: %q", names)
				}
				h.stop(s, byForce)
				h.nothingLeft(s.Name)
				h.until("the TAP is gone", func() bool { return len(room.names(t)) == 0 })
			})
		}
	}
}

// Between exec and QEMU's own lock on its pidfile nothing but the guest's uid tells whose the process is.
func TestAStartKilledBeforeQEMULocksItsPidfileIsCleanedUp(t *testing.T) {
	t.Parallel()
	h := newSite(t)
	s := h.bare("vm-olorin")
	slow, gate := filepath.Join(h.Root, "qemu"), filepath.Join(h.Root, "gate")
	if err := os.WriteFile(slow, []byte("#!/bin/sh\n[ \"$1\" = -version ] || until [ -e "+gate+" ]; do echo waits >&2; sleep 0.02; done\nexec "+h.QEMU+" \"$@\"\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	real := h.QEMU
	h.QEMU = slow
	h.killedAfter(kvmctlJob{Spec: s, Die: "QEMU", Said: true})
	abi, err := vm.LoadABI(h.ABILock(s.Name))
	if err != nil {
		t.Fatal(err)
	}
	orphans := h.processes(h.UIDBase + abi.UID)
	if len(orphans) == 0 {
		t.Fatal("the test's QEMU does not wait")
	}
	h.QEMU = real
	st := h.start(s)
	if err := os.WriteFile(gate, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if pids := h.processes(h.UIDBase + abi.UID); len(pids) != 1 || pids[0] != fmt.Sprintf("/proc/%d/status", st.PID) {
		t.Errorf("processes of the guest: %v; it is %d, the orphans were %v", pids, st.PID, orphans)
	}
	h.stop(s, byForce)
	h.nothingLeft(s.Name)
}

// The last act of a start is to remove its marker. A kvmctl that is killed right before leaves a guest that runs, and nobody may take it
// for a start that never came to its end.
func TestAGuestThatWasLetGoIsNeverKilledAsUnfinished(t *testing.T) {
	for _, next := range []string{"start", "stop", "status"} {
		t.Run(next, func(t *testing.T) {
			t.Parallel()
			h := newSite(t)
			s := h.bare("vm-olorin")
			pid := h.start(s).PID
			if err := os.WriteFile(filepath.Join(h.RunDir(s.Name), "starting"), []byte("1"), 0o600); err != nil {
				t.Fatal(err)
			}
			switch next {
			case "start":
				if st := h.start(s); !st.Already || st.PID != pid {
					t.Errorf("%+v, it was %d", st, pid)
				}
				if isThere(filepath.Join(h.RunDir(s.Name), "starting")) {
					t.Error("the marker is still there")
				}
			case "stop":
				if st := h.stop(s, byForce); st.Rung != vm.RungQuit {
					t.Errorf("%+v", st)
				}
			case "status":
				if st := h.wantState(s.Name, vm.StateRunning, ""); st.PID != pid {
					t.Errorf("%+v, it was %d", st, pid)
				}
			}
		})
	}
}

func TestTwoStartsAtOnceMakeOneGuest(t *testing.T) {
	t.Parallel()
	h := newSite(t)
	s := h.bare("vm-olorin")
	var cmds []*exec.Cmd
	var outs []*strings.Builder
	for range 3 {
		cmd, out := h.kvmctlStart(kvmctlJob{Spec: s}), &strings.Builder{}
		cmd.Stdout, cmd.Stderr = out, out
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		cmds, outs = append(cmds, cmd), append(outs, out)
	}
	first, pids := 0, map[int]bool{}
	for i, cmd := range cmds {
		err := cmd.Wait()
		var already bool
		var pid int
		if _, scan := fmt.Sscan(outs[i].String(), &already, &pid); err != nil || scan != nil {
			t.Fatalf("%v: %q", err, outs[i])
		}
		if !already {
			first++
		}
		pids[pid] = true
	}
	if first != 1 || len(pids) != 1 {
		t.Errorf("%d of them started it; pids %v", first, pids)
	}
	if st := h.wantState(s.Name, vm.StateRunning, ""); !pids[st.PID] {
		t.Errorf("it is %d, not one of %v", st.PID, pids)
	}
	h.stop(s, byForce)
	h.nothingLeft(s.Name)
}
