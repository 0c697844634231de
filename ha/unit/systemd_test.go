package unit_test

import (
	"context"
	"errors"
	"reflect"
	"testing"
	"time"

	"kvmctl/ha/unit"
	"kvmctl/internal/systemd"
	"kvmctl/internal/systemd/systemdtest"
)

func TestSystemd(t *testing.T) {
	r := systemdtest.NewReal(t, map[string]string{
		"good.service":     "[Service]\nExecStart=/bin/sleep 1000\n[Install]\nWantedBy=default.target\n",
		"bad.service":      "[Service]\nType=oneshot\nExecStart=/bin/false\n",
		"slow.service":     "[Service]\nType=oneshot\nRemainAfterExit=yes\nExecStart=/bin/sleep 2\n",
		"stubborn.service": "[Service]\nTimeoutStopSec=infinity\nRestart=always\nRestartSec=0\nKillSignal=SIGCONT\nExecStart=/bin/sleep 1000\n",
	})
	r.Enable(t, "good.service")
	of := func(name string) unit.Systemd { return unit.Systemd{Unit: name, Socket: r.Socket} }
	ctx := within(t, time.Minute)

	good := of("good.service")
	for range 2 {
		if err := good.Start(ctx); err != nil || state(t, good) != unit.Running {
			t.Fatalf("start: %v, %v", err, state(t, good))
		}
	}
	boot, err := good.EnabledAtBoot(ctx)
	if want := (unit.Boot{Enabled: true, By: []string{"systemd: enabled"}, Disable: "systemctl disable good.service"}); err != nil || !reflect.DeepEqual(boot, want) {
		t.Errorf("at boot: %+v, %v", boot, err)
	}
	if boot, err := of("bad.service").EnabledAtBoot(ctx); err != nil || boot.Enabled {
		t.Errorf("not at boot: %+v, %v", boot, err)
	}
	for range 2 {
		if err := good.Stop(ctx); err != nil || state(t, good) != unit.Stopped {
			t.Errorf("stop: %v, %v", err, state(t, good))
		}
	}
	var job *systemd.JobError
	if err := of("bad.service").Start(ctx); !errors.As(err, &job) || err.Error() != "start bad.service: systemd's job for bad.service: failed" {
		t.Errorf("bad: %v", err)
	}
	if got := state(t, of("bad.service")); got != unit.Failed {
		t.Errorf("bad: %v", got)
	}
	if err := of("nonexistent.service").Start(ctx); !errors.Is(err, systemd.ErrNoUnit) {
		t.Errorf("start what does not exist: %v", err)
	}
	if err := of("nonexistent.service").Stop(ctx); err != nil {
		t.Errorf("stop what does not exist: %v", err)
	}

	// A stop that never ends: its deadline, then Kill, which systemd's own Restart=always does not undo.
	stubborn := of("stubborn.service")
	if err := stubborn.Start(ctx); err != nil {
		t.Fatal(err)
	}
	short, cancel := context.WithTimeout(ctx, 500*time.Millisecond)
	defer cancel()
	if err := stubborn.Stop(short); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("stubborn, stop: %v", err)
	}
	if got := state(t, stubborn); got != unit.Changing {
		t.Errorf("stubborn: %v", got)
	}
	if err := stubborn.Kill(ctx); err != nil {
		t.Errorf("stubborn, kill: %v", err)
	}
	if got := state(t, stubborn); got != unit.Failed && got != unit.Stopped {
		t.Errorf("stubborn, killed: %v", got)
	}
	if err := errors.Join(stubborn.Start(ctx), stubborn.Kill(ctx)); err != nil || state(t, stubborn) == unit.Running {
		t.Errorf("killed as it runs: %v, %v", err, state(t, stubborn))
	}
	if err := stubborn.Kill(ctx); err != nil {
		t.Errorf("kill what does not run: %v", err)
	}

	// systemd executes itself anew in the middle of a job.
	began := make(chan error, 1)
	go func() { began <- of("slow.service").Start(ctx) }()
	for state(t, of("slow.service")) != unit.Changing {
		time.Sleep(10 * time.Millisecond)
	}
	r.Systemctl(t, "daemon-reexec")
	if err := <-began; err != nil || state(t, of("slow.service")) != unit.Running {
		t.Errorf("upgraded in between: %v, %v", err, state(t, of("slow.service")))
	}
}

func TestNoSystemd(t *testing.T) {
	u := unit.Systemd{Unit: "a.service", Socket: t.TempDir() + "/private"}
	ctx := within(t, time.Minute)
	for name, f := range map[string]func(context.Context) error{"start": u.Start, "stop": u.Stop, "kill": u.Kill} {
		if err := f(ctx); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	if _, err := u.State(ctx); err == nil {
		t.Error("state: no error")
	}
}
