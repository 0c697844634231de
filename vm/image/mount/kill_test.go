package mount_test

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"kvmctl/internal/mountinfo"
	"kvmctl/vm"
	"kvmctl/vm/image"
	"kvmctl/vm/image/mount"
)

// killAt, in the environment, makes this program a kvmctl that mounts and is killed when it has done the named step.
const killAt = "MOUNT_TEST_KILL_AT"

// doomed is that kvmctl.
func doomed(args []string) {
	m := &mount.Manager{Layout: vm.Layout{Root: args[0]}, UIDBase: 1_900_000_000 + os.Getpid()%1000*5000, QEMU: args[4], Daemon: args[5]}
	m.Step = func(name string) {
		if name == os.Getenv(killAt) {
			_ = unix.Kill(os.Getpid(), unix.SIGKILL)
			select {}
		}
	}
	_, err := m.Mount(context.Background(), mount.Request{Image: args[1], Format: args[2], Dir: args[3], RW: true})
	panic(err)
}

// killedAt runs a kvmctl that mounts img and is killed after a step, and checks that the next one settles it.
func killedAt(t *testing.T, m *mount.Manager, img, format, dir, step string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "/proc/self/exe", m.Layout.Root, img, format, dir, m.QEMU, m.Daemon)
	cmd.Env = append(os.Environ(), killAt+"="+step)
	out, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	if !errors.As(err, &exit) || !strings.Contains(err.Error(), "killed") {
		t.Fatalf("%s, %s: %v\n%s", format, step, err, out)
	}
	if !m.Any() {
		t.Errorf("%s, killed after %q: there is no trace for the next command", format, step)
	}
	torn := settled(t, m)
	if len(torn) != 1 || torn[0].Reason != "kvmctl was ended while it worked on it" || torn[0].Err != nil {
		t.Errorf("%s, killed after %q: settled %+v", format, step, torn)
	}
	nothingLeft(t, m)
	if err := image.CheckUnlocked(t.Context(), img, true); err != nil {
		t.Errorf("%s, killed after %q: %v", format, step, err)
	}
}

// nothingLeft looks for everything that a mount makes.
func nothingLeft(t *testing.T, m *mount.Manager) {
	t.Helper()
	if m.Any() {
		t.Errorf("%s is still there", m.Layout.MountsDir())
	}
	table, err := mountinfo.Read()
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range table {
		if strings.HasPrefix(e.Point, m.Layout.Root) {
			t.Errorf("%s is still mounted on %s", e.Source, e.Point)
		}
	}
	devices, _ := filepath.Glob("/sys/block/nbd*/backend")
	for _, d := range devices {
		if b, err := os.ReadFile(d); err == nil && strings.HasPrefix(string(b), "kvmctl:") {
			t.Errorf("%s is still %q", d, b)
		}
	}
	procs, _ := filepath.Glob("/proc/[0-9]*/fd/2")
	for _, p := range procs {
		if to, err := os.Readlink(p); err == nil && strings.HasPrefix(to, m.Layout.Root) {
			t.Errorf("%s still writes to %s", p, to)
		}
	}
}

// TestKilledAfterEachStep: a kvmctl that is killed with SIGKILL at any moment leaves what the next one understands and undoes.
func TestKilledAfterEachStep(t *testing.T) {
	m := manager(t)
	raw, qcow2, dir := m.Layout.Root+"/disk.raw", m.Layout.Root+"/disk.qcow2", m.Layout.Root+"/mnt"
	ext4(t, raw)
	run(t, "qemu-img", "convert", "-O", "qcow2", raw, qcow2)
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct{ format, step string }{
		{"qcow2", "image"}, {"qcow2", "daemon"}, {"qcow2", "disk"}, {"qcow2", "loop device"}, {"qcow2", "mount"}, {"raw", "disk"}, {"raw", "loop device"}, {"raw", "mount"},
	} {
		killedAt(t, m, m.Layout.Root+"/disk."+tt.format, tt.format, dir, tt.step)
	}
}

// settled waits until no child of a killed kvmctl shares the lock any more.
func settled(t *testing.T, m *mount.Manager) []mount.Torn {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
		torn, err := m.Settle(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if len(torn) > 0 {
			return torn
		}
	}
	t.Fatal("nothing was settled")
	return nil
}

func TestTwoAtOnce(t *testing.T) {
	m := manager(t)
	img := m.Layout.Root + "/disk.raw"
	ext4(t, img)
	type result struct {
		got *mount.Mounted
		err error
	}
	results := make(chan result, 2)
	for _, name := range []string{"a", "b"} {
		dir := m.Layout.Root + "/" + name
		if err := os.Mkdir(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		go func() {
			got, err := m.Mount(t.Context(), mount.Request{Image: img, Format: "raw", Dir: dir, RW: true})
			results <- result{got, err}
		}()
	}
	mounted := 0
	for range 2 {
		r := <-results
		var other *mount.MountedError
		switch {
		case r.err == nil:
			mounted++
		case !errors.As(r.err, &other):
			t.Error(r.err)
		}
	}
	if mounted != 1 {
		t.Errorf("%d of two mounted it for writing", mounted)
	}
}
