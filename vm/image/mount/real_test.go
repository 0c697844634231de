package mount_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"kvmctl/internal/testenv"
	"kvmctl/vm"
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

func TestQCOW2(t *testing.T) {
	m := manager(t)
	raw, img, dir := m.Layout.Root+"/disk.raw", m.Layout.Root+"/disk.qcow2", m.Layout.Root+"/mnt"
	ext4(t, raw)
	run(t, "qemu-img", "convert", "-O", "qcow2", raw, img)
	if err := os.Chmod(img, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	got, err := m.Mount(t.Context(), mount.Request{Image: img, Format: "qcow2", Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%+v", got)
	b, err := os.ReadFile(dir + "/hello")
	if err != nil || string(b) != "from the guest\n" {
		t.Errorf("%q, %v", b, err)
	}
	t.Log(run(t, "sh", "-c", "ps -eo uid,pid,args | grep storage-daemo[n]; grep -E 'NoNewPrivs|Cap' /proc/$(pgrep -n qemu-storage)/status; cat /proc/$(pgrep -n qemu-storage)/mountinfo; ls -l /proc/$(pgrep -n qemu-storage)/fd; grep "+dir+" /proc/mounts"))
	if err := m.Umount(t.Context(), got.ID); err != nil {
		t.Fatal(err)
	}
}
