package vm

import (
	"context"
	"crypto/rand"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"time"

	"kvmctl/internal/flock"
	"kvmctl/vm/qmp"
)

// lockWait is how long a start waits for another kvmctl that works on the guest: a start ends long before.
const lockWait = 40 * time.Second

// greetingTime bounds QEMU's own start, from exec to its greeting.
const greetingTime = 60 * time.Second

// Started is what a start did.
type Started struct {
	Already bool // it ran before
	PID     int
	State   State
	Notes   []string // what the admin should know: tcg instead of KVM, a failed post-start hook
}

// Start starts a guest and returns when it runs; one that was saved goes on where it was. A guest that runs already is left alone.
// Whatever a killed kvmctl left behind is cleaned first; whatever fails is undone.
func (h *Host) Start(ctx context.Context, spec *Spec) (*Started, error) {
	return h.StartFrom(ctx, spec, Origin{})
}

// StartFrom is Start with a say in where the guest begins.
func (h *Host) StartFrom(ctx context.Context, spec *Spec, from Origin) (*Started, error) {
	g, err := h.lock(ctx, spec.Name, "start", lockWait)
	if err != nil {
		return nil, err
	}
	defer g.unlock()
	if err := h.CheckHold(spec.Name); err != nil {
		return nil, err
	}
	switch running, err := h.settle(ctx, spec.Name); {
	case err != nil:
		return nil, err
	case running != nil:
		defer running.Close()
		st, err := h.loadState(spec.Name)
		if err != nil {
			return nil, err
		}
		return &Started{Already: true, PID: running.PID, State: *st}, nil
	}
	notes, err := h.payHooks(ctx, spec.Name)
	if err != nil {
		return nil, err
	}
	asked := spec
	if from.CD != "" {
		spec = withCD(spec, from.CD)
	}
	p, before, err := h.prepareFrom(ctx, spec, from)
	defer before.close()
	if err != nil { // before anything is pinned: what is refused must not change the guest
		return nil, err
	}
	if h.discards(spec.Name, from) {
		if err := h.consumeSaved(spec.Name); err != nil {
			return nil, err
		}
		p.Notes = append(p.Notes, "what was saved is thrown away: it boots as after a power cut")
	}
	if err := h.pin(ctx, p, spec.Name); err != nil {
		return nil, err
	}
	p.Notes = append(notes, p.Notes...)
	s := &starting{h: h, spec: p.spec, asked: asked, p: p, uid: h.UIDBase + p.ABI.UID, runName: newRun(), before: before, cd: from.CD}
	if err := s.run(ctx); err != nil {
		err = s.explain(err)
		s.undoAll()
		if !s.stuck { // what pre_start set up, post_stop takes down; its words are in the history
			_, _ = h.payHooks(context.WithoutCancel(ctx), spec.Name)
		}
		return nil, err
	}
	return &Started{PID: s.cmd.Process.Pid, State: *s.state, Notes: p.Notes}, nil
}

// pin chooses the guest's uid number at its first start and writes the ABI lock if it changed.
func (h *Host) pin(ctx context.Context, p *Prepared, name string) error {
	if err := MakeDirs(h.GuestLibDir(name), 0o711); err != nil {
		return err
	}
	if p.ABI.UID != 0 && accountsChangedSince(h.ABILock(name)) {
		accounts, err := accountUIDs()
		if err != nil {
			return err
		}
		if uid := h.UIDBase + p.ABI.UID; accounts.contains(uid) {
			// The guest owns nothing and does not see the number, so it can have another.
			p.Notes = append(p.Notes, fmt.Sprintf("an account has uid %d by now: the guest gets another", uid))
			p.ABI.UID = 0
		}
	}
	if p.ABI.UID == 0 {
		ctx, cancel := context.WithTimeout(ctx, lockWait)
		defer cancel()
		l, err := flock.Wait(ctx, h.UIDLock())
		if err != nil {
			return fmt.Errorf("choose a uid: %w", err)
		}
		defer l.Unlock()
		if p.ABI.UID, err = chooseUID(h.Layout, h.UIDBase); err != nil {
			return err
		}
	}
	return saveABI(h.ABILock(name), p.old, p.ABI)
}

// starting is a start under way: each step registers its undo before the next begins.
type starting struct {
	h            *Host
	spec         *Spec
	asked        *Spec // as its file has it, before this host was asked what it can do
	p            *Prepared
	uid          int
	runName      string // State.Run
	files        *openFiles
	cmd          *exec.Cmd
	ended        chan struct{} // closed when QEMU has ended; it is our child until we leave
	state        *State
	record       *Record       // written once QEMU is on its way: nobody reads that of a start that is not finished
	marker       *flock.Lock   // of the file that says that the start is not finished
	tapsMade     chan struct{} // closed when taps and tapsErr are set
	taps         [][]*os.File
	tapsErr      error
	opened       chan struct{} // closed when mon, closeMonitor, monErr, screen and screenErr are set
	mon          *qmp.Client
	closeMonitor func()
	monErr       error
	screen       struct{ Host, Service string } // where its screen listens
	screenErr    error
	placed       chan struct{} // closed when placeNotes and placeErr are set; nil: there is nobody to make a scope
	placeNotes   []string
	placeErr     error
	cd           string     // the CD that is booted once; empty: none
	before       *pastState // what the guest goes on from; nil: it boots
	stuck        bool       // QEMU outlived SIGKILL
	undo         []func()
}

