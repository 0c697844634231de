package check

import (
	"context"
	"fmt"
	"regexp"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"kvmctl/internal/systemd"
	"kvmctl/internal/systemd/systemdtest"
)

// withBus gives an Env with a connection that lasts as long as the test.
func withBus(t testing.TB, r *systemdtest.Real) Env {
	b := systemd.NewBus(r.Socket)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	go func() { done <- b.Run(ctx) }()
	t.Cleanup(func() { cancel(); <-done })
	return Env{Bus: b}
}

func mainPID(t *testing.T, r *systemdtest.Real, unit string) int {
	t.Helper()
	pid := 0
	if _, err := fmt.Sscan(r.Systemctl(t, "show", "--value", "-p", "MainPID", unit), &pid); err != nil || pid == 0 {
		t.Fatalf("MainPID %d, %v", pid, err)
	}
	return pid
}

func kill(t *testing.T, pid int) {
	t.Helper()
	if err := unix.Kill(pid, unix.SIGKILL); err != nil {
		t.Fatal(err)
	}
}

func TestSystemdCheck(t *testing.T) {
	sd := systemdtest.NewReal(t, map[string]string{
		"plain.service":   "[Service]\nExecStart=/bin/sleep 1000\n",
		"restart.service": "[Service]\nExecStart=/bin/sleep 1000\nRestart=always\nRestartSec=100ms\n",
		"slow.service":    "[Service]\nExecStartPre=/bin/sleep 0.3\nExecStart=/bin/sleep 1000\n",
		"broken.service":  "[Service]\nExecStart=relative/path\n",
	})
	env := withBus(t, sd)

	t.Run("the end is told at once", func(t *testing.T) {
		sd.Systemctl(t, "start", "plain.service")
		r := running(t, Item{Name: "u", Policy: lazy, Spec: Systemd{"plain.service"}}, env)
		if s := next(t, r); s.State != Green {
			t.Fatalf("%+v", s)
		}
		toldAtOnce(t, r, 300*time.Millisecond, func() (time.Time, *regexp.Regexp) {
			pid := mainPID(t, sd, "plain.service")
			began := time.Now()
			kill(t, pid)
			return began, regexp.MustCompile(`^plain.service is failed \(failed\): journalctl -u plain.service$`)
		}, func() {
			sd.Systemctl(t, "reset-failed", "plain.service") // and forgets how often it was started
			sd.Systemctl(t, "start", "plain.service")
		})
		sd.Systemctl(t, "start", "plain.service")
		if s := next(t, r); s.State != Green {
			t.Errorf("started again: %+v", s)
		}
		sd.Systemctl(t, "stop", "plain.service")
		if s := next(t, r); s.State != Red || !strings.HasPrefix(s.Reason, "plain.service is inactive (dead)") {
			t.Errorf("stopped: %+v", s)
		}
	})

	t.Run("a restart is no failure", func(t *testing.T) {
		sd.Systemctl(t, "start", "restart.service", "slow.service")
		for _, unit := range []string{"restart.service", "slow.service"} {
			r := running(t, Item{Name: "u", Policy: Policy{time.Second, 10 * time.Second, 3, 1}, Spec: Systemd{unit}}, env)
			if s := next(t, r); s.State != Green {
				t.Fatalf("%s: %+v", unit, s)
			}
			if unit == "slow.service" {
				sd.Systemctl(t, "restart", unit)
			} else {
				kill(t, mainPID(t, sd, unit)) // systemd restarts it in 100 ms
			}
			time.Sleep(1500 * time.Millisecond) // it is asked at each change, and by the clock
			if s := r.All()[0]; s.State != Green || !s.Since.Before(time.Now().Add(-1500*time.Millisecond)) {
				t.Errorf("%s: %+v", unit, s)
			}
		}
	})

	t.Run("what cannot run", func(t *testing.T) {
		for unit, want := range map[string]string{
			"nonexistent.service": "there is no unit nonexistent.service",
			"broken.service":      "broken.service is bad-setting: systemctl status broken.service",
		} {
			r := running(t, Item{Name: "u", Policy: lazy, Spec: Systemd{unit}}, env)
			if s := next(t, r); s.State != Red || s.Reason != want {
				t.Errorf("%+v", s)
			}
		}
	})

	// From here on systemd answers nothing: the main process stands for the unit.
	t.Run("systemd hangs", func(t *testing.T) {
		sd.Systemctl(t, "start", "plain.service")
		pid := mainPID(t, sd, "plain.service")
		p := Policy{Interval: 500 * time.Millisecond, Timeout: 400 * time.Millisecond, Fall: 2, Rise: 1}
		known := running(t, Item{Name: "u", Policy: p, Spec: Systemd{"plain.service"}}, env)
		if s := next(t, known); s.State != Green {
			t.Fatalf("%+v", s)
		}
		if err := sd.Process.Signal(unix.SIGSTOP); err != nil {
			t.Fatal(err)
		}
		defer func() { _ = sd.Process.Signal(unix.SIGCONT) }()
		unknown := running(t, Item{Name: "u", Policy: p, Spec: Systemd{"slow.service"}}, env)
		time.Sleep(3 * time.Second) // several questions, of which no one is answered
		if s := known.All()[0]; s.State != Green || s.Fails != 0 {
			t.Errorf("its process lives: %+v", s)
		}
		if s := unknown.All()[0]; s.State != Unknown || s.Reason != "systemd does not answer, and no main process of slow.service is known" {
			t.Errorf("nothing is known: %+v", s)
		}
		began := time.Now()
		kill(t, pid)
		s := next(t, known)
		took := time.Since(began)
		t.Logf("told after %v: %s", took, s.Reason)
		if s.State != Red || s.Reason != fmt.Sprintf("process %d of plain.service has ended, and systemd does not answer", pid) {
			t.Errorf("%+v", s)
		}
	})
}

func TestJudge(t *testing.T) {
	for _, tt := range []struct {
		s    systemd.UnitState
		want Verdict
	}{
		{systemd.UnitState{Load: "loaded", Active: "active", Sub: "exited"}, Pass},
		{systemd.UnitState{Load: "loaded", Active: "reloading", Sub: "reload"}, Pass},
		{systemd.UnitState{Load: "loaded", Active: "activating", Sub: "auto-restart"}, Fail},
		{systemd.UnitState{Load: "loaded", Active: "deactivating", Sub: "stop-sigterm"}, Fail},
		{systemd.UnitState{Load: "loaded", Active: "maintenance", Sub: "cleaning"}, Fail},
		{systemd.UnitState{Load: "loaded", Active: "inactive", Sub: "dead", Job: 7}, Fail},
		{systemd.UnitState{Load: "loaded", Active: "inactive", Sub: "dead"}, Certain},
		{systemd.UnitState{Load: "loaded", Active: "failed", Sub: "failed"}, Certain},
		{systemd.UnitState{Load: "masked", Active: "inactive", Sub: "dead"}, Certain},
		{systemd.UnitState{Load: "not-found", Active: "inactive", Sub: "dead"}, Certain},
		{systemd.UnitState{Load: "not-found", Active: "active", Sub: "running"}, Pass}, // its file was removed while it runs
	} {
		if got := answerOf(judge("a.service", tt.s)); got.Verdict != tt.want {
			t.Errorf("%+v: %+v", tt.s, got)
		}
	}
}
