package vm_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"kvmctl/internal/testenv"
	"kvmctl/test/guest"
	"kvmctl/vm/qmp"
	"kvmctl/vm/vmtest"
)

// The facts of QEMU that kvmctl stands on, asked of the installed QEMU itself and not by way of our own start: when a newer one comes, a
// fact that no longer holds is found here, by its name.

// qemu is a bare QEMU: no code of ours started it.
type qemu struct {
	t      *testing.T
	cmd    *exec.Cmd
	ended  chan struct{}
	stderr *lockedBuffer
}

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string { l.mu.Lock(); defer l.mu.Unlock(); return l.b.String() }

// bare starts QEMU with nothing but args; files become descriptors 3, 4, …
func bare(t *testing.T, uid uint32, files []*os.File, args ...string) *qemu {
	t.Helper()
	testenv.Need(t, testenv.QEMU)
	q := &qemu{t: t, ended: make(chan struct{}), stderr: &lockedBuffer{}}
	q.cmd = exec.Command("qemu-system-x86_64", append([]string{"-machine", "q35,accel=tcg", "-m", "192", "-nodefaults", "-no-user-config", "-display", "none"}, args...)...)
	q.cmd.ExtraFiles, q.cmd.Stderr = files, q.stderr
	q.cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uid, Gid: uid}}
	if err := q.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() { _ = q.cmd.Wait(); close(q.ended) }()
	t.Cleanup(func() { q.kill() })
	return q
}

func (q *qemu) kill() {
	_ = q.cmd.Process.Kill() // an error means that it has ended
	q.wait()
}

// wait waits for the end, and gives the exit status.
func (q *qemu) wait() int {
	q.t.Helper()
	select {
	case <-q.ended:
	case <-time.After(vmtest.Patience):
		q.t.Fatalf("QEMU does not end; it says %q", q.stderr)
	}
	return q.cmd.ProcessState.ExitCode()
}

// pair gives a connection of ours and the file for QEMU's end.
func pair(t *testing.T) (net.Conn, *os.File) {
	t.Helper()
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	ours, theirs := os.NewFile(uintptr(fds[0]), "ours"), os.NewFile(uintptr(fds[1]), "theirs")
	conn, err := net.FileConn(ours)
	if err != nil {
		t.Fatal(err)
	}
	ours.Close()
	t.Cleanup(func() { conn.Close(); theirs.Close() })
	return conn, theirs
}

