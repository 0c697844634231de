package mount

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"kvmctl/internal/proc"
)

func busyError(t *testing.T, err error) *BusyError {
	t.Helper()
	var busy *BusyError
	if !errors.As(err, &busy) || !errors.Is(err, ErrBusy) {
		t.Fatalf("got %v, want a BusyError", err)
	}
	return busy
}

func TestMountAndUnmountTwice(t *testing.T) {
	for _, kind := range []string{"ext4", "xfs"} {
		l := newLab(t, kind)
		l.Options = "noatime"
		l.mounted()
		l.mounted()
		if err := os.WriteFile(l.Dir+"/x", nil, 0o600); err != nil {
			t.Error(err)
		}
		l.says("unmounted", l.unmounted())
		l.says("again", l.unmounted())
		if ok, err := l.Mounted(l.Mount); ok || err != nil {
			t.Errorf("mounted: %v, %v", ok, err)
		}
	}
}

func TestWhatCannotBeMounted(t *testing.T) {
	l := newLab(t, "ext4")
	file := filepath.Join(filepath.Dir(l.Dir), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name   string
		change func(*Mount)
		want   error
		says   string
	}{
		{"no device", func(m *Mount) { m.Device = "/dev/none" }, ErrNoDevice, "/dev/none: not a block device: no such file or directory"},
		{"a device that is none", func(m *Mount) { m.Device = "/dev/null" }, ErrNoDevice, "/dev/null: not a block device"},
		{"no directory", func(m *Mount) { m.Dir = file + "/none" }, unix.ENOTDIR, ""},
		{"no directory either", func(m *Mount) { m.Dir = file + "none" }, ErrNoDir, ""},
		{"a file", func(m *Mount) { m.Dir = file }, ErrNoDir, file + ": not a directory"},
		{"another type", func(m *Mount) { m.Type = "xfs" }, ErrRefused, "mount ended with 32: "},
		{"an option that nobody knows", func(m *Mount) { m.Options = "frobnicate" }, ErrRefused, "mount ended with 32: "},
	} {
		m := l.Mount
		tt.change(&m)
		err := l.Mounter.Mount(within(t, long), m)
		if !errors.Is(err, tt.want) || !strings.Contains(err.Error(), tt.says) {
			t.Errorf("%s: %v, want %v: %s", tt.name, err, tt.want, tt.says)
		}
	}
	if err := unix.Mount("box", l.Dir, "tmpfs", 0, ""); err != nil {
		t.Fatal(err)
	}
	defer unix.Unmount(l.Dir, 0)
	var other *OtherError
	err := l.Mounter.Mount(within(t, long), l.Mount)
	if !errors.As(err, &other) || other.Error() != "tmpfs on box is mounted on "+l.Dir || other.Hint() != "umount "+l.Dir {
		t.Errorf("something else is mounted there: %v", err)
	}
	l.says("unmounting leaves it alone", l.unmounted())
	if err := unix.Access(l.Dir, unix.W_OK); err != nil || mountOf("box") != l.Dir {
		t.Errorf("it is gone: %v", err)
	}
}

func TestADeviceThatCannotBeWrittenIsNotMountedForReading(t *testing.T) {
	l := newLab(t, "ext4")
	run(t, "blockdev", "--setro", l.Device)
	defer run(t, "blockdev", "--setrw", l.Device) // a loop device keeps it for its next file
	l.Fsck = Never
	if err := l.Mounter.Mount(within(t, long), l.Mount); !errors.Is(err, ErrRefused) {
		t.Errorf("mounted: %v", err)
	}
	l.Options = "ro"
	l.mounted()
	l.Options = ""
	if err := l.Mounter.Mount(within(t, long), l.Mount); !errors.Is(err, ErrReadOnly) {
		t.Errorf("mounted, but for reading: %v", err)
	}
	l.unmounted()
}

func TestAFullFileSystemIsMountedAndUnmounted(t *testing.T) {
	l := newLab(t, "ext4")
	l.mounted()
	if err := os.WriteFile(l.Dir+"/big", make([]byte, 32<<20), 0o600); !errors.Is(err, unix.ENOSPC) {
		t.Fatalf("it is not full: %v", err)
	}
	l.unmounted()
	l.mounted()
	l.unmounted()
}

// TestProcessesThatHoldIt has one holder of each kind beside the others: each is named, and ended.
func TestProcessesThatHoldIt(t *testing.T) {
	for _, tt := range []struct{ role, arg, want string }{
		{"file", "/f", "open: process (file) has DIR/f open"},
		{"cwd", "", "open: process (cwd) is in DIR"},
		{"root", "", "open: process (root) has DIR as its root directory"},
		{"map", "/m", "open: process (map) has DIR/m mapped"},
		{"deaf", "", "open: process (deaf) is in DIR"},
		{"socket", "/s", "open: process (socket) has the socket DIR/s open"},
	} {
		t.Run(tt.role, func(t *testing.T) {
			l := newLab(t, "ext4")
			l.mounted()
			h := holder(t, tt.role, l.Dir+tt.arg)
			l.says("busy", l.busy(100*time.Millisecond), tt.want)
			fate := " (ended)"
			if tt.role == "deaf" {
				l.Grace = 100 * time.Millisecond
				fate = " (killed)"
			}
			if err := h.Process.Signal(unix.Signal(0)); err != nil {
				t.Errorf("it was killed: %v", err)
			}
			l.says("unmounted", l.unmounted(), tt.want+fate)
		})
	}
}

