package mount_test

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"kvmctl/internal/mountinfo"
	"kvmctl/internal/testenv"
	"kvmctl/vm"
	"kvmctl/vm/image"
	"kvmctl/vm/image/mount"
	"kvmctl/vm/vmtest"
)

// manager gives one in a root of its own. What a test leaves mounted is undone at its end.
func manager(t *testing.T) *mount.Manager {
	t.Helper()
	testenv.Need(t, testenv.QEMU, "qemu-storage-daemon", "mkfs.ext4")
	root, err := os.MkdirTemp("/tmp", "kv")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(root, 0o755); err != nil {
		t.Fatal(err)
	}
	qemu, err := exec.LookPath("qemu-system-x86_64")
	if err != nil {
		t.Fatal(err)
	}
	m := &mount.Manager{Layout: vm.Layout{Root: root}, UIDBase: vmtest.UIDBase(), QEMU: qemu, Step: func(s string) { t.Log(s) }}
	t.Cleanup(func() {
		list, err := m.List()
		for _, r := range list {
			if err := m.Umount(t.Context(), r.ID); err != nil {
				t.Errorf("clean up: %v", err)
			}
		}
		if err != nil {
			t.Errorf("clean up: %v", err)
		}
		if err := os.RemoveAll(root); err != nil {
			t.Errorf("clean up: %v", err)
		}
	})
	return m
}

// run executes a program, whose failure ends the test.
func run(t *testing.T, argv ...string) string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), argv[0], argv[1:]...).CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %v\n%s", argv, err, out)
	}
	return string(out)
}

// ext4 makes a raw image with one file system and one file.
func ext4(t *testing.T, path string) {
	t.Helper()
	tree := t.TempDir()
	if err := os.WriteFile(filepath.Join(tree, "hello"), []byte("from the guest\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	run(t, "truncate", "-s", "32M", path)
	run(t, "mkfs.ext4", "-q", "-L", "root", "-d", tree, path)
}

// sum is the content of a file.
func sum(t *testing.T, path string) string {
	t.Helper()
	return strings.Fields(run(t, "sha256sum", path))[0]
}

// TestReadWriteRead mounts each kind of file system from each format: nothing changes in the image while it is mounted for reading, what is
// written for writing is there when it is mounted again, and the image is locked as long as it is mounted.
func TestReadWriteRead(t *testing.T) {
	m := manager(t)
	testenv.Need(t, testenv.QEMU, "mkfs.xfs", "mkfs.btrfs")
	dir := m.Layout.Root + "/mnt"
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		format, fs string
		mkfs       []string
		qemu       bool // without qemu-storage-daemon
	}{
		{"qcow2", "ext4", []string{"mkfs.ext4", "-q"}, false},
		{"qcow2", "ext4", []string{"mkfs.ext4", "-q"}, true},
		{"raw", "ext2", []string{"mkfs.ext4", "-q", "-O", "none,filetype"}, false},
		{"qcow2", "xfs", []string{"mkfs.xfs", "-q"}, false},
		{"raw", "btrfs", []string{"mkfs.btrfs", "-q"}, false},
	} {
		t.Run(fmt.Sprintf("%s in %s, qemu %v", tt.fs, tt.format, tt.qemu), func(t *testing.T) {
			m.Daemon = ""
			if tt.qemu {
				m.Daemon, m.NBDServer = "/none/qemu-storage-daemon", "/none/qemu-nbd"
			}
			readWriteRead(t, m, tt.format, tt.fs, tt.mkfs, dir)
		})
	}
}

// readWriteRead makes an image, writes to it and reads it.
func readWriteRead(t *testing.T, m *mount.Manager, format, fs string, mkfs []string, dir string) {
	t.Helper()
	raw, img := m.Layout.Root+"/disk.raw", m.Layout.Root+"/disk."+format
	run(t, "rm", "-f", raw, img)
	run(t, "truncate", "-s", "300M", raw)
	run(t, append(mkfs, raw)...)
	if format == "qcow2" {
		run(t, "qemu-img", "convert", "-O", "qcow2", raw, img)
	}
	if err := os.Chmod(img, 0o600); err != nil {
		t.Fatal(err)
	}
	r := mount.Request{Image: img, Format: format, Dir: dir, RW: true}
	got := mounted(t, m, r)
	if got.FS != fs {
		t.Errorf("it is %s, want %s", got.FS, fs)
	}
	if got.UID != 0 {
		powerless(t, m, got)
	}
	if err := os.WriteFile(dir+"/new", []byte("written\n"), 0o600); err != nil {
		t.Error(err)
	}
	var locked *image.LockedError
	if err := image.CheckUnlocked(t.Context(), img, false); !errors.As(err, &locked) {
		t.Errorf("mounted read-write, it may be read: %v", err)
	}
	umount(t, m, got)
	before := sum(t, img)
	r.RW = false
	got = mounted(t, m, r)
	if b, err := os.ReadFile(dir + "/new"); err != nil || string(b) != "written\n" {
		t.Errorf("read again: %q, %v", b, err)
	}
	if err := image.CheckUnlocked(t.Context(), img, true); !errors.As(err, &locked) {
		t.Errorf("mounted read-only, it may be written: %v", err)
	}
	umount(t, m, got)
	if sum(t, img) != before {
		t.Error("mounting it for reading changed the image")
	}
	nothingLeft(t, m)
}

func mounted(t *testing.T, m *mount.Manager, r mount.Request) *mount.Mounted {
	t.Helper()
	got, err := m.Mount(t.Context(), r)
	if err != nil {
		t.Fatal(err)
	}
	return got
}

func umount(t *testing.T, m *mount.Manager, got *mount.Mounted) {
	t.Helper()
	if err := m.Umount(t.Context(), got.ID); err != nil {
		t.Fatal(err)
	}
}

// powerless reads from /proc what the daemon is allowed to do, and what it sees.
func powerless(t *testing.T, m *mount.Manager, got *mount.Mounted) {
	t.Helper()
	p, err := vm.FindOwner(filepath.Join(m.Layout.MountsDir(), got.ID, "pid"), got.UID)
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.PID))
	if err != nil {
		t.Fatal(err)
	}
	uid := fmt.Sprintf("%d\t%d\t%d\t%d", got.UID, got.UID, got.UID, got.UID)
	for _, want := range []string{"Uid:\t" + uid, "Gid:\t" + uid, "Groups:\t \n", "CapPrm:\t0000000000000000", "CapEff:\t0000000000000000",
		"CapBnd:\t0000000000000000", "CapAmb:\t0000000000000000", "NoNewPrivs:\t1"} {
		if !strings.Contains(string(status), want) {
			t.Errorf("its status has no %q:\n%s", want, status)
		}
	}
	table, err := os.Open(fmt.Sprintf("/proc/%d/mountinfo", p.PID))
	if err != nil {
		t.Fatal(err)
	}
	defer table.Close()
	entries, err := mountinfo.Parse(table)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if e.Point == got.Dir || e.Point == "/run" || strings.HasPrefix(e.Point, m.Layout.Root) || e.Point == "/dev/shm" {
			t.Errorf("it sees %s", e.Point)
		}
	}
	if _, err := os.Stat(fmt.Sprintf("/proc/%d/root/dev/kvm", p.PID)); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("it sees the host's devices: %v", err)
	}
}