// speak opens QMP over the connection.
func speak(t *testing.T, q *qemu, conn net.Conn) *qmp.Client {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), vmtest.Patience)
	defer cancel()
	c, err := qmp.NewClient(ctx, conn)
	if err != nil {
		t.Fatalf("%v; QEMU says %q", err, q.stderr)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

func (q *qemu) run(c *qmp.Client, command string) {
	q.t.Helper()
	ctx, cancel := context.WithTimeout(q.t.Context(), vmtest.Patience)
	defer cancel()
	if err := c.Execute(ctx, command, nil, nil); err != nil {
		q.t.Fatalf("%s: %v", command, err)
	}
}

// lockOwner asks the kernel who holds the POSIX lock of a file; -1: nobody.
func lockOwner(t *testing.T, path string) int {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	l := unix.Flock_t{Type: unix.F_WRLCK}
	if err := unix.FcntlFlock(f.Fd(), unix.F_GETLK, &l); err != nil {
		t.Fatal(err)
	}
	if l.Type == unix.F_UNLCK {
		return -1
	}
	return int(l.Pid)
}

const nobody = 65534

func openTemp(t *testing.T, name string, flags int) *os.File {
	t.Helper()
	f, err := os.OpenFile(name, flags, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

func TestQEMULocksItsPidfileAsLongAsItLives(t *testing.T) {
	t.Parallel()
	testenv.Need(t, testenv.QEMU)
	pidfile := filepath.Join(t.TempDir(), "qemu.pid")
	conn, theirs := pair(t)
	q := bare(t, 0, []*os.File{theirs}, "-S", "-pidfile", pidfile, "-chardev", "socket,id=m,fd=3", "-mon", "chardev=m,mode=control")
	speak(t, q, conn)
	if pid := lockOwner(t, pidfile); pid != q.cmd.Process.Pid {
		t.Errorf("locked by %d, QEMU is %d", pid, q.cmd.Process.Pid)
	}
	second := bare(t, 0, nil, "-S", "-pidfile", pidfile)
	if status := second.wait(); status != 1 || !strings.Contains(second.stderr.String(), "annot lock pid file") {
		t.Errorf("a second QEMU on the same pidfile: status %d, %q", status, second.stderr)
	}
	if pid := lockOwner(t, pidfile); pid != q.cmd.Process.Pid {
		t.Errorf("after the second: locked by %d, QEMU is %d", pid, q.cmd.Process.Pid)
	}
	q.kill()
	if pid := lockOwner(t, pidfile); pid != -1 { // and the file is there: lockOwner opened it
		t.Errorf("locked by %d after SIGKILL", pid)
	}
	conn, theirs = pair(t)
	next := bare(t, 0, []*os.File{theirs}, "-S", "-pidfile", pidfile, "-chardev", "socket,id=m,fd=3", "-mon", "chardev=m,mode=control")
	speak(t, next, conn)
	if pid := lockOwner(t, pidfile); pid != next.cmd.Process.Pid {
		t.Errorf("a QEMU does not take over a stale pidfile: locked by %d, it is %d", pid, next.cmd.Process.Pid)
	}
}

// A pidfile made beforehand for the guest's uid is enough: in its directory that uid can make nothing.
func TestQEMUTakesAPidfileThatWasMadeForIt(t *testing.T) {
	t.Parallel()
	h := newSite(t)
	pidfile := filepath.Join(h.Root, "qemu.pid")
	if err := errors.Join(os.WriteFile(pidfile, nil, 0o600), os.Chown(pidfile, nobody, nobody)); err != nil {
		t.Fatal(err)
	}
	conn, theirs := pair(t)
	q := bare(t, nobody, []*os.File{theirs}, "-S", "-pidfile", pidfile, "-chardev", "socket,id=m,fd=3", "-mon", "chardev=m,mode=control")
	c := speak(t, q, conn)
	if pid := lockOwner(t, pidfile); pid != q.cmd.Process.Pid {
		t.Errorf("locked by %d, QEMU is %d", pid, q.cmd.Process.Pid)
	}
	q.run(c, "quit")
	if status := q.wait(); status != 0 {
		t.Errorf("status %d, %q", status, q.stderr)
	}
}

// recorder starts a QEMU that writes its events to path while nobody listens, and gives a monitor to make some.
func recorder(t *testing.T, path, option string) (*qemu, *qmp.Client) {
	t.Helper()
	rec, theirRec := pair(t)
	ctl, theirCtl := pair(t)
	q := bare(t, nobody, []*os.File{theirRec, theirCtl, openTemp(t, path, os.O_WRONLY|os.O_CREATE|os.O_APPEND)}, "-S", "-add-fd", "fd=5,set=7",
		"-chardev", "socket,id=rec,fd=3,logfile=/dev/fdset/7"+option, "-mon", "chardev=rec,mode=control",
		"-chardev", "socket,id=ctl,fd=4", "-mon", "chardev=ctl,mode=control",
		"-sandbox", "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny")
	ctx, cancel := context.WithTimeout(t.Context(), vmtest.Patience)
	defer cancel()
	if _, err := qmp.Negotiate(ctx, rec); err != nil {
		t.Fatalf("%v; QEMU says %q", err, q.stderr)
	}
	rec.Close()
	return q, speak(t, q, ctl)
}

func eventsIn(t *testing.T, path string) (names []string) {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	entries, _, err := qmp.ParseLog(f, 0)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		names = append(names, e.Event.Name)
	}
	return names
}

func TestQEMUGoesOnRecordingWithNobodyListening(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name string
		end  func(*qemu, *qmp.Client)
		want []string
	}{
		{"quit", func(q *qemu, c *qmp.Client) { q.run(c, "quit") }, []string{"RESUME", "STOP", "SHUTDOWN"}},
		{"SIGTERM", func(q *qemu, _ *qmp.Client) { _ = q.cmd.Process.Signal(unix.SIGTERM) }, []string{"RESUME", "STOP", "SHUTDOWN"}},
		{"SIGKILL", func(q *qemu, _ *qmp.Client) { q.kill() }, []string{"RESUME", "STOP"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			path := filepath.Join(t.TempDir(), "events")
			q, c := recorder(t, path, ",logappend=on")
			q.run(c, "cont")
			q.run(c, "stop")
			tt.end(q, c)
			q.wait()
			if d := cmp.Diff(tt.want, eventsIn(t, path)); d != "" {
				t.Error(d)
			}
		})
	}
}

// Without logappend QEMU truncates what an earlier run wrote, although it was given a descriptor that only appends.
func TestARecorderNeedsLogappend(t *testing.T) {
	t.Parallel()
	for option, want := range map[string][]string{",logappend=on": {"EARLIER", "RESUME"}, "": {"RESUME"}} {
		path := filepath.Join(t.TempDir(), "events")
		if err := os.WriteFile(path, []byte(`{"timestamp": {"seconds": 1, "microseconds": 2}, "event": "EARLIER"}`+"\r\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		q, c := recorder(t, path, option)
		q.run(c, "cont")
		if d := cmp.Diff(want, eventsIn(t, path)); d != "" {
			t.Errorf("with %q: %s", option, d)
		}
		q.kill()
	}
}

// QEMU appends even behind a hole, or behind an end that was moved.
func TestARecorderGoesOnBehindWhatWasPunchedOut(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "events")
	q, c := recorder(t, path, ",logappend=on")
	q.run(c, "cont")
	f := openTemp(t, path, os.O_RDWR)
	st, err := f.Stat()
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.Fallocate(int(f.Fd()), unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, 0, st.Size()); err != nil {
		t.Fatal(err)
	}
	q.run(c, "stop")
	b := read(t, path)
	if !bytes.Equal(b[:st.Size()], make([]byte, st.Size())) || !bytes.Contains(b[st.Size():], []byte(`"STOP"`)) {
		t.Errorf("%q", b)
	}
}

func TestDaemonizeDiesUnderTheSandboxWeUse(t *testing.T) {
	t.Parallel()
	testenv.Need(t, testenv.QEMU)
	pidfile := filepath.Join(t.TempDir(), "qemu.pid")
	q := bare(t, 0, nil, "-S", "-daemonize", "-pidfile", pidfile, "-sandbox", "on,spawn=deny")
	if status := q.wait(); status == 0 {
		t.Errorf("it became a daemon: status %d, %q", status, q.stderr)
		if b, err := os.ReadFile(pidfile); err == nil {
			var pid int
			if _, err := fmt.Sscan(string(b), &pid); err == nil && lockOwner(t, pidfile) == pid {
				_ = unix.Kill(pid, unix.SIGKILL)
			}
		}
	}
}

// An image of root's alone, handed over as two descriptors in one set, is opened and locked by a QEMU that could not open its path.
func TestAnImageHandedOverAsDescriptorsIsLocked(t *testing.T) {
	t.Parallel()
	h := newSite(t)
	path := h.image("qcow2")
	if err := os.Chmod(path, 0o600); err != nil {
		t.Fatal(err)
	}
	conn, theirs := pair(t)
	q := bare(t, nobody, []*os.File{theirs, openTemp(t, path, os.O_RDWR), openTemp(t, path, os.O_RDONLY)}, "-S",
		"-chardev", "socket,id=m,fd=3", "-mon", "chardev=m,mode=control", "-add-fd", "fd=4,set=4", "-add-fd", "fd=5,set=4",
		"-blockdev", `{"driver":"file","node-name":"f","filename":"/dev/fdset/4"}`, "-blockdev", `{"driver":"qcow2","node-name":"d","file":"f"}`,
		"-device", "virtio-blk-pci,drive=d")
	c := speak(t, q, conn)
	// qemu-io opens for writing as a second QEMU would.
	out, err := exec.Command("qemu-io", "-c", "write 0 512", path).CombinedOutput()
	if err == nil || !strings.Contains(string(out), `Failed to get "write" lock`) {
		t.Errorf("a second writer: %v, %s", err, out)
	}
	q.run(c, "quit")
	q.wait()
	if out, err := exec.Command("qemu-io", "-c", "write 0 512", path).CombinedOutput(); err != nil {
		t.Errorf("after its end: %v, %s", err, out)
	}
}

// A kernel that is root's alone cannot be opened by path, and boots from a memfd.
func TestAKernelInMemoryBoots(t *testing.T) {
	t.Parallel()
	h := newSite(t)
	images, err := guest.Build(t.Context(), guest.DefaultDir())
	if err != nil {
		t.Fatal(err)
	}
	closed := filepath.Join(h.Root, "vmlinuz")
	if err := os.WriteFile(closed, read(t, images.Kernel), 0o600); err != nil {
		t.Fatal(err)
	}
	refused := bare(t, nobody, []*os.File{openTemp(t, closed, os.O_RDONLY)}, "-S", "-kernel", "/proc/self/fd/3")
	if status := refused.wait(); status != 1 || !strings.Contains(refused.stderr.String(), "could not open kernel file") {
		t.Errorf("a file of root's: status %d, %q", status, refused.stderr)
	}
	var files []*os.File
	for i, path := range []string{closed, images.Initrd} {
		fd, err := unix.MemfdCreate(fmt.Sprint(i), unix.MFD_CLOEXEC)
		if err != nil {
			t.Fatal(err)
		}
		f := os.NewFile(uintptr(fd), path)
		defer f.Close()
		if _, err := f.Write(read(t, path)); err != nil {
			t.Fatal(err)
		}
		files = append(files, f)
	}
	console := filepath.Join(h.Root, "console")
	files = append(files, openTemp(t, console, os.O_WRONLY|os.O_CREATE))
	bare(t, nobody, files, "-kernel", "/proc/self/fd/3", "-initrd", "/proc/self/fd/4", "-append", guest.Cmdline,
		"-add-fd", "fd=5,set=5", "-serial", "file:/dev/fdset/5")
	h.until("the guest is ready", func() bool { return bytes.Contains(read(t, console), []byte(guest.Ready)) })
}

func TestATAPVanishesWithTheQEMUThatHoldsIt(t *testing.T) {
	t.Parallel()
	testenv.Need(t, testenv.QEMU)
	room := newTapRoom(t)
	tap, err := room.open("kvtest.0", 0)
	if err != nil {
		t.Fatal(err)
	}
	conn, theirs := pair(t)
	q := bare(t, nobody, []*os.File{theirs, tap}, "-S", "-chardev", "socket,id=m,fd=3", "-mon", "chardev=m,mode=control",
		"-netdev", "tap,id=n,fd=4", "-device", "virtio-net-pci,netdev=n,romfile=")
	tap.Close()
	speak(t, q, conn)
	if names := room.names(t); !slices.Equal(names, []string{"kvtest.0"}) {
		t.Fatalf("while it runs: %q", names)
	}
	q.kill()
	site{nil, t}.until("the TAP is gone", func() bool { return len(room.names(t)) == 0 })
}

func TestASecondClientOfAMonitorIsNotGreeted(t *testing.T) {
	t.Parallel()
	h := newSite(t)
	path := filepath.Join(h.Root, "qmp")
	q := bare(t, 0, nil, "-S", "-qmp", "unix:"+path+",server=on,wait=off")
	h.until("the monitor listens", func() bool { return isThere(path) })
	var first *qmp.Client
	h.until("it answers", func() bool {
		ctx, cancel := context.WithTimeout(t.Context(), vmtest.Patience)
		defer cancel()
		c, err := qmp.Dial(ctx, path)
		first = c
		return err == nil
	})
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	if _, err := qmp.Dial(ctx, path); !errors.Is(err, qmp.ErrBusy) {
		t.Errorf("a second client: %v", err)
	}
	first.Close()
	c, err := qmp.Dial(h.within(), path)
	if err != nil {
		t.Fatalf("after the first has gone: %v", err)
	}
	defer c.Close()
	q.run(c, "quit")
	q.wait()
}

// A guest that is let go says so first of all: by its RESUME a start is known to have come to its end.
func TestQEMUWritesRESUMEBeforeItAnswersCont(t *testing.T) {
	t.Parallel()
	for range 5 {
		path := filepath.Join(t.TempDir(), "events")
		q, c := recorder(t, path, ",logappend=on")
		q.run(c, "cont")
		q.kill()
		if d := cmp.Diff([]string{"RESUME"}, eventsIn(t, path)); d != "" {
			t.Error(d)
		}
	}
}

// QEMU ignores a full log and goes on.
func TestAFullLogHoldsNobodyUp(t *testing.T) {
	t.Parallel()
	h := newSite(t)
	dir := filepath.Join(h.Root, "small")
	if err := errors.Join(os.Mkdir(dir, 0o700), unix.Mount("kvmctl-test", dir, "tmpfs", 0, "size=4096")); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Unmount(dir, unix.MNT_DETACH) })
	path := filepath.Join(dir, "events")
	q, c := recorder(t, path, ",logappend=on")
	for range 60 { // about 80 bytes each
		q.run(c, "cont")
		q.run(c, "stop")
	}
	if b := read(t, path); len(b) != 4096 {
		t.Errorf("%d bytes", len(b))
	}
	q.run(c, "query-status")
}
