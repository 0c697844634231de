package qmp_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"image/png"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	goqemu "github.com/digitalocean/go-qemu/qemu"
	"github.com/digitalocean/go-qemu/qmp/raw"
	"golang.org/x/sys/unix"

	"kvmctl/vm/qmp"
)

func TestRealQEMUServesOneClient(t *testing.T) {
	g := startQEMU(t, 2)
	first := dial(t, g.sockets[0])
	start := time.Now()
	_, err := qmp.Dial(context.Background(), g.sockets[0])
	if !errors.Is(err, qmp.ErrBusy) {
		t.Fatalf("second client: %v, want ErrBusy", err)
	}
	if d := time.Since(start); d < time.Second || d > 5*time.Second {
		t.Errorf("found out after %v, want 1s", d)
	}
	dial(t, g.sockets[1]) // the other monitor is free
	first.Close()
	dial(t, g.sockets[0])
}

func TestRealQEMUWithAFullQueueOfClients(t *testing.T) {
	// QEMU's own socket lets one client wait; further ones get EAGAIN from the kernel, not a place.
	dir := t.TempDir()
	path := filepath.Join(dir, "s")
	if len(path) > 100 {
		t.Fatalf("temporary directory too long for QEMU: %s", path)
	}
	startQEMU(t, 0, "-qmp", "unix:"+path+",server=on,wait=off")
	// The one client that is served: until QEMU has accepted it, it takes a place in the queue, which would be free again in a moment.
	waitFor(t, func() bool { // QEMU binds the name before it listens
		c, err := qmp.Dial(within(t, 30*time.Second), path)
		if err == nil {
			t.Cleanup(func() { c.Close() })
		}
		return err == nil
	})
	waitFor(t, func() bool {
		conn, err := net.Dial("unix", path)
		if err == nil {
			t.Cleanup(func() { conn.Close() })
		}
		return errors.Is(err, unix.EAGAIN)
	})
	ctx, cancel := context.WithTimeout(context.Background(), 100*time.Millisecond)
	defer cancel()
	if _, err := qmp.Dial(ctx, path); !errors.Is(err, qmp.ErrBusy) || !strings.Contains(err.Error(), "too many clients wait") {
		t.Errorf("error %v, want ErrBusy", err)
	}
}

// waitFor polls for a fact of another process that announces nothing.
func waitFor(t *testing.T, f func() bool) {
	t.Helper()
	for ctx := within(t, 30*time.Second); !f(); {
		select {
		case <-ctx.Done():
			t.Fatal("waited in vain")
		case <-time.After(5 * time.Millisecond):
		}
	}
}

