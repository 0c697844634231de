package unit

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"sync"

	"kvmctl/internal/child"
)

// Command is what an admin starts and stops by programs of his own. It remembers what it did last, for those that cannot be asked: use it by
// pointer.
type Command struct {
	Label   string   // what an admin calls it
	StartBy []string // argv, no shell; the first is an absolute path
	StopBy  []string // likewise; empty: nothing is to be done
	AskBy   []string // exit 0: it runs, 3: it does not (LSB), else nobody can tell; empty: PIDFile tells, if there is one
	PIDFile string   // of its daemon, for Kill, and in place of AskBy; empty: Kill cannot
	Env     []string // KEY=value

	mu   sync.Mutex
	last State // by what was done; Unknown: nothing yet
}

// UCARP gives the unit that a pair of scripts for ucarp is: they are called with the interface, the address and xparam where there is one
// (args, as ucarp 1.5 passes them).
func UCARP(label, up, down string, args []string) *Command {
	c := &Command{Label: label, StartBy: append([]string{up}, args...)}
	if down != "" {
		c.StopBy = append([]string{down}, args...)
	}
	return c
}

// Errors of Command.Validate.
var (
	errNoStart = errors.New("start is empty")
	errNotAbs  = errors.New("program is not an absolute path")
)

// Validate says what is wrong with the commands.
func (u *Command) Validate() error {
	if len(u.StartBy) == 0 {
		return errNoStart
	}
	for _, argv := range [][]string{u.StartBy, u.StopBy, u.AskBy} {
		if len(argv) > 0 && !filepath.IsAbs(argv[0]) {
			return fmt.Errorf("%s: %w", argv[0], errNotAbs)
		}
	}
	return nil
}

// Name implements Unit.
func (u *Command) Name() string { return u.Label }

func (u *Command) run(ctx context.Context, argv []string) (child.Result, error) {
	return child.Run(ctx, child.Command{Argv: argv, Env: u.Env, Grace: grace, Leave: true})
}

// Start implements Unit. What cannot be asked is started again each time.
func (u *Command) Start(ctx context.Context) error {
	if s, err := u.ask(ctx); err == nil && s.State == Running {
		u.did(Running)
		return nil
	}
	return wrap("start", u.Label, u.act(ctx, u.StartBy, Running))
}

// Stop implements Unit.
func (u *Command) Stop(ctx context.Context) error {
	if len(u.StopBy) == 0 {
		u.did(Stopped)
		return nil
	}
	return wrap("stop", u.Label, u.act(ctx, u.StopBy, Stopped))
}

func (u *Command) act(ctx context.Context, argv []string, want State) error {
	u.did(Unknown) // until it is known how it ended
	r, err := u.run(ctx, argv)
	if err == nil {
		err = r.Err()
		if err != nil && want == Stopped && gone(ctx, u.ask) {
			err = nil
		}
	}
	if err == nil {
		err = settle(ctx, u.ask, want, r)
	}
	if err == nil {
		u.did(want)
	}
	return err
}

func (u *Command) did(s State) { u.mu.Lock(); defer u.mu.Unlock(); u.last = s }

// State implements Unit.
func (u *Command) State(ctx context.Context) (Status, error) {
	if len(u.AskBy) > 0 || u.PIDFile != "" {
		return u.ask(ctx)
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.last == Unknown {
		return Status{}, nil
	}
	return Status{u.last, "by what was done last"}, nil
}

// ask gives Unknown where there is neither command nor pidfile for it.
func (u *Command) ask(ctx context.Context) (Status, error) {
	switch {
	case len(u.AskBy) > 0:
	case u.PIDFile != "":
		return pidState(u.PIDFile), nil
	default:
		return Status{}, nil
	}
	ctx, cancel := context.WithTimeout(ctx, statusTimeout)
	defer cancel()
	r, err := u.run(ctx, u.AskBy)
	if err != nil {
		return Status{}, wrap("look at", u.Label, err)
	}
	return lsbStatus(r), nil
}

// Kill implements Unit.
func (u *Command) Kill(ctx context.Context) error {
	return wrap("kill", u.Label, killPIDFile(ctx, u.PIDFile))
}

// EnabledAtBoot implements Unit: nobody else knows the commands.
func (u *Command) EnabledAtBoot(context.Context) (Boot, error) { return Boot{}, nil }
