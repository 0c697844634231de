package vm

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"time"

	"kvmctl/internal/flock"
	"kvmctl/internal/smallfile"
	"kvmctl/internal/systemd"
	"kvmctl/internal/units"
	"kvmctl/vm/qmp"
)

// Host is the machine that guests run on.
type Host struct {
	Layout
	UIDBase      int
	QEMU         string // path of the binary
	KVMDevice    string // "/dev/kvm"
	VHostDevice  string // "/dev/vhost-net"; empty: there is none
	RecorderSize units.Size
	ConsoleSize  units.Size
	HistorySize  units.Size
	Hooks        Hooks // of kvm.toml, for every guest

	// Network opens the TAPs of a guest's NICs, one file per queue. QEMU inherits them; the caller of Network closes ours.
	Network func(ctx context.Context, spec *Spec, uid int) ([][]*os.File, error)

	// Place, if set, puts a guest's QEMU into its scope, and gives notes for the admin. Nil: nobody makes scopes here.
	Place func(ctx context.Context, scope systemd.Unit) (notes []string, err error)

	// SetRate changes the limit of the number-th TAP of the guest with that uid, each way; 0 takes it away.
	SetRate func(ctx context.Context, uid, number int, rate units.Rate) error

	// Step, if set, hears of each finished step of a start, a save, a change or an installation.
	Step func(name string)

	By      string // who asks, for the history: "root, kvmctl start"
	Starter string // what starts guests with nobody at a terminal: "kvm.service"; empty: a person
}

func (h *Host) step(name string) {
	if h.Step != nil {
		h.Step(name)
	}
}

// holder is what the holder of a guest's lock writes into it.
type holder struct {
	Op   string `json:"op"`
	PID  int    `json:"pid"`
	Note string `json:"note,omitempty"` // a rung of the stop ladder
}

// guestLock is held by whoever changes a guest.
type guestLock struct {
	l  *flock.Lock
	me holder
}

// lock takes a guest's lock and writes down what for. It waits for another kvmctl as long as wait, then returns a BusyError.
func (h *Host) lock(ctx context.Context, name, op string, wait time.Duration) (*guestLock, error) {
	if err := MakeDirs(h.RunRoot(), 0o711); err != nil {
		return nil, err
	}
	patience, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	l, err := flock.Wait(patience, h.GuestLock(name))
	if errors.Is(err, flock.ErrLocked) && ctx.Err() != nil {
		return nil, &InterruptedError{Goes: "another kvmctl is at work on it", Cause: ctx.Err()}
	}
	if errors.Is(err, flock.ErrLocked) {
		who := h.lockHolder(name)
		return nil, &BusyError{Op: who.Op, PID: who.PID}
	}
	if err != nil {
		return nil, err
	}
	g := &guestLock{l: l, me: holder{Op: op, PID: os.Getpid()}}
	g.note("")
	return g, nil
}

// note tells others how far we are.
func (g *guestLock) note(s string) {
	g.me.Note = s
	b, err := json.Marshal(g.me)
	if err != nil {
		return
	}
	b = append(b, '\n')
	if _, err := g.l.File().WriteAt(b, 0); err == nil {
		_ = g.l.File().Truncate(int64(len(b))) // a reader stops at the line's end anyway
	}
}

func (g *guestLock) unlock() {
	_ = g.l.File().Truncate(0) // talk only: the lock itself ends with the descriptor
	_ = g.l.Unlock()
}

// lockHolder reads what the holder of a guest's lock wrote. It is talk, never a ground to act.
func (l Layout) lockHolder(name string) holder {
	b, err := smallfile.Read(l.GuestLock(name), 4096)
	if err != nil || len(b) == 0 {
		return holder{}
	}
	var who holder
	if json.NewDecoder(bytes.NewReader(b)).Decode(&who) != nil {
		return holder{}
	}
	return who
}

