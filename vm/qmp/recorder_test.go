package qmp_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"kvmctl/vm/qmp"
	"kvmctl/vm/qmp/qmptest"
)

// socketpair gives the recorder's two ends: ours as a connection, QEMU's as a file.
func socketpair(t *testing.T) (net.Conn, *os.File) {
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

func TestRealQEMURecordsItsEventsWithNobodyListening(t *testing.T) {
	needQEMU(t)
	g := &guest{exited: make(chan struct{})}
	conn, theirs := socketpair(t)
	control, theirControl := socketpair(t)
	path := filepath.Join(t.TempDir(), "events")
	// QEMU wants the access mode that it would open with: O_WRONLY.
	sink, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer sink.Close()
	log, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	g.start(t, []string{"-M", "q35,accel=tcg", "-m", "64", "-nodefaults", "-no-user-config", "-display", "none", "-S",
		"-add-fd", "fd=5,set=7",
		"-chardev", "socket,id=rec,fd=3,logfile=/dev/fdset/7,logappend=on", "-mon", "chardev=rec,mode=control",
		"-chardev", "socket,id=ctl,fd=4", "-mon", "chardev=ctl,mode=control"}, []*os.File{theirs, theirControl, sink})
	theirs.Close()
	theirControl.Close()
	ctx := within(t, time.Minute)
	greeting, err := qmp.Negotiate(ctx, conn)
	if err != nil || greeting.Major < 7 {
		t.Fatalf("%+v, %v", greeting, err)
	}
	conn.Close()
	c, err := qmp.NewClient(ctx, control)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	for _, cmd := range []string{"cont", "stop"} {
		if err := c.Execute(ctx, cmd, nil, nil); err != nil {
			t.Fatal(err)
		}
	}
	names, report := logNames(t, log, 0)
	if d := cmp.Diff([]string{"RESUME", "STOP"}, names); d != "" {
		t.Error(d)
	}
	// What was read is punched out; the scan goes on behind it.
	if err := unix.Fallocate(int(log.Fd()), unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, 0, report.End); err != nil {
		t.Fatal(err)
	}
	if err := c.Execute(ctx, "quit", nil, nil); err != nil {
		t.Fatal(err)
	}
	<-g.exited
	names, after := logNames(t, log, report.End)
	if d := cmp.Diff([]string{"SHUTDOWN"}, names); d != "" {
		t.Error(d)
	}
	names, whole := logNames(t, log, 0)
	if d := cmp.Diff([]string{"SHUTDOWN"}, names); d != "" {
		t.Errorf("from the start, through the hole: %s", d)
	}
	if d := cmp.Diff(qmp.LogReport{End: after.End, Holes: report.End}, whole); d != "" {
		t.Error(d)
	}
	if d := cmp.Diff(qmp.LogReport{End: report.End, Greetings: 1}, report); d != "" {
		t.Error(d)
	}
}

func logNames(t *testing.T, f *os.File, from int64) ([]string, qmp.LogReport) {
	t.Helper()
	if _, err := f.Seek(from, 0); err != nil {
		t.Fatal(err)
	}
	entries, report, err := qmp.ParseLog(f, from)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Event.Name)
	}
	return names, report
}

func TestNegotiateThatFails(t *testing.T) {
	const hello = qmptest.Greeting + "\r\n"
	for _, tt := range []struct {
		name, says, text string
		is               error
	}{
		{"silence", "", "no greeting: another client holds this monitor, or QEMU is silent (waited 1s): context deadline exceeded", qmp.ErrBusy},
		{"half a greeting", hello[:20], "read the QMP greeting: context deadline exceeded", context.DeadlineExceeded},
		{"no greeting", "{\"return\": {}}\n", "read the QMP greeting: QMP connection closed: protocol error after 0 bytes: a first line that is no greeting", qmp.ErrClosed},
		{"no consent", hello, `run "qmp_capabilities": context deadline exceeded`, context.DeadlineExceeded},
		{"refused", hello + "{\"error\": {\"class\": \"GenericError\", \"desc\": \"no\"}}\n", `run "qmp_capabilities": no`, nil},
		{"an event", hello + logStop, fmt.Sprintf(`run "qmp_capabilities": QMP connection closed: protocol error after %d bytes: no answer to qmp_capabilities`, len(hello+logStop)), qmp.ErrClosed},
		{"garbage", hello + "x\n", fmt.Sprintf(`run "qmp_capabilities": QMP connection closed: protocol error after %d bytes: a line that is no JSON object`, len(hello)), qmp.ErrClosed},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ours, theirs := net.Pipe()
				defer theirs.Close()
				defer ours.Close()
				go io.Copy(io.Discard, theirs)
				go io.WriteString(theirs, tt.says)
				_, err := qmp.Negotiate(t.Context(), ours)
				if tt.is == nil {
					tt.is = err
				}
				wantError(t, err, tt.text, tt.is)
			})
		})
	}
	conn, theirs := socketpair(t)
	theirs.Close()
	if _, err := qmp.Negotiate(within(t, time.Minute), conn); !errors.Is(err, qmp.ErrClosed) || !errors.Is(err, io.EOF) {
		t.Errorf("dead: %v", err)
	}
}
