package vm

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"time"

	"golang.org/x/sys/unix"

	"kvmctl/vm/image"
)

// FenceRequest asks for a guest's death, so that its HA peer may write alone.
type FenceRequest struct {
	ID     string        // 32 lower-case hex digits, a new one for each fence: see CheckRequest
	For    string        // the node that asks: see CheckNode
	Within time.Duration // how long it may take
}

// FenceState is how a fence found a guest.
type FenceState string

// The states.
const (
	FenceKilled     FenceState = "killed"
	FenceWasStopped FenceState = "was-stopped"
)

// Fenced is a fence's receipt. There is one only when no QEMU of the guest's is left, nobody writes to its images, and its hold is on the disk.
type Fenced struct {
	State FenceState
	Took  time.Duration
}

// SpentError says that a fence request was answered before, and that a person has let the guest go since: the copy that came late is no ground
// to kill it again.
type SpentError struct{ At time.Time }

func (e *SpentError) Error() string {
	return "this request was answered at " + e.At.Local().Format(time.DateTime) + ", and the guest was let go since"
}

// Hint says what a real need looks like.
func (*SpentError) Hint() string { return "a new fence has a new --request" }

// Refused marks the error as a refusal for safety.
func (*SpentError) Refused() bool { return true }

// StrayError says that a process runs as a guest's uid and is not the QEMU that the kernel names: somebody removed its pidfile, perhaps.
type StrayError struct{ PID, UID int }

func (e *StrayError) Error() string {
	return fmt.Sprintf("pid %d runs as the guest's uid %d and holds no pidfile of its", e.PID, e.UID)
}

// Hint says how to look at it.
func (e *StrayError) Hint() string {
	return fmt.Sprintf("look at it: ps -fp %d; if it is the guest's: kill -9 %d", e.PID, e.PID)
}

// fenceEvery is how often a fence looks again at what is on its way.
const fenceEvery = time.Millisecond

// Fence kills a guest and keeps it dead: see Hold. It may be repeated, and says the same again. Of spec it needs the name, and, where
// the guest's last run left no record, the disks. An error is no receipt, and leaves the hold.
//
// The hold comes first. A start looks at it after it has taken the guest's lock, before each of its steps and last before it lets the guest
// go, when its QEMU has held the pidfile's lock for long. So a start that did not see the hold has a QEMU that we find and kill.
func (h *Host) Fence(asked context.Context, spec *Spec, q FenceRequest) (*Fenced, error) {
	if err := errors.Join(CheckRequest(q.ID), CheckNode(q.For)); err != nil {
		return nil, err
	}
	began := time.Now()
	ctx, cancel := context.WithTimeout(asked, q.Within)
	defer cancel()
	before := answered(h.recent(spec.Name, maxFact), q.ID)
	held, herr := h.loadHold(spec.Name)
	if before != nil && held == nil && herr == nil {
		return nil, &SpentError{before.Time}
	}
	hold := &Hold{Request: q.ID, For: q.For, At: began, By: h.By}
	if held != nil && held.Request == q.ID {
		hold.At = held.At
	}
	if err := h.saveHold(spec.Name, hold); err != nil {
		return nil, err
	}
	h.step("held")
	f := &fencing{h: h, spec: spec, q: q, state: FenceWasStopped}
	if before != nil && before.PID != 0 {
		f.state = FenceKilled
	}
	for {
		err := f.look(ctx)
		if err == nil {
			break
		}
		if pause(ctx, fenceEvery); asked.Err() != nil {
			return nil, &InterruptedError{Goes: "it is held, and may run on", Cause: asked.Err()}
		}
		if ctx.Err() != nil {
			return nil, err
		}
	}
	done := &Fenced{State: f.state, Took: time.Since(began)}
	if before == nil && !f.noted {
		f.note("", 0)
	}
	return done, nil
}

// answered gives what the history says of a request; nil: nothing.
func answered(facts []Fact, request string) *Fact {
	for i, f := range facts {
		if f.Kind == KindFence && f.Request == request {
			return &facts[i]
		}
	}
	return nil
}

// fencing is a fence under way.
type fencing struct {
	h     *Host
	spec  *Spec
	q     FenceRequest
	state FenceState
	noted bool // in the history
	died  bool // of us: the kernel named its QEMU
}

