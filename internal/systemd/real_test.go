package systemd_test

import (
	"context"
	"errors"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/sys/unix"

	"kvmctl/internal/systemd"
	"kvmctl/internal/systemd/systemdtest"
)

var testUnits = map[string]string{
	"good.service":    "[Service]\nExecStart=/bin/sleep 1000\n",
	"other.service":   "[Service]\nExecStart=/bin/sleep 1000\n[Install]\nWantedBy=default.target\n",
	"bad.service":     "[Service]\nType=oneshot\nExecStart=/bin/false\n",
	"hang.service":    "[Service]\nType=oneshot\nTimeoutStartSec=infinity\nExecStart=/bin/sleep 1000\n",
	"oneshot.service": "[Service]\nType=oneshot\nRemainAfterExit=yes\nExecStart=/bin/true\n",
}

func deadline(t *testing.T, d time.Duration) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), d)
	t.Cleanup(cancel)
	return ctx
}

func manager(t *testing.T, r *systemdtest.Real) (*systemd.Manager, context.Context) {
	t.Helper()
	ctx := deadline(t, 30*time.Second)
	m, err := systemd.Dial(ctx, r.Socket)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(m.Close)
	return m, ctx
}

func TestJobsOfARealSystemd(t *testing.T) {
	r := systemdtest.NewReal(t, testUnits)
	r.Enable(t, "other.service")
	m, ctx := manager(t, r)
	state := func(unit string) systemd.UnitState {
		t.Helper()
		s, err := m.Unit(ctx, unit)
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	for range 2 { // started twice is as started once
		if err := m.Start(ctx, "good.service"); err != nil {
			t.Fatal(err)
		}
		if s := state("good.service"); s.Active != "active" || s.Sub != "running" || s.MainPID == 0 || s.Load != "loaded" || s.Job != 0 {
			t.Errorf("running: %+v", s)
		}
	}
	for range 2 {
		if err := m.Stop(ctx, "good.service"); err != nil {
			t.Fatal(err)
		}
		if s := state("good.service"); s != (systemd.UnitState{Load: "loaded", Active: "inactive", Sub: "dead"}) {
			t.Errorf("stopped: %+v", s)
		}
	}
	var job *systemd.JobError
	for range 8 { // more often than systemd's own limit lets (StartLimitBurst=5)
		if err := m.Start(ctx, "bad.service"); !errors.As(err, &job) || job.Result != "failed" {
			t.Fatalf("a unit that fails: %v", err)
		}
	}
	if err := m.Start(ctx, "nonexistent.service"); !errors.Is(err, systemd.ErrNoUnit) {
		t.Errorf("start what does not exist: %v", err)
	}
	if err := m.Stop(ctx, "nonexistent.service"); !errors.Is(err, systemd.ErrNoUnit) {
		t.Errorf("stop what does not exist: %v", err)
	}
	if s := state("nonexistent.service"); s.Load != "not-found" || s.Active != "inactive" {
		t.Errorf("what does not exist: %+v", s)
	}
	if err := m.Kill(ctx, "good.service"); err != nil {
		t.Errorf("kill what does not run: %v", err)
	}
	short := deadline(t, 500*time.Millisecond)
	if err := m.Start(short, "hang.service"); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a start that hangs: %v", err)
	}
	if s := state("hang.service"); s.Active != "activating" || s.Job == 0 {
		t.Errorf("starting: %+v", s)
	}
	if err := m.Stop(ctx, "hang.service"); err != nil {
		t.Errorf("stop what hangs at its start: %v", err)
	}
	for unit, want := range map[string]string{"other.service": "enabled", "good.service": "static", "nonexistent.service": ""} {
		if got, err := m.FileState(ctx, unit); got != want || err != nil {
			t.Errorf("is %s enabled: %q, %v; want %q", unit, got, err, want)
		}
	}
}

