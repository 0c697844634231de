package check

import (
	"errors"
	"fmt"

	"kvmctl/internal/systemd"
)

// Systemd asks PID 1 whether a unit is active. Changes are pushed. While PID 1 does not answer, the unit's main process stands for it: as
// long as that lives the unit counts as active.
type Systemd struct {
	Unit string // with its suffix: "named.service"
}

// Kind implements Spec.
func (Systemd) Kind() string { return "systemd" }

var (
	errNoUnit = errors.New("unit is empty")
	errNoBus  = errors.New("systemd does not run on this machine")
)

// Validate implements Spec.
func (s Systemd) Validate() error {
	if s.Unit == "" {
		return errNoUnit
	}
	return nil
}

// judge says what a unit's state means. What passes by itself (a restart, a reload) is no fact: it counts as one bad answer. A job that is
// queued for an inactive unit means that it is being restarted.
func judge(unit string, s systemd.UnitState) error {
	switch s.Active {
	case "active", "reloading", "refreshing":
		return nil
	case "activating", "deactivating":
		return fmt.Errorf("%s is %s (%s)", unit, s.Active, s.Sub)
	case "maintenance":
		return fmt.Errorf("%s is in maintenance", unit)
	}
	switch {
	case s.Load == "not-found":
		return &CertainError{fmt.Sprintf("there is no unit %s", unit)}
	case s.Load == "masked", s.Load == "error", s.Load == "bad-setting":
		return &CertainError{fmt.Sprintf("%s is %s: systemctl status %s", unit, s.Load, unit)}
	case s.Job != 0:
		return fmt.Errorf("%s is %s, and a job is queued for it", unit, s.Active)
	}
	return &CertainError{fmt.Sprintf("%s is %s (%s): journalctl -u %s", unit, s.Active, s.Sub, unit)}
}
