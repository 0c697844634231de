package unit

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"time"

	"kvmctl/internal/child"
)

// SysV is a script of /etc/init.d with the actions and exit codes of LSB 5.0, Core, "Init Script Actions".
type SysV struct {
	Script  string // its name in /etc/init.d
	PIDFile string // of its daemon, for Kill; empty: Kill cannot
	Root    string // instead of /; for tests
}

// LSB's exit codes that are more than "failed".
const (
	lsbStatusRunning    = 0
	lsbStatusDeadPID    = 1 // dead, and its pidfile is there
	lsbStatusDeadLock   = 2 // dead, and its lock file is there
	lsbStatusNotRunning = 3
	lsbNotRunning       = 7 // of an action other than status
)

// Name implements Unit.
func (u SysV) Name() string { return u.Script }

func (u SysV) path() string { return filepath.Join(u.Root, "/etc/init.d", u.Script) }

func (u SysV) run(ctx context.Context, action string) (child.Result, error) {
	return child.Run(ctx, child.Command{Argv: []string{u.path(), action}, Grace: grace, Leave: true})
}

// Start implements Unit.
func (u SysV) Start(ctx context.Context) error {
	if s, err := u.State(ctx); err == nil && s.State == Running {
		return nil
	}
	r, err := u.run(ctx, "start")
	if err == nil {
		err = r.Err()
	}
	if err == nil {
		err = settle(ctx, u.State, Running, r)
	}
	return wrap("start", u.Script, err)
}

// Stop implements Unit.
func (u SysV) Stop(ctx context.Context) error {
	r, err := u.run(ctx, "stop")
	if err == nil && r.Exit != lsbNotRunning {
		err = r.Err()
		if err != nil && gone(ctx, u.State) {
			err = nil
		}
	}
	if err == nil {
		err = settle(ctx, u.State, Stopped, r)
	}
	return wrap("stop", u.Script, err)
}

// settleWithin is how long a script's daemon has to be as the script says it is: many write their pidfile a moment later.
const settleWithin = 3 * time.Second

// settle waits until a unit is as it should be. One that cannot be asked is believed.
func settle(ctx context.Context, ask func(context.Context) (Status, error), want State, said child.Result) error {
	began := time.Now()
	for {
		s, err := ask(ctx)
		switch {
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case err != nil || s.State == Unknown || s.State == want || want == Stopped && s.State == Failed:
			return nil
		case time.Since(began) > settleWithin:
			return &NotSoError{Want: want, Is: s, Said: said.Reason()}
		}
		if err := pause(ctx, settleEvery); err != nil {
			return err
		}
	}
}

// gone reports whether a unit does not run, so that a stop which complained of that has nothing left to do.
func gone(ctx context.Context, ask func(context.Context) (Status, error)) bool {
	s, err := ask(ctx)
	return err == nil && (s.State == Stopped || s.State == Failed)
}

// NotSoError is a script that ended well and did not do it.
type NotSoError struct {
	Want State
	Is   Status
	Said string // the script's last line; may be empty
}

func (e *NotSoError) Error() string {
	s := fmt.Sprintf("exit 0, but it is not %v: %v", e.Want, e.Is.State)
	if e.Is.Reason != "" {
		s += ": " + e.Is.Reason
	}
	if e.Said != "" && e.Said != e.Is.Reason {
		s += " (it said: " + e.Said + ")"
	}
	return s
}

// State implements Unit. A script without the action status prints how it is used; Debian's skeleton then exits with 3, which would mean "not
// running".
func (u SysV) State(ctx context.Context) (Status, error) {
	ctx, cancel := context.WithTimeout(ctx, statusTimeout)
	defer cancel()
	r, err := u.run(ctx, "status")
	if err != nil {
		return Status{}, wrap("look at", u.Script, err)
	}
	if strings.Contains(strings.ToLower(string(r.Output)), "usage:") {
		return Status{Unknown, "the script has no status"}, nil
	}
	return lsbStatus(r), nil
}

func lsbStatus(r child.Result) Status {
	switch r.Exit {
	case lsbStatusRunning:
		return Status{Running, r.Reason()}
	case lsbStatusDeadPID, lsbStatusDeadLock:
		return Status{Failed, r.Reason()}
	case lsbStatusNotRunning:
		return Status{Stopped, r.Reason()}
	}
	return Status{Unknown, r.Err().Error()}
}

// Kill implements Unit.
func (u SysV) Kill(ctx context.Context) error {
	return wrap("kill", u.Script, killPIDFile(ctx, u.PIDFile))
}

// EnabledAtBoot implements Unit: it looks for the links of insserv(8) and update-rc.d(8) in the directories of the runlevels that a boot goes
// through. Where systemd is PID 1 it starts what they name, too (systemd-sysv-generator(8)), unless there is a unit of that name.
func (u SysV) EnabledAtBoot(context.Context) (Boot, error) {
	links, err := filepath.Glob(filepath.Join(u.Root, "/etc/rc[2345S].d/S[0-9][0-9]"+globQuote(u.Script)))
	if err != nil {
		return Boot{}, fmt.Errorf("look for boot links of %s: %w", u.Script, err)
	}
	if len(links) == 0 {
		return Boot{}, nil
	}
	return Boot{Enabled: true, By: links, Disable: "update-rc.d " + u.Script + " disable"}, nil
}

func globQuote(s string) string {
	return strings.NewReplacer(`\`, `\\`, "*", `\*`, "?", `\?`, "[", `\[`).Replace(s)
}

// Validate says what is wrong with the name.
func (u SysV) Validate() error {
	if u.Script == "" || strings.ContainsAny(u.Script, "/\x00") || strings.HasPrefix(u.Script, ".") {
		return errScript
	}
	return nil
}

var errScript = errors.New("script is not a name in /etc/init.d")