// look does what is to be done now; nil: the guest is dead and stays so. What is on its way is an error, which says what to wait for.
func (f *fencing) look(ctx context.Context) error {
	h, name := f.h, f.spec.Name
	before, err := h.loadHold(name)
	if err != nil {
		return err
	}
	if err := f.kill(ctx); err != nil {
		return err
	}
	if err := f.clearStart(ctx); err != nil {
		return err
	}
	p, err := h.owner(name) // asked after the mark of a start was: one that went on without our hold has its QEMU by then
	if err == nil {
		p.Close()
		return &UnfinishedError{Name: name}
	}
	if !errors.Is(err, ErrNotRunning) {
		return err
	}
	if !f.died { // nobody was found where QEMU would be: is it somewhere else? To ask takes as long as to kill
		if err := f.noStray(); err != nil {
			return err
		}
	}
	if err := f.noWriter(ctx); err != nil {
		return err
	}
	// A person, or another fence, may have been at the hold meanwhile: what was seen counts only under the hold that is there now.
	after, err := h.loadHold(name)
	switch {
	case err != nil:
		return err
	case before == nil || after == nil:
		return errors.New("its hold was taken away meanwhile")
	case before.Request != after.Request:
		return errors.New("another fence is under way")
	}
	return nil
}

// kill ends the guest's QEMU if there is one.
func (f *fencing) kill(ctx context.Context) error {
	p, err := f.h.owner(f.spec.Name)
	if errors.Is(err, ErrNotRunning) {
		return nil
	}
	if err != nil {
		return err
	}
	defer p.Close()
	st, _ := f.h.loadState(f.spec.Name)
	if err := p.Signal(unix.SIGKILL); err != nil {
		return err
	}
	f.state = FenceKilled
	if !f.noted { // while it dies: who notes its end learns why
		run := ""
		if st != nil {
			run = st.Run
		}
		f.note(run, p.PID)
	}
	if deadline, ok := ctx.Deadline(); !ok || !p.Wait(ctx, time.Until(deadline)) {
		return &StuckError{PID: p.PID}
	}
	f.died = true
	f.h.step("killed")
	return nil
}

// note writes down what was asked and, by the pid, who died of it.
func (f *fencing) note(run string, pid int) {
	f.noted = true
	_ = f.h.appendFacts(f.spec.Name, f.h.HistorySize, false, Fact{Time: time.Now(), Run: run, Kind: KindFence, PID: pid,
		Reason: "for " + f.q.For, Request: f.q.ID, By: f.h.By}) // a full disk is no reason to let it live
}

// clearStart waits until a start that is under way has seen the hold, and ends what a killed one left: a child that is not QEMU yet holds no
// lock that would show it.
func (f *fencing) clearStart(ctx context.Context) error {
	h, name := f.h, f.spec.Name
	if !exists(h.run(name, startingName)) {
		return nil
	}
	g, err := h.lock(ctx, name, "fence", 0)
	if err != nil {
		return err // the start itself is at it
	}
	defer g.unlock()
	p, err := h.settle(ctx, name)
	if p != nil {
		p.Close()
		return &UnfinishedError{Name: name}
	}
	return err
}

// noStray makes sure that no process runs as the guest's uid, which no one else has: the pidfile may have been removed under its QEMU.
func (f *fencing) noStray() error {
	uid := 0
	if st, err := f.h.loadState(f.spec.Name); err == nil {
		uid = st.UID
	} else if abi, err := loadABI(f.h.ABILock(f.spec.Name)); err != nil {
		return err
	} else if abi != nil {
		uid = f.h.UIDBase + abi.UID
	}
	if uid == 0 {
		return nil // it never had one
	}
	for pid, owner := range processUIDs() {
		if s := processState(pid); owner == uid && s != 0 && s != 'Z' && s != 'X' {
			return &StrayError{pid, uid}
		}
	}
	return nil
}

// noWriter makes sure that nobody writes to the guest's images: QEMU's locks on them end with the last write that the kernel was asked for,
// which io_uring may finish after the process has gone.
func (f *fencing) noWriter(ctx context.Context) error {
	disks := f.spec.Disks
	if r, err := readRecord(f.h.run(f.spec.Name, recordName)); err == nil {
		disks = r.Applied.Disks // what it had when it died; vm.toml may mean something else by now
	}
	for _, d := range disks {
		if d.ReadOnly {
			continue
		}
		if err := image.CheckUnlocked(ctx, d.Image, false); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}