// qmpBusy is how long the tool waits for another kvmctl to finish a command on a guest's monitor.
const qmpBusy = 2 * time.Second

// qmpGreet is how long QEMU has to greet the tool, whatever time the caller has.
const qmpGreet = 2 * time.Second

// Monitor opens the tool's monitor of a running guest; close ends the use. One kvmctl uses it at a time and for a moment only:
// a second client of a QMP socket gets no greeting, which must never look like a hung QEMU.
func (h *Host) Monitor(ctx context.Context, name string) (c *qmp.Client, close func(), err error) {
	l, err := h.useMonitor(ctx, name, qmpBusy)
	if err != nil {
		return nil, nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, qmpGreet)
	defer cancel()
	return h.dialMonitor(ctx, name, l)
}

// useMonitor waits until no other kvmctl uses a guest's monitor.
func (h *Host) useMonitor(ctx context.Context, name string, wait time.Duration) (*flock.Lock, error) {
	ctx, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	l, err := flock.Wait(ctx, h.run(name, qmpLockName))
	if errors.Is(err, os.ErrNotExist) {
		return nil, ErrNotRunning
	}
	if err != nil {
		return nil, fmt.Errorf("use the monitor of %s: %w", name, err)
	}
	return l, nil
}

// dialMonitor connects to the monitor whose lock the caller holds; from now on close, or the error, lets go of it.
func (h *Host) dialMonitor(ctx context.Context, name string, l *flock.Lock) (c *qmp.Client, close func(), err error) {
	c, err = qmp.Dial(ctx, h.QMPSocket(name))
	if err != nil {
		l.Unlock()
		return nil, nil, fmt.Errorf("%w: %w", ErrNoMonitor, err)
	}
	return c, func() { c.Close(); l.Unlock() }, nil
}

// Agent opens the channel to a guest's agent under its lock.
func (h *Host) Agent(ctx context.Context, name string, opts ...qmp.Option) (a *qmp.Agent, close func(), err error) {
	wait, cancel := context.WithTimeout(ctx, qmpBusy)
	defer cancel()
	l, err := flock.Wait(wait, h.run(name, agentLock))
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil, ErrNotRunning
	}
	if err != nil {
		return nil, nil, fmt.Errorf("use the agent of %s: %w", name, err)
	}
	a, err = qmp.DialAgent(ctx, h.AgentSocket(name), opts...)
	if err != nil {
		l.Unlock()
		return nil, nil, fmt.Errorf("reach the agent of %s: %w", name, err)
	}
	return a, func() { a.Close(); l.Unlock() }, nil
}

// owner finds the QEMU of a guest; ErrNotRunning when there is none.
func (h *Host) owner(name string) (*Process, error) {
	st, _ := h.loadState(name) // without it the ABI lock tells the uid
	return h.ownerOf(name, st)
}

// ownerOf is owner for those who have read the guest's state already; nil: it could not be read.
func (h *Host) ownerOf(name string, st *State) (*Process, error) {
	if st != nil { // what it was started with, should uid_base have changed since
		return FindOwner(h.Pidfile(name), st.UID)
	}
	abi, err := loadABI(h.ABILock(name))
	if err != nil {
		return nil, err
	}
	uid := -1
	if abi != nil {
		uid = h.UIDBase + abi.UID
	}
	return FindOwner(h.Pidfile(name), uid)
}

// WithLock runs act while no other kvmctl can work on the guest; op names it for others. A guest that ended unseen is cleared away
// first, and act learns whether one runs.
func (h *Host) WithLock(ctx context.Context, name, op string, act func(running bool) error) error {
	g, err := h.lock(ctx, name, op, lockWait)
	if err != nil {
		return err
	}
	defer g.unlock()
	p, err := h.settle(ctx, name)
	if err != nil {
		return err
	}
	if p != nil {
		p.Close()
	} else if _, err := h.payHooks(ctx, name); err != nil { // what they say is in the history
		return err
	}
	return act(p != nil)
}