// TestAProcessThatRunsFromIt runs a program that lies on it, and one that has its device open.
func TestAProcessThatRunsFromIt(t *testing.T) {
	l := newLab(t, "ext4")
	l.mounted()
	run(t, "cp", "/bin/cat", l.Dir+"/cat")
	cat := exec.Command(l.Dir + "/cat")
	if _, err := cat.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	if err := cat.Start(); err != nil {
		t.Fatal(err)
	}
	l.says("runs from it", l.unmounted(), "open: process (cat) runs DIR/cat (ended)")
	_ = cat.Wait()
	holder(t, "file", l.Device)
	l.says("the device is open", l.unmounted(), "raw: process (file) has DEV open (ended)")
}

// TestAHolderThatCannotBeKilled stays named when the deadline is over.
func TestAHolderThatCannotBeKilled(t *testing.T) {
	l := newLab(t, "ext4")
	l.mounted()
	h := holder(t, "cwd", l.Dir)
	l.here.signal = func(*proc.Process, unix.Signal) error { return unix.EPERM }
	l.Grace = time.Millisecond
	report, err := l.Unmount(within(t, 1500*time.Millisecond), l.Mount, true)
	l.says("busy", busyError(t, err).Holders, "open: process (cwd) is in DIR (cannot be killed)")
	l.says("reported", report, "open: process (cwd) is in DIR (cannot be killed)")
	if err := h.Process.Signal(unix.Signal(0)); err != nil {
		t.Error(err)
	}
	if ok, err := l.Mounted(l.Mount); !ok || err != nil {
		t.Errorf("mounted: %v, %v", ok, err)
	}
	l.here = system()
	l.unmounted()
}

// TestUnmountingADeviceThatIsGone is a resource that was taken down; a device that is mounted and has lost its name is another thing.
func TestUnmountingADeviceThatIsGone(t *testing.T) {
	l := newLab(t, "ext4")
	dev, err := blockDevice(l.Device)
	if err != nil {
		t.Fatal(err)
	}
	m := l.Mount
	m.Device = filepath.Join(filepath.Dir(l.Dir), "node")
	if report, err := l.Unmount(within(t, long), m, true); err != nil || len(report) > 0 {
		t.Errorf("gone: %v, %v", report, err)
	}
	if err := unix.Mknod(m.Device, unix.S_IFBLK|0o600, int(unix.Mkdev(dev.major, dev.minor))); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount(m.Device, m.Dir, "ext4", 0, ""); err != nil {
		t.Fatal(err)
	}
	if ok, err := l.Mounted(l.Mount); !ok || err != nil {
		t.Errorf("mounted by another name of the device: %v, %v", ok, err)
	}
	if err := os.Remove(m.Device); err != nil {
		t.Fatal(err)
	}
	if _, err := l.Unmount(within(t, long), m, true); !errors.Is(err, ErrNoDevice) {
		t.Errorf("mounted, and its name is gone: %v", err)
	}
	l.unmounted()
}

// TestItself never ends itself.
func TestItself(t *testing.T) {
	l := newLab(t, "ext4")
	l.mounted()
	f, err := os.Create(l.Dir + "/mine")
	if err != nil {
		t.Fatal(err)
	}
	_, err = l.Unmount(within(t, 300*time.Millisecond), l.Mount, true)
	if h := busyError(t, err).Holders; len(h) != 1 || h[0].PID != os.Getpid() || h[0].Fate != Stays {
		t.Errorf("holders: %v", h)
	}
	f.Close()
	l.unmounted()
}

// TestAHolderThatNobodySees is what only the exclusive open tells of: somebody unmounted lazily, and a file is still open, in a message that
// nobody has received yet.
func TestAHolderThatNobodySees(t *testing.T) {
	l := newLab(t, "ext4")
	l.mounted()
	h := holder(t, "flight", l.Dir+"/f")
	_, err := l.Unmount(within(t, 300*time.Millisecond), l.Mount, true)
	if busy := busyError(t, err); len(busy.Holders) != 0 || !strings.Contains(err.Error(), "nobody was found") || !errors.Is(err, unix.EBUSY) {
		t.Errorf("mounted: %v", err)
	}
	if err := unix.Unmount(l.Dir, unix.MNT_DETACH); err != nil {
		t.Fatal(err)
	}
	_, err = l.Unmount(within(t, 300*time.Millisecond), l.Mount, true)
	if busy := busyError(t, err); len(busy.Holders) != 0 || !strings.Contains(err.Error(), "nobody was found") {
		t.Errorf("unmounted lazily: %v", err)
	}
	_ = h.Process.Kill()
	_ = h.Wait()
	l.says("unmounted", l.unmounted())
}
