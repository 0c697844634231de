package vmtest

import (
	"context"
	"errors"
	"net/netip"
	"os"
	"os/exec"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"kvmctl/internal/testenv"
	"kvmctl/internal/units"
	"kvmctl/test/guest"
	"kvmctl/vm"
)

// Patience is how long any one fact may take under tcg on a loaded machine.
const Patience = 90 * time.Second

var hosts atomic.Int64

// Host gives a host in a temporary root, with uids that no other host of any test has. At the end of the test its guests are
// killed and its root is removed. It needs the tier testenv.QEMU.
func Host(t testing.TB) *vm.Host {
	t.Helper()
	testenv.Need(t, testenv.QEMU)
	root, err := os.MkdirTemp("/tmp", "kv")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(root, 0o755); err != nil { // a guest's uid must get through to its pidfile
		t.Fatal(err)
	}
	qemu, err := exec.LookPath("qemu-system-x86_64")
	if err != nil {
		t.Fatal(err)
	}
	h := &vm.Host{
		Layout: vm.Layout{Root: root}, UIDBase: UIDBase(), QEMU: qemu, KVMDevice: "/dev/kvm",
		RecorderSize: 256 * units.KiB, ConsoleSize: 4 * units.MiB, HistorySize: units.MiB, By: "root, test",
	}
	t.Cleanup(func() {
		CleanUp(t, h)
		if err := os.RemoveAll(root); err != nil { // should the test have moved it
			t.Errorf("clean up: %v", err)
		}
	})
	return h
}

// UIDBase gives a range of 64 uids that no other call gives, in this process or in another test's.
func UIDBase() int {
	return 1_000_000 + os.Getpid()%100_000*10_000 + int(hosts.Add(1))%150*64
}

// CleanUp kills what runs on h and removes its root.
func CleanUp(t testing.TB, h *vm.Host) {
	t.Helper()
	names, err := h.Known()
	if err != nil {
		t.Errorf("clean up: %v", err)
	}
	for _, name := range names {
		Kill(t, h, name)
		h.Status(context.Background(), []string{name})      // buries it: its tmpfs are unmounted
		for _, sub := range []string{"rec", "con", "vnc"} { // of a guest that cannot be buried, because its test broke it
			_ = unix.Unmount(h.RunDir(name)+"/"+sub, unix.MNT_DETACH)
		}
	}
	if err := os.RemoveAll(h.Root); err != nil {
		t.Errorf("clean up: %v", err)
	}
}

// Kill ends a guest's QEMU by SIGKILL and waits for its end. One that does not run is left so.
func Kill(t testing.TB, h *vm.Host, name string) {
	t.Helper()
	p := Owner(t, h, name)
	if p == nil {
		return
	}
	defer p.Close()
	if err := p.Signal(unix.SIGKILL); err != nil {
		t.Errorf("kill %s: %v", name, err)
	}
	if !p.Wait(context.Background(), 30*time.Second) {
		t.Errorf("kill %s: pid %d outlived SIGKILL", name, p.PID)
	}
}

// Owner gives the QEMU of a guest, nil when none runs. The caller closes it.
func Owner(t testing.TB, h *vm.Host, name string) *vm.Process {
	t.Helper()
	abi, err := vm.LoadABI(h.ABILock(name))
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		t.Errorf("find the QEMU of %s: %v", name, err)
		return nil
	}
	p, err := vm.FindOwner(h.Pidfile(name), h.UIDBase+abi.UID)
	if errors.Is(err, vm.ErrNotRunning) {
		return nil
	}
	if err != nil {
		t.Errorf("find the QEMU of %s: %v", name, err)
		return nil
	}
	return p
}

// Spec describes a guest with test/guest in it: no disk, no network card, no screen for VNC, under tcg. words are appended to the
// kernel's command line.
func Spec(t testing.TB, h *vm.Host, name string, words ...string) *vm.Spec {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	images, err := guest.Build(ctx, guest.DefaultDir())
	if err != nil {
		t.Fatal(err)
	}
	cmdline := guest.Cmdline
	for _, w := range words {
		cmdline += " " + w
	}
	return &vm.Spec{
		Name: name, Memory: 192 * units.MiB, MemoryMax: 192 * units.MiB, CPUs: 1, CPUsMax: 1, Accel: vm.AccelTCG, Machine: "q35",
		Firmware: vm.FirmwareBIOS, Kernel: images.Kernel, Initrd: images.Initrd, Cmdline: cmdline, Boot: []vm.BootDevice{vm.BootDisk},
		StopTimeout: 30 * time.Second, VNC: vm.VNC{Listen: netip.AddrFrom4([4]byte{127, 0, 0, 1})},
		Guest: vm.Guest{Profile: "linux"}, Hooks: vm.Hooks{Timeout: 10 * time.Second},
	}
}

// WithAgent gives the guest a real guest agent and the channel to it.
func WithAgent(t testing.TB, s *vm.Spec) *vm.Spec {
	t.Helper()
	images, err := guest.Build(t.Context(), guest.DefaultDir())
	if err != nil {
		t.Fatal(err)
	}
	s.Initrd, s.Guest.Agent = images.AgentInitrd, true
	return s
}

// Start starts a guest.
func Start(t testing.TB, h *vm.Host, s *vm.Spec) *vm.Started {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), Patience)
	defer cancel()
	st, err := h.Start(ctx, s)
	if err != nil {
		t.Fatalf("start %s: %v", s.Name, err)
	}
	return st
}