func bus(t *testing.T, socket string) *systemd.Bus {
	t.Helper()
	b := systemd.NewBus(socket)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	go func() { done <- b.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return b
}

// seen waits until a watched unit is as it should be, and gives how long that took. It asks only after it was told of a change: what is not
// pushed is not seen.
func seen(t *testing.T, b *systemd.Bus, told <-chan struct{}, unit string, want func(systemd.UnitState) bool) time.Duration {
	t.Helper()
	began := time.Now()
	ctx := deadline(t, 20*time.Second)
	for {
		s, err := b.State(ctx, unit)
		if err == nil && want(s) {
			return time.Since(began)
		}
		select {
		case <-told:
		case <-ctx.Done():
			t.Fatalf("last seen: %+v, %v", s, err)
		}
	}
}

func TestBusHearsOfChanges(t *testing.T) {
	before := goleak.IgnoreCurrent()
	t.Cleanup(func() { goleak.VerifyNone(t, before) }) // the last of all
	r := systemdtest.NewReal(t, testUnits)
	b := bus(t, r.Socket)
	told := make(chan struct{}, 1)
	var count atomic.Int32
	stop := b.Watch("good.service", func() {
		count.Add(1)
		select {
		case told <- struct{}{}:
		default:
		}
	})
	active := func(s systemd.UnitState) bool { return s.Active == "active" && s.MainPID > 0 }
	gone := func(s systemd.UnitState) bool { return s.Active == "inactive" && s.Job == 0 }
	seen(t, b, told, "good.service", gone)
	r.Systemctl(t, "start", "good.service")
	seen(t, b, told, "good.service", active)
	r.Systemctl(t, "stop", "good.service")
	seen(t, b, told, "good.service", gone)
	r.Systemctl(t, "start", "good.service")
	seen(t, b, told, "good.service", active)
	s, err := b.State(t.Context(), "good.service")
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.Kill(s.MainPID, unix.SIGKILL); err != nil {
		t.Fatal(err)
	}
	took := seen(t, b, told, "good.service", func(s systemd.UnitState) bool { return s.Active == "failed" })
	t.Logf("a main process's end was told after %v", took)

	// systemd is upgraded: it executes itself anew and drops every connection.
	r.Systemctl(t, "start", "good.service")
	r.Systemctl(t, "daemon-reexec")
	seen(t, b, told, "good.service", active)
	r.Systemctl(t, "daemon-reload")
	seen(t, b, told, "good.service", active)
	r.Systemctl(t, "stop", "good.service")
	seen(t, b, told, "good.service", gone)

	stop()
	n := count.Load()
	r.Systemctl(t, "start", "good.service")
	if count.Load() != n {
		t.Error("told after the watch was stopped")
	}
}

// A manager that hangs, and then one that is gone: whoever asks has his answer by his own deadline.
func TestBusOfASilentSystemd(t *testing.T) {
	r := systemdtest.NewReal(t, testUnits)
	b := bus(t, r.Socket)
	defer b.Watch("good.service", func() {})()
	if _, err := b.State(deadline(t, 20*time.Second), "good.service"); err != nil {
		t.Fatal(err)
	}
	if err := r.Process.Signal(unix.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	silent := func(what string) {
		t.Helper()
		for end := time.Now().Add(20 * time.Second); ; { // what was proved a moment ago is believed for a second
			began := time.Now()
			_, err := b.State(deadline(t, 200*time.Millisecond), "good.service")
			if took := time.Since(began); took > 5*time.Second {
				t.Fatalf("%s: waited %v", what, took)
			}
			if errors.Is(err, systemd.ErrSilent) {
				return
			}
			if time.Now().After(end) {
				t.Fatalf("%s: %v", what, err)
			}
		}
	}
	silent("stopped")
	if err := r.Process.Signal(unix.SIGCONT); err != nil {
		t.Fatal(err)
	}
	if _, err := b.State(deadline(t, 20*time.Second), "good.service"); err != nil {
		t.Errorf("continued: %v", err)
	}
	if err := r.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	silent("killed")
}

func TestBusOfNoSystemd(t *testing.T) {
	b := bus(t, t.TempDir()+"/private")
	_, err := b.State(deadline(t, 200*time.Millisecond), "good.service")
	if !errors.Is(err, systemd.ErrSilent) || !errors.Is(err, os.ErrNotExist) || !strings.Contains(err.Error(), "reach systemd") {
		t.Errorf("got %v", err)
	}
}
