package ha

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"kvmctl/ha/check"
	"kvmctl/internal/systemd"
	"kvmctl/internal/systemd/systemdtest"
)

// A unit of systemd is watched over the real bus: its end is told at once, and systemd's own restart of it is none.
func TestWatchOfSystemdUnits(t *testing.T) {
	sd := systemdtest.NewReal(t, map[string]string{
		"served.service": "[Service]\nExecStart=/bin/sleep 1000\n",
		"again.service":  "[Service]\nExecStart=/bin/sleep 1000\nRestart=always\nRestartSec=100ms\n",
	})
	bus := systemd.NewBus(sd.Socket)
	r := check.NewRunner(check.Env{Bus: bus}, time.Now)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 2)
	go func() { done <- bus.Run(ctx) }()
	go func() { done <- r.Run(ctx) }()
	t.Cleanup(func() { cancel(); <-done; <-done })
	g := testGroup(0)
	g.Units = []Unit{DefaultUnit(UnitSystemd, "served.service"), DefaultUnit(UnitSystemd, "again.service"), DefaultUnit(UnitCommand, "nobody can tell")}
	for _, it := range g.watches() {
		if err := r.Add(it); err != nil {
			t.Fatal(err)
		}
	}
	sd.Systemctl(t, "start", "served.service", "again.service")
	for _, it := range g.watches() {
		if err := r.Enable(it.Name, true); err != nil {
			t.Fatal(err)
		}
	}
	next := func(want check.State) check.Status {
		t.Helper()
		for end := time.After(20 * time.Second); ; {
			select {
			case <-r.News():
				for _, s := range r.Take() {
					if s.Name == "web/served.service" && s.State == want {
						return s
					}
					if s.State == check.Red {
						t.Errorf("%+v", s)
					}
				}
			case <-end:
				t.Fatalf("never %v: %+v", want, r.All())
			}
		}
	}
	kill := func(unit string) {
		t.Helper()
		pid := 0
		if _, err := fmt.Sscan(sd.Systemctl(t, "show", "--value", "-p", "MainPID", unit), &pid); err != nil || pid == 0 {
			t.Fatalf("MainPID %d, %v", pid, err)
		}
		if err := unix.Kill(pid, unix.SIGKILL); err != nil {
			t.Fatal(err)
		}
	}
	next(check.Green)
	kill("again.service")
	kill("served.service")
	began := time.Now()
	s := next(check.Red)
	t.Logf("told after %v: %s", time.Since(began), s.Reason)
	if !strings.HasPrefix(s.Reason, "served.service is failed") {
		t.Errorf("the reason: %q", s.Reason)
	}
	sd.Systemctl(t, "start", "served.service")
	next(check.Green)
}