// TestAJournalIsNotReplayed mounts an ext4 that says that its journal has to be replayed.
func TestAJournalIsNotReplayed(t *testing.T) {
	m := manager(t)
	img, dir := m.Layout.Root+"/disk.raw", m.Layout.Root+"/mnt"
	ext4(t, img)
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	run(t, "debugfs", "-w", "-R", "feature needs_recovery", img)
	table, err := m.Parts(t.Context(), img, "raw")
	if err != nil || !table.Partitions[0].FS.Dirty {
		t.Errorf("%+v, %v: want a dirty file system", table, err)
	}
	before := sum(t, img)
	umount(t, m, mounted(t, m, mount.Request{Image: img, Format: "raw", Dir: dir}))
	if sum(t, img) != before {
		t.Error("mounting it for reading changed the image")
	}
	umount(t, m, mounted(t, m, mount.Request{Image: img, Format: "raw", Dir: dir, RW: true}))
	if table, err = m.Parts(t.Context(), img, "raw"); err != nil || table.Partitions[0].FS.Dirty {
		t.Errorf("%+v, %v: want a clean file system after --rw", table, err)
	}
}

// TestABackingFileThatIsInUse: what an image is based on must not change under it.
func TestABackingFileThatIsInUse(t *testing.T) {
	aBackingFileInUse(t, manager(t))
}

func aBackingFileInUse(t *testing.T, m *mount.Manager) {
	t.Helper()
	base, over, dir := m.Layout.Root+"/base.raw", m.Layout.Root+"/over.qcow2", m.Layout.Root+"/mnt"
	ext4(t, base)
	run(t, "qemu-img", "create", "-q", "-f", "qcow2", "-b", base, "-F", "raw", over)
	for _, d := range []string{dir, dir + "2"} {
		if err := os.Mkdir(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	writer := mounted(t, m, mount.Request{Image: base, Format: "raw", Dir: dir, RW: true})
	var locked *image.LockedError
	if _, err := m.Mount(t.Context(), mount.Request{Image: over, Format: "qcow2", Dir: dir + "2", RW: true}); !errors.As(err, &locked) {
		t.Errorf("got %v, want a refusal", err)
	}
	umount(t, m, writer)
	got := mounted(t, m, mount.Request{Image: over, Format: "qcow2", Dir: dir + "2", RW: true})
	if _, err := m.Mount(t.Context(), mount.Request{Image: base, Format: "raw", Dir: dir, RW: true}); !errors.As(err, &locked) {
		t.Errorf("got %v, want a refusal", err)
	}
	umount(t, m, got)
}