func (s *starting) onUndo(f func()) { s.undo = append(s.undo, f) }

func (s *starting) undoAll() {
	for _, f := range slices.Backward(s.undo) {
		f()
	}
}

// run is the start sequence of ARCHITECTURE.md.
func (s *starting) run(ctx context.Context) error {
	type step struct {
		name string
		do   func(context.Context) error
	}
	steps := []step{
		{"pre-start hook", s.preStart},
		{"run directory", s.makeRunDir},
		{"files", s.openFiles},
		{"state", s.writeState},
		{"network", s.openNetwork}, // comes up meanwhile
		{"QEMU", s.exec},
		{"flight recorder", s.recorder},
		{"monitor", s.openMonitor},
		{"settings", s.settings},
		{"scope", s.inScope},
		{"let go", s.release},
	}
	if s.cd != "" {
		steps = slices.Insert(steps, len(steps)-1, step{"boot order", s.bootOnce})
	}
	if s.before != nil {
		steps = slices.Insert(steps, len(steps)-1, step{"memory", s.loadMemory})
	}
	for _, step := range steps {
		if err := ctx.Err(); err != nil {
			return fmt.Errorf("%s: %w", step.name, err)
		}
		// The last of these looks, before "let go", is the one that counts: QEMU has its pidfile's lock by then, so a fence that we do not see
		// here sees QEMU. See Fence.
		if err := s.h.CheckHold(s.spec.Name); err != nil {
			return err
		}
		if err := step.do(ctx); err != nil {
			return err
		}
		if s.h.Step != nil {
			s.h.Step(step.name)
		}
	}
	s.done()
	s.postStart(ctx)
	return nil
}

func (s *starting) makeRunDir(ctx context.Context) error {
	if len(s.spec.NICs) > 0 {
		s.openNetworkMeanwhile(ctx)
	}
	name := s.spec.Name
	s.onUndo(func() {
		if !s.stuck { // its files are all that the next start will know of it
			_ = s.h.removeRunDir(name) // what it leaves, the next start removes
		}
	})
	if err := reachable(s.h.RunRoot()); err != nil {
		return err
	}
	if err := s.h.makeRunDir(name, s.uid, s.h.RecorderSize, s.h.ConsoleSize); err != nil {
		return err
	}
	if v := s.spec.VNC; !v.Enabled || !v.Socket {
		return nil
	}
	return s.h.makeVNCDir(name, s.uid)
}

func (s *starting) openFiles(context.Context) (err error) {
	s.files, err = s.h.open(s.spec, s.p.Wiring)
	s.onUndo(s.files.close)
	if err != nil || !s.spec.VNC.Enabled {
		return err
	}
	return s.openScreen()
}

func (s *starting) writeState(context.Context) error {
	s.state = &State{Version: stateVersion, Run: s.runName, Boot: bootID(), UID: s.uid, Started: time.Now(),
		Memory: s.spec.Memory, CPUs: s.spec.CPUs, Accel: s.p.Target.Accel, QEMU: s.p.QEMU.String(),
		Agent: s.spec.Guest.Agent, Custom: s.spec.Custom(), Ready: s.spec.Ready.String(), Starter: s.h.Starter, Digest: s.asked.Digest()}
	rec := newRecord(s.asked, &s.p.ABI)
	if s.h.Place != nil {
		rec.Limit = s.spec.Limits.Memory
	}
	if s.before != nil {
		s.state.Restored = s.before.name
		rec.goesOn(s.before.machine, s.spec)
		s.state.Memory, s.state.CPUs = rec.Applied.Memory, rec.Applied.CPUs
		s.state.Digest, s.state.Unseen = rec.Applied.Digest(), len(rec.Unseen) > 0
	}
	s.state.Install = s.cd
	for i, n := range s.spec.NICs {
		s.state.MACs = append(s.state.MACs, s.p.ABI.NICs[i].MAC.String())
		s.state.Bridges = append(s.state.Bridges, n.Bridge)
	}
	s.record = rec
	if err := s.h.saveState(s.spec.Name, s.state); err != nil {
		return err
	}
	// From here on a process may exist that holds no lock on the pidfile yet. The child inherits this lock and loses it as it becomes
	// QEMU: once it is free, whatever is left of an unfinished start runs as the guest's uid.
	marker, err := flock.TryLock(s.h.run(s.spec.Name, startingName))
	if err != nil {
		return fmt.Errorf("mark the start as unfinished: %w", err)
	}
	s.marker = marker
	s.onUndo(func() { _ = s.marker.Leave() })
	return nil
}

func newRun() string { return rand.Text()[:8] }

func newUUID() string {
	var b [16]byte
	_, _ = rand.Read(b[:])                      // never fails (crypto/rand)
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80 // RFC 9562, version 4
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}