func TestRealQEMUStoppedAndContinued(t *testing.T) {
	g := startQEMU(t, 1)
	c := dial(t, g.sockets[0])
	g.stop(t)
	for range 3 {
		start := time.Now()
		_, err := status(t, context.Background(), c)
		wantDeadline(t, err, `run "query-status": no answer after `, time.Since(start), 500*time.Millisecond)
	}
	if err := g.cmd.Process.Signal(syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	if s, err := status(t, within(t, 30*time.Second), c); err != nil || s != "prelaunch" {
		t.Fatalf("after SIGCONT: %q, %v", s, err)
	}
	if c.Strays() != 3 {
		t.Errorf("%d late answers skipped, want 3", c.Strays())
	}
}

// stop sends SIGSTOP and waits until each thread has stopped: QEMU answers until then.
func (g *guest) stop(t *testing.T) {
	t.Helper()
	if err := g.cmd.Process.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	waitFor(t, func() bool {
		stats, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/stat", g.cmd.Process.Pid))
		if err != nil {
			t.Fatal(err)
		}
		for _, path := range stats {
			b, err := os.ReadFile(path)
			if err == nil && !strings.HasPrefix(string(b[bytes.LastIndexByte(b, ')')+1:]), " T") {
				return false
			}
		}
		return len(stats) > 0
	})
}

func wantDeadline(t *testing.T, err error, prefix string, took, want time.Duration) {
	t.Helper()
	if !errors.Is(err, context.DeadlineExceeded) || !strings.HasPrefix(err.Error(), prefix) {
		t.Fatalf("error %v", err)
	}
	if took < want || took > want+5*time.Second {
		t.Errorf("took %v, want %v", took, want)
	}
}

func TestRealQEMUStoppedBeforeTheGreeting(t *testing.T) {
	g := startQEMU(t, 1)
	dial(t, g.sockets[0]).Close()
	g.stop(t)
	start := time.Now()
	_, err := qmp.Dial(context.Background(), g.sockets[0])
	if !errors.Is(err, qmp.ErrBusy) || time.Since(start) > 6*time.Second {
		t.Fatalf("error %v after %v", err, time.Since(start))
	}
}

func TestRealQEMUKilledWithACommandInFlight(t *testing.T) {
	g := startQEMU(t, 1)
	c := dial(t, g.sockets[0])
	g.stop(t)
	got := make(chan error)
	go func() {
		_, err := status(t, within(t, 30*time.Second), c)
		got <- err
	}()
	if err := g.cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	if err := <-got; !errors.Is(err, qmp.ErrClosed) || !strings.HasPrefix(err.Error(), `run "query-status": QMP connection closed: `) {
		t.Fatalf("error %v, want ErrClosed", err)
	}
	<-c.Done()
	<-g.exited
	if _, err := qmp.Dial(within(t, 30*time.Second), g.sockets[0]); !errors.Is(err, unix.ECONNREFUSED) {
		t.Errorf("dial a dead QEMU: %v", err)
	}
}

func TestRealQEMUFloodsEventsThatNobodyReads(t *testing.T) {
	c := dial(t, startQEMU(t, 1).sockets[0])
	ctx := within(t, time.Minute)
	for range 400 {
		if err := c.Execute(ctx, "system_reset", nil, nil); err != nil {
			t.Fatal(err)
		}
	}
	// In prelaunch a reset is carried out by the main loop when it gets to it, so the number of events is QEMU's choice; stop and cont each
	// report at once.
	for range 200 {
		for _, cmd := range []string{"cont", "stop"} {
			if err := c.Execute(ctx, cmd, nil, nil); err != nil {
				t.Fatal(err)
			}
		}
	}
	if c.Dropped() == 0 || len(c.Events()) != qmp.EventQueue {
		t.Errorf("dropped %d, queued %d", c.Dropped(), len(c.Events()))
	}
	if s, err := status(t, ctx, c); err != nil || s != "paused" {
		t.Errorf("status %q, %v", s, err)
	}
	if err := c.Execute(ctx, "quit", nil, nil); err != nil {
		t.Fatal(err)
	}
	var last qmp.Event
	for e := range c.Events() {
		last = e
	}
	var data struct {
		Guest  bool
		Reason string
	}
	if err := last.Decode(&data); err != nil || last.Name != "SHUTDOWN" || data.Guest || data.Reason != "host-qmp-quit" {
		t.Errorf("last event %s %s, %v", last.Name, last.Data, err)
	}
	if d := time.Since(last.Time); d < -time.Second || d > time.Minute {
		t.Errorf("event is %v old", d)
	}
}

func TestRealQEMUUnderGoQEMU(t *testing.T) {
	c := dial(t, startQEMU(t, 1).sockets[0])
	m := c.Monitor()
	if err := m.Connect(); err != nil {
		t.Fatal(err)
	}
	d, err := goqemu.NewDomain(m, "test")
	if err != nil {
		t.Fatal(err)
	}
	if s, err := d.Status(); err != nil || s != goqemu.StatusPreLaunch {
		t.Errorf("status %v, %v", s, err)
	}
	if v, err := d.Version(); err != nil || v != c.Greeting().Version() {
		t.Errorf("version %q, %v", v, err)
	}
	if devs, err := d.PCIDevices(); err != nil || len(devs) == 0 {
		t.Errorf("%d PCI devices, %v", len(devs), err)
	}
	events, done, err := d.Events()
	if err != nil {
		t.Fatal(err)
	}
	rm := raw.NewMonitor(m)
	// The events of go-qemu are read while its command runs.
	resumed := make(chan string)
	go func() { resumed <- (<-events).Event }()
	if err := rm.Cont(); err != nil {
		t.Fatal(err)
	}
	if e := <-resumed; e != "RESUME" {
		t.Errorf("event %s, want RESUME", e)
	}
	close(done)
	if st, err := rm.QueryStatus(); err != nil || st.Status != raw.RunStateRunning || !st.Running {
		t.Errorf("raw status %+v, %v", st, err)
	}
	err = rm.DeviceDel("nothing")
	var refused *qmp.Error
	if !errors.As(err, &refused) || refused.Class != "DeviceNotFound" {
		t.Errorf("error %v, want class DeviceNotFound", err)
	}
	if _, err := m.Run([]byte(`{"exec-oob": "migrate-pause"}`)); err == nil || !strings.HasPrefix(err.Error(), `run "migrate-pause": `) || strings.Contains(err.Error(), "oob") {
		t.Errorf("out-of-band command: %v", err)
	}
	if err := d.Close(); err != nil {
		t.Error(err)
	}
	if err := m.Connect(); !errors.Is(err, qmp.ErrClosed) {
		t.Errorf("Connect after Close: %v", err)
	}
}

func TestRealQEMUWritesAScreenshotThroughAFileItWasHanded(t *testing.T) {
	c := dial(t, startQEMU(t, 1, "-device", "VGA,id=vga0").sockets[0])
	ctx := within(t, time.Minute)
	path := filepath.Join(t.TempDir(), "shot.png")
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var fd struct {
		Set int `json:"fdset-id"`
	}
	if err := c.ExecuteWithFile(ctx, "add-fd", map[string]int{"fdset-id": 9}, &fd, f); err != nil || fd.Set != 9 {
		t.Fatalf("fd set %d, %v", fd.Set, err)
	}
	if err := c.Execute(ctx, "screendump", map[string]string{"filename": "/dev/fdset/9", "format": "png", "device": "vga0"}, nil); err != nil {
		t.Fatal(err)
	}
	if err := c.Execute(ctx, "remove-fd", map[string]int{"fdset-id": 9}, nil); err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	img, err := png.Decode(bytes.NewReader(b))
	if err != nil || img.Bounds().Dx() < 300 || img.Bounds().Dy() < 200 {
		t.Fatalf("screenshot of %d bytes: %v", len(b), err)
	}
	err = c.Execute(ctx, "add-fd", map[string]int{"fdset-id": 9}, nil)
	wantError(t, err, `run "add-fd": No file descriptor supplied via SCM_RIGHTS`)
}

func TestRealQEMURefusesASecretAndNothingQuotesIt(t *testing.T) {
	c := dial(t, startQEMU(t, 1).sockets[0])
	for cmd, args := range map[string]map[string]string{
		"object-add":            {"qom-type": "secret", "id": "s0", "format": "base64", "data": "!hunter2!"},
		"set_password":          {"protocol": "vnc", "password": "hunter2", "connected": "hunter2"},
		"change-vnc-password":   {"password": "hunter2", "hunter": "2"},
		"human-monitor-command": {"command-line": "set_password vnc hunter2", "cpu-index": "hunter2"},
	} {
		err := c.Execute(within(t, 30*time.Second), cmd, args, nil)
		if !errors.As(err, new(*qmp.Error)) || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: error %v", cmd, err)
		}
	}
}

