package unit

import (
	"context"
	"errors"
	"time"
)

// Unit is something that runs on the active node only. Every act may be repeated: to start what runs, or to stop what does not, is success.
// An act ends with ctx, and everything that it runs is killed then; each kind also has its own limits. Acts on one unit come one after the
// other.
type Unit interface {
	// Name is what an admin calls it: "named.service", "isc-dhcp-server".
	Name() string
	// Start returns when the unit runs; what runs already is adopted as it is.
	Start(ctx context.Context) error
	// Stop returns when it does not run any more.
	Stop(ctx context.Context) error
	// State asks; an error means that nobody could tell.
	State(ctx context.Context) (Status, error)
	// Kill ends every process of the unit that can be found, by SIGKILL, after Stop failed. It returns nil only when none is left; ErrCannotKill
	// when it does not know the processes.
	Kill(ctx context.Context) error
	// EnabledAtBoot says whether the system starts the unit at boot, behind the agent's back.
	EnabledAtBoot(ctx context.Context) (Boot, error)
}

// State is what a unit does.
type State int

// The states.
const (
	Unknown  State = iota // nobody can tell
	Stopped               // it does not run
	Changing              // it starts or stops
	Running               // it runs
	Failed                // it does not run, and not because it was stopped
)

// String is the word for people and for JSON.
func (s State) String() string {
	switch s {
	case Unknown:
		return "unknown"
	case Stopped:
		return "stopped"
	case Changing:
		return "changing"
	case Running:
		return "running"
	case Failed:
		return "failed"
	}
	return "invalid"
}

// MarshalText implements encoding.TextMarshaler.
func (s State) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// Status is what is known of a unit.
type Status struct {
	State  State
	Reason string // one line, in the words of whoever was asked; may be empty
}

// Boot says whether the system starts a unit at boot.
type Boot struct {
	Enabled bool
	By      []string // what does: "/etc/rc2.d/S01named", or systemd's word
	Disable string   // the command that ends it
}

// ErrCannotKill says that the processes of a unit are not known.
var ErrCannotKill = errors.New("its processes are not known")

// grace is what a script has between SIGTERM and SIGKILL at its timeout.
const grace = 2 * time.Second

// statusTimeout bounds one question to a script.
const statusTimeout = 5 * time.Second

// settleEvery is how often a state that must come is asked for.
const settleEvery = 100 * time.Millisecond

// pause waits, or not when ctx ends.
func pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
