package qmp_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"kvmctl/internal/testenv"
	"kvmctl/vm/qmp"
)

// guest is a real QEMU without an operating system, with monitors on sockets of the test's own.
type guest struct {
	cmd     *exec.Cmd
	sockets []string
	exited  chan struct{} // closed when the process was reaped
}

// startQEMU spawns QEMU, stopped before its first instruction, with n monitors whose listening sockets it inherits.
func startQEMU(t testing.TB, n int, extra ...string) *guest {
	t.Helper()
	testenv.Need(t, testenv.QEMU)
	dir, err := os.MkdirTemp("", "qmp") // a short path, unlike t.TempDir's
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	g := &guest{exited: make(chan struct{})}
	argv := []string{"-M", "q35,accel=tcg", "-m", "64", "-nodefaults", "-no-user-config", "-display", "none", "-S"}
	var files []*os.File
	for i := range n {
		path := filepath.Join(dir, fmt.Sprintf("m%d.sock", i))
		l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
		if err != nil {
			t.Fatal(err)
		}
		l.SetUnlinkOnClose(false)
		f, err := l.File()
		if err != nil {
			t.Fatal(err)
		}
		l.Close()
		defer f.Close()
		files = append(files, f)
		g.sockets = append(g.sockets, path)
		argv = append(argv, "-chardev", fmt.Sprintf("socket,id=m%d,fd=%d,server=on,wait=off", i, 3+i), "-mon", fmt.Sprintf("chardev=m%d,mode=control", i))
	}
	g.start(t, append(argv, extra...), files)
	return g
}

func (g *guest) start(t testing.TB, argv []string, files []*os.File) {
	t.Helper()
	g.cmd = exec.Command("qemu-system-x86_64", argv...)
	g.cmd.ExtraFiles = files
	g.cmd.Stdout, g.cmd.Stderr = t.Output(), t.Output()
	if err := g.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() { _ = g.cmd.Wait(); close(g.exited) }()
	t.Cleanup(func() {
		_ = g.cmd.Process.Kill()
		<-g.exited
	})
}

func needQEMU(t testing.TB) { t.Helper(); testenv.Need(t, testenv.QEMU) }

// within is a context for what has to be done on a slow and busy machine.
func within(t testing.TB, d time.Duration) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), d)
	t.Cleanup(cancel)
	return ctx
}

func dial(t testing.TB, path string) *qmp.Client {
	t.Helper()
	c, err := qmp.Dial(within(t, 30*time.Second), path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

func status(t testing.TB, ctx context.Context, c *qmp.Client) (string, error) {
	t.Helper()
	var s struct{ Status string }
	err := c.Execute(ctx, "query-status", nil, &s)
	return s.Status, err
}

func TestRealQEMUAnswersAndRefuses(t *testing.T) {
	c := dial(t, startQEMU(t, 1).sockets[0])
	ctx := within(t, 30*time.Second)
	if s, err := status(t, ctx, c); err != nil || s != "prelaunch" {
		t.Fatalf("status = %q, %v; want prelaunch", s, err)
	}
	var schema json.RawMessage
	if err := c.Execute(ctx, "query-qmp-schema", nil, &schema); err != nil || len(schema) < 100<<10 {
		t.Fatalf("schema of %d bytes, %v; want more than go-qemu's 64 KiB", len(schema), err)
	}
	err := c.Execute(ctx, "no-such-command", nil, nil)
	var refused *qmp.Error
	if !errors.As(err, &refused) || refused.Class != "CommandNotFound" {
		t.Fatalf("error %v; want class CommandNotFound", err)
	}
	if want := `run "no-such-command": CommandNotFound: The command no-such-command has not been found`; err.Error() != want {
		t.Errorf("error %q\nwant  %q", err, want)
	}
	if out, err := c.HMP(ctx, "info status"); err != nil || out != "VM status: paused (prelaunch)\r\n" {
		t.Errorf("HMP: %q, %v", out, err)
	}
}