func TestRealQEMURefusesANoncharacterWithoutAnID(t *testing.T) {
	// Why encode refuses them: the answer cannot be matched.
	g := startQEMU(t, 1)
	conn, err := qmp.DialUnix(within(t, 30*time.Second), g.sockets[0])
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(30 * time.Second)); err != nil {
		t.Fatal(err)
	}
	if _, err := qmp.Negotiate(within(t, 30*time.Second), conn); err != nil {
		t.Fatal(err)
	}
	if _, err := conn.Write([]byte("{\"execute\": \"human-monitor-command\", \"arguments\": {\"command-line\": \"info \uFFFF\"}, \"id\": \"x\"}\n")); err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 4096)
	n, err := conn.Read(buf)
	if err != nil || !bytes.Contains(buf[:n], []byte(`"error"`)) || bytes.Contains(buf[:n], []byte(`"id"`)) {
		t.Errorf("answer %q, %v", buf[:n], err)
	}
}

func TestRealQEMUBehindALongPath(t *testing.T) {
	g := startQEMU(t, 1)
	dir := filepath.Join(t.TempDir(), strings.Repeat("d", 150))
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(g.sockets[0], filepath.Join(dir, "qmp.sock")); err != nil {
		t.Fatal(err)
	}
	if s, err := status(t, within(t, 30*time.Second), dial(t, filepath.Join(dir, "qmp.sock"))); err != nil || s != "prelaunch" {
		t.Errorf("%q, %v", s, err)
	}
}
