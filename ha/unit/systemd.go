package unit

import (
	"context"
	"errors"
	"fmt"

	"kvmctl/internal/systemd"
)

// Systemd is a unit of systemd, driven over D-Bus: no program is executed.
type Systemd struct {
	Unit   string // with its suffix: "named.service"
	Socket string // of PID 1; empty: systemd.PrivateSocket
}

// Name implements Unit.
func (u Systemd) Name() string { return u.Unit }

// with connects for one act: a connection that was lost in one does not matter to the next.
func (u Systemd) with(ctx context.Context, f func(*systemd.Manager) error) error {
	socket := u.Socket
	if socket == "" {
		socket = systemd.PrivateSocket
	}
	m, err := systemd.Dial(ctx, socket)
	if err != nil {
		return err
	}
	defer m.Close()
	return f(m)
}

// Start implements Unit.
func (u Systemd) Start(ctx context.Context) error {
	err := u.with(ctx, func(m *systemd.Manager) error { return m.Start(ctx, u.Unit) })
	if errors.Is(err, systemd.ErrLost) {
		err = u.await(ctx, err, func(s systemd.UnitState) bool { return s.Active == "active" })
	}
	return wrap("start", u.Unit, err)
}

// Stop implements Unit.
func (u Systemd) Stop(ctx context.Context) error {
	err := u.with(ctx, func(m *systemd.Manager) error { return m.Stop(ctx, u.Unit) })
	switch {
	case errors.Is(err, systemd.ErrNoUnit):
		return nil
	case errors.Is(err, systemd.ErrLost):
		err = u.await(ctx, err, ended)
	}
	return wrap("stop", u.Unit, err)
}

// Reload has the unit read its configuration again, or restarts it if it cannot; one that does not run is left alone.
func (u Systemd) Reload(ctx context.Context) error {
	return wrap("reload", u.Unit, u.with(ctx, func(m *systemd.Manager) error { return m.Reload(ctx, u.Unit) }))
}

func wrap(act, unit string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s %s: %w", act, unit, err)
}

func ended(s systemd.UnitState) bool { return s.Active == "inactive" || s.Active == "failed" }

// await waits, over connections of its own, until nothing is under way for the unit, and gives lost when it is not then as it should be.
func (u Systemd) await(ctx context.Context, lost error, want func(systemd.UnitState) bool) error {
	for {
		var s systemd.UnitState
		err := u.with(ctx, func(m *systemd.Manager) (err error) {
			s, err = m.Unit(ctx, u.Unit)
			return err
		})
		switch {
		case err == nil && want(s):
			return nil
		case err == nil && s.Job == 0 && s.Active != "activating" && s.Active != "deactivating":
			return fmt.Errorf("%w; now it is %s (%s)", lost, s.Active, s.Sub)
		}
		if perr := pause(ctx, settleEvery); perr != nil {
			return errors.Join(perr, err)
		}
	}
}

// State implements Unit.
func (u Systemd) State(ctx context.Context) (Status, error) {
	var s systemd.UnitState
	err := u.with(ctx, func(m *systemd.Manager) (err error) {
		s, err = m.Unit(ctx, u.Unit)
		return err
	})
	if err != nil {
		return Status{}, wrap("look at", u.Unit, err)
	}
	return statusOf(s), nil
}

func statusOf(s systemd.UnitState) Status {
	words := fmt.Sprintf("%s (%s)", s.Active, s.Sub)
	switch s.Active {
	case "active", "reloading", "refreshing":
		return Status{Running, words}
	case "activating", "deactivating", "maintenance":
		return Status{Changing, words}
	case "failed":
		return Status{Failed, words}
	case "inactive":
		switch {
		case s.Job != 0:
			return Status{Changing, "a job is queued"}
		case s.Load != "loaded":
			return Status{Stopped, s.Load}
		}
		return Status{Stopped, words}
	}
	return Status{Unknown, words}
}

// Kill implements Unit. The stop job comes first, or Restart= in the unit would bring it back.
func (u Systemd) Kill(ctx context.Context) error {
	err := u.with(ctx, func(m *systemd.Manager) error {
		if err := m.StopSoon(ctx, u.Unit); err != nil && !errors.Is(err, systemd.ErrNoUnit) {
			return err
		}
		return m.Kill(ctx, u.Unit)
	})
	if err == nil {
		err = u.await(ctx, errStillThere, ended)
	}
	return wrap("kill", u.Unit, err)
}

var errStillThere = errors.New("it is still there")

// EnabledAtBoot implements Unit.
func (u Systemd) EnabledAtBoot(ctx context.Context) (Boot, error) {
	var state string
	err := u.with(ctx, func(m *systemd.Manager) (err error) {
		state, err = m.FileState(ctx, u.Unit)
		return err
	})
	if err != nil {
		return Boot{}, err
	}
	switch state {
	case "enabled", "enabled-runtime":
		return Boot{Enabled: true, By: []string{"systemd: " + state}, Disable: "systemctl disable " + u.Unit}, nil
	}
	return Boot{}, nil
}
