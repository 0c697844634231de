package systemd

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/godbus/dbus/v5"
	"golang.org/x/sys/unix"
)

// ErrLost says that the connection to PID 1 ended while a job was waited for, as it does when systemd itself is upgraded (daemon-reexec). The
// job goes on.
var ErrLost = errors.New("the connection to systemd was lost")

// ErrNoUnit says that systemd knows no unit of that name.
var ErrNoUnit = errors.New("no such unit")

// lookEvery is how often a connection that should bring a job's result is looked at.
const lookEvery = 250 * time.Millisecond

// Start starts a unit and waits for its job. Of one that runs it is success. That it failed too often lately, which makes systemd refuse, is
// forgotten first: whoever calls this has counted for itself.
func (m *Manager) Start(ctx context.Context, unit string) error {
	_ = m.c.ResetFailedUnitContext(ctx, unit) // an error means that it is not that, and the start tells
	return m.job(ctx, "start", unit, m.c.StartUnitContext)
}

// Stop stops a unit and waits for its job. Of one that does not run it is success, of one that systemd does not know ErrNoUnit.
func (m *Manager) Stop(ctx context.Context, unit string) error {
	return m.job(ctx, "stop", unit, m.c.StopUnitContext)
}

// Reload has a unit that runs read its configuration again, or restarts it if it knows no such thing, and waits for the job. Of one that does not
// run it is success: nothing is started (systemctl(1), try-reload-or-restart).
func (m *Manager) Reload(ctx context.Context, unit string) error {
	return m.job(ctx, "reload", unit, m.c.ReloadOrTryRestartUnitContext)
}

// StopSoon queues the stop of a unit and does not wait.
func (m *Manager) StopSoon(ctx context.Context, unit string) error {
	if _, err := m.c.StopUnitContext(ctx, unit, "replace", nil); err != nil {
		return fmt.Errorf("have systemd stop %s: %w", unit, m.named(err))
	}
	return nil
}

func (m *Manager) job(ctx context.Context, act, unit string, begin func(context.Context, string, string, chan<- string) (int, error)) error {
	done := make(chan string, 1)
	// "replace": what we want now counts, whatever job is queued for the unit.
	if _, err := begin(ctx, unit, "replace", done); err != nil {
		return fmt.Errorf("have systemd %s %s: %w", act, unit, m.named(err))
	}
	look := time.NewTicker(lookEvery)
	defer look.Stop()
	for {
		select {
		case result := <-done:
			if result == "done" || result == "skipped" {
				return nil
			}
			return &JobError{unit, result}
		case <-look.C:
			if !m.c.Connected() {
				return fmt.Errorf("wait for systemd's job for %s: %w", unit, ErrLost)
			}
		case <-ctx.Done():
			return fmt.Errorf("wait for systemd's job for %s: %w", unit, context.Cause(ctx))
		}
	}
}

// named gives PID 1's errors the names that callers ask for.
func (m *Manager) named(err error) error {
	e, ok := errors.AsType[dbus.Error](err)
	switch {
	case ok && (e.Name == "org.freedesktop.systemd1.NoSuchUnit" || e.Name == "org.freedesktop.DBus.Error.FileNotFound"):
		return fmt.Errorf("%w: %w", ErrNoUnit, err)
	case !ok && !m.c.Connected():
		return fmt.Errorf("%w: %w", ErrLost, err)
	}
	return err
}

// Kill sends SIGKILL to every process of a unit. Nothing to kill is success.
func (m *Manager) Kill(ctx context.Context, unit string) error {
	err := m.c.KillUnitWithTarget(ctx, unit, "all", int32(unix.SIGKILL))
	if e, ok := errors.AsType[dbus.Error](err); ok && (e.Name == "org.freedesktop.systemd1.NoSuchUnit" || e.Name == "org.freedesktop.systemd1.NoSuchProcess") {
		return nil
	}
	if err != nil {
		return fmt.Errorf("have systemd kill %s: %w", unit, err)
	}
	return nil
}

// Unit gives the state of a unit. One that does not exist is inactive, and its Load is "not-found".
func (m *Manager) Unit(ctx context.Context, unit string) (UnitState, error) {
	var s UnitState
	for _, p := range []struct {
		name string
		to   *string
	}{{"LoadState", &s.Load}, {"ActiveState", &s.Active}, {"SubState", &s.Sub}} {
		v, err := m.c.GetUnitPropertyContext(ctx, unit, p.name)
		if err != nil {
			return UnitState{}, fmt.Errorf("ask systemd for the state of %s: %w", unit, m.named(err))
		}
		*p.to, _ = v.Value.Value().(string)
	}
	if v, err := m.c.GetUnitPropertyContext(ctx, unit, "Job"); err == nil {
		if job, ok := v.Value.Value().([]any); ok && len(job) == 2 {
			s.Job, _ = job[0].(uint32)
		}
	}
	if v, err := m.c.GetServicePropertyContext(ctx, unit, "MainPID"); err == nil { // an error: it is no service
		if pid, ok := v.Value.Value().(uint32); ok {
			s.MainPID = int(pid)
		}
	}
	return s, nil
}

// FileState says whether a unit is started at boot: "enabled", "enabled-runtime", "static", "disabled", "generated", "masked", …
// (systemctl(1), is-enabled). An alias gives that of the unit it names. Empty: the unit has no file.
func (m *Manager) FileState(ctx context.Context, unit string) (string, error) {
	p, err := m.c.GetUnitPropertyContext(ctx, unit, "UnitFileState")
	if err != nil {
		return "", fmt.Errorf("ask systemd whether %s is enabled: %w", unit, m.named(err))
	}
	s, _ := p.Value.Value().(string)
	return s, nil
}
