package mount

import (
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestAnotherNamespaceThatHasItMounted is a process with a copy of the mount in a namespace of its own: the unmount succeeds, and the device is
// not free. Beside it are namespaces where /proc is not what it is here.
func TestAnotherNamespaceThatHasItMounted(t *testing.T) {
	for _, role := range []string{"space", "thread", "chrooted", "procless"} {
		t.Run(role, func(t *testing.T) {
			l := newLab(t, "ext4")
			for range 3 {
				holder(t, "procless")
			}
			l.mounted()
			holder(t, role, t.TempDir())
			want := "space: process (" + role + ") lives in another mount namespace, which has it on DIR"
			l.says("busy", l.busy(time.Second), want)
			if ok, err := l.Mounted(l.Mount); ok || err != nil {
				t.Errorf("it is still mounted here: %v, %v", ok, err)
			}
			// As after an agent that was killed between the unmount and the proof.
			l.says("unmounted", l.unmounted(), want+" (ended)")
		})
	}
}

// TestASlaveIsSpared is a unit of systemd with a mount namespace: its copy goes with the mount, and it runs on.
func TestASlaveIsSpared(t *testing.T) {
	l := newLab(t, "ext4")
	root := filepath.Dir(l.Dir)
	if err := unix.Mount(root, root, "", unix.MS_BIND, ""); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Unmount(root, 0) })
	if err := unix.Mount("", root, "", unix.MS_SHARED, ""); err != nil {
		t.Fatal(err)
	}
	l.mounted()
	slave := holder(t, "slave")
	busy := holder(t, "cwd", l.Dir)
	got, err := l.Holders(within(t, long), l.Mount)
	if err != nil {
		t.Fatal(err)
	}
	l.says("holders", got, "open: process (cwd) is in DIR")
	l.says("unmounted", l.unmounted(), "open: process (cwd) is in DIR (ended)")
	if err := slave.Process.Signal(unix.Signal(0)); err != nil {
		t.Errorf("the slave was killed: %v", err)
	}
	_ = busy
}

// TestANamespaceThatNobodyLivesIn is kept by a bind mount or a descriptor: it is named, and nobody is killed for it.
func TestANamespaceThatNobodyLivesIn(t *testing.T) {
	t.Run("by a mount", func(t *testing.T) {
		l := newLab(t, "ext4")
		l.mounted()
		pin := filepath.Join(filepath.Dir(l.Dir), "a pin")
		if err := os.WriteFile(pin, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		// The kernel refuses a namespace with a lower number than the own one, and since 6.18 each CPU gives numbers from a lot of its own.
		var err error
		for range 100 {
			lives := holder(t, "space")
			err = unix.Mount("/proc/"+strconv.Itoa(lives.Process.Pid)+"/ns/mnt", pin, "", unix.MS_BIND, "")
			_ = lives.Process.Kill()
			_ = lives.Wait()
			if !errors.Is(err, unix.EINVAL) {
				break
			}
		}
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = unix.Unmount(pin, unix.MNT_DETACH) })
		_, err = l.Unmount(within(t, time.Second), l.Mount, true)
		l.says("busy", busyError(t, err).Holders, "kept: ROOT/a pin keeps a mount namespace that has it on DIR: umount 'ROOT/a pin'")
		if err := unix.Unmount(pin, 0); err != nil {
			t.Fatal(err)
		}
		l.says("unmounted", l.unmounted())
	})
	t.Run("by a descriptor", func(t *testing.T) {
		l := newLab(t, "ext4")
		l.mounted()
		lives := holder(t, "space")
		keeps := holder(t, "keep", "/proc/"+strconv.Itoa(lives.Process.Pid)+"/ns/mnt")
		_ = lives.Process.Kill()
		_ = lives.Wait()
		_, err := l.Unmount(within(t, time.Second), l.Mount, true)
		holders := busyError(t, err).Holders
		if len(holders) != 1 || holders[0].Kind != Kept || holders[0].PID != keeps.Process.Pid || !strings.HasPrefix(holders[0].What, "keeps by descriptor ") {
			t.Errorf("got %v", holders)
		}
		if err := keeps.Process.Signal(unix.Signal(0)); err != nil {
			t.Errorf("it was killed: %v", err)
		}
		_ = keeps.Process.Kill()
		_ = keeps.Wait()
		l.says("unmounted", l.unmounted())
	})
}

// TestASocketInAnotherNetwork is one that only its own network namespace tells of.
func TestASocketInAnotherNetwork(t *testing.T) {
	l := newLab(t, "ext4")
	l.mounted()
	holder(t, "netsocket", l.Dir+"/s")
	l.says("unmounted", l.unmounted(), "open: process (netsocket) has the socket DIR/s open (ended)")
}

// TestMountsOnItAndBesideIt undoes them, deepest first, and ends who is in them, but nobody who is in the same file system elsewhere.
func TestMountsOnItAndBesideIt(t *testing.T) {
	l := newLab(t, "ext4")
	l.mounted()
	beside, foreign := t.TempDir(), t.TempDir()
	for _, dir := range []string{"/a", "/a/b", "/c"} {
		if err := os.Mkdir(l.Dir+dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	mount := func(from, to, kind string, flags uintptr) {
		t.Helper()
		if err := unix.Mount(from, to, kind, flags, ""); err != nil {
			t.Fatal(err)
		}
	}
	mount(l.Dir+"/a", beside, "", unix.MS_BIND)
	t.Cleanup(func() { _ = unix.Unmount(beside, unix.MNT_DETACH) })
	mount(foreign, l.Dir+"/c", "", unix.MS_BIND)
	mount("box", l.Dir+"/a", "tmpfs", 0)
	if err := os.Mkdir(l.Dir+"/a/deep", 0o755); err != nil {
		t.Fatal(err)
	}
	mount("box", l.Dir+"/a/deep", "tmpfs", 0)
	holder(t, "cwd", l.Dir+"/a/deep")
	holder(t, "cwd", l.Dir+"/c")
	innocent := holder(t, "cwd", foreign)
	got := l.busy(time.Second)
	if len(got) != 6 {
		t.Errorf("holders: %v", got)
	}
	names := strings.NewReplacer(beside, "BESIDE", foreign, "FOREIGN")
	for i := range got {
		got[i].What = names.Replace(got[i].What)
	}
	l.says("busy", got,
		"bind: it is mounted on BESIDE too: umount BESIDE",
		"nested: DIR/a/deep (tmpfs) is mounted on it: umount DIR/a/deep",
		"nested: DIR/a (tmpfs) is mounted on it: umount DIR/a",
		"nested: DIR/c (ext4) is mounted on it: umount DIR/c",
		"open: process (cwd) is in DIR/a/deep",
		"open: process (cwd) is in DIR/c")
	for _, h := range l.unmounted() {
		if h.Fate != Ended && h.Fate != Unmounted {
			t.Error(h)
		}
	}
	if err := innocent.Process.Signal(unix.Signal(0)); err != nil {
		t.Errorf("one that was elsewhere was killed: %v", err)
	}
}

// TestAMountThatCoversIt is unmounted first.
func TestAMountThatCoversIt(t *testing.T) {
	l := newLab(t, "ext4")
	l.mounted()
	if err := unix.Mount("over", l.Dir, "tmpfs", 0, ""); err != nil {
		t.Fatal(err)
	}
	l.says("unmounted", l.unmounted(), "nested: DIR (tmpfs) is mounted on it: umount DIR (unmounted)")
}
