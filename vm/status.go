package vm

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"kvmctl/internal/flock"
	"kvmctl/internal/units"
)

// Status is what can be said of a guest now.
type Status struct {
	Name    string
	State   StateWord
	PID     int
	Since   time.Time  // start of the run, or end of the last one; zero: unknown
	Memory  units.Size // of the run
	VNC     string     // address:port, of the run
	Accel   Accel
	Custom  bool
	Note    string
	Ready   *bool  // whether it was ready when somebody last looked; nil: nobody did, or it has no sign of readiness
	StateOf *State // what the start wrote down, while it runs
	Err     error  // what kept us from knowing more
}

// A table stays under 300 ms. statusTime bounds the asking: a guest that does not answer by then is wedged. statusBusy bounds the
// waiting for another kvmctl before that: what it takes is not QEMU's time.
const (
	statusTime = 200 * time.Millisecond
	statusBusy = 60 * time.Millisecond
)

// statusWorkers bounds how many guests are asked at once: so many may be wedged before the others have to wait for them.
const statusWorkers = 256

// Status tells the state of each named guest, in the given order. A guest that ended since the last command is noticed here: its end is
// noted in its history and its run directory cleared away.
func (h *Host) Status(ctx context.Context, names []string) []Status {
	return h.statusOf(ctx, names, func(ctx context.Context, name string, s *Status) {
		h.askState(ctx, name, s)
		if err := h.Harvest(name); err != nil && s.Err == nil {
			s.Err = err
		}
	})
}

// Overview is Status for many guests at once: a QEMU that waits for work, and whose recorder says that the guest runs, is not asked. An
// answer would cost it and us a millisecond each; a QEMU that hangs is seen all the same, unless it hangs in a poll of its own.
func (h *Host) Overview(ctx context.Context, names []string) []Status {
	return h.statusOf(ctx, names, func(ctx context.Context, name string, s *Status) {
		if err := h.Harvest(name); err != nil {
			s.Err = err
		} else if c := h.loadCursor(name); c.Runs && !c.Lost && waitsForWork(s.PID) {
			return
		}
		h.askState(ctx, name, s)
	})
}

// waitsForWork tells of a QEMU that its main loop stands where it should: asleep in the poll from which a monitor's command wakes it. One
// that stands in a lock, on a disk, or is stopped has to be asked.
func waitsForWork(pid int) bool {
	dir := "/proc/" + strconv.Itoa(pid)
	call, err := os.ReadFile(dir + "/syscall") // proc(5); "running", or the number of the call and its arguments
	if err != nil || !bytes.HasPrefix(call, ppoll) {
		return false
	}
	stat, err := os.ReadFile(dir + "/stat")
	if err != nil {
		return false
	}
	_, state, ok := bytes.Cut(stat[max(0, bytes.LastIndexByte(stat, ')')):], []byte(" "))
	return ok && bytes.HasPrefix(state, []byte("S "))
}

var ppoll = []byte(strconv.Itoa(unix.SYS_PPOLL) + " ")

// askFunc completes the status of a guest whose QEMU runs.
type askFunc func(ctx context.Context, name string, s *Status)

func (h *Host) statusOf(ctx context.Context, names []string, ask askFunc) []Status {
	all := make([]Status, len(names))
	var wg sync.WaitGroup
	slots := make(chan struct{}, statusWorkers)
	known, err := h.Known()
	live := map[string]bool{}
	for _, name := range known {
		live[name] = true
	}
	for i, name := range names {
		if err == nil && !live[name] { // most guests of a large host: no goroutine needed
			all[i] = h.stoppedStatus(name)
			continue
		}
		wg.Go(func() {
			slots <- struct{}{}
			defer func() { <-slots }()
			all[i] = h.liveStatus(ctx, name, ask)
		})
	}
	wg.Wait()
	return all
}

// absent is the cheapest way to learn that there is no such file.
func absent(path string) bool { return errors.Is(unix.Access(path, unix.F_OK), unix.ENOENT) }

// stoppedStatus reads the end of the last run.
func (h *Host) stoppedStatus(name string) Status {
	s := Status{Name: name, State: StateStopped}
	if absent(h.History(name)) && absent(h.HistoryOld(name)) {
		s.Note = "never started"
		return s
	}
	run, end := lastRun(h.recent(name, 8<<10))
	if run == nil && end == nil { // hooks said much since
		run, end = lastRun(h.recent(name, 1<<20))
	}
	switch {
	case end != nil:
		s.State, s.Note, s.Since = end.State, end.Reason, end.Time
		if end.Noticed != nil && end.Noticed.Sub(end.Time) > time.Minute {
			s.Note += fmt.Sprintf(" (noticed %s later)", end.Noticed.Sub(end.Time).Round(time.Minute))
		}
	case len(run) > 0: // started, no end noted and no run directory: /run was emptied
		s.State, s.Note = Ended(run, sameBoot(run))
		s.Since = run[0].Time
	default:
		s.Note = "never started"
	}
	return s
}

func (h *Host) liveStatus(ctx context.Context, name string, ask askFunc) Status {
	st, stErr := h.loadState(name)
	p, err := h.ownerOf(name, st)
	switch {
	case errors.Is(err, ErrNotRunning):
		return h.endedStatus(ctx, name)
	case err != nil:
		return Status{Name: name, State: StateWedged, Note: err.Error(), Err: err}
	}
	defer p.Close()
	s := Status{Name: name, PID: p.PID, State: StateRunning}
	if stErr == nil {
		s.Since, s.Memory, s.VNC, s.Accel, s.Custom, s.StateOf = st.Started, st.Memory, st.VNC, st.Accel, st.Custom, st
	} else {
		s.Note, s.Err = "its state file is missing", stErr
	}
	unfinished := exists(h.run(name, startingName))
	who, busy := h.heldBy(name)
	if unfinished && !busy {
		if ran, err := h.letGo(name); err == nil && ran {
			unfinished = false // its starter was killed in the last moment
		}
	}
	switch {
	case busy && who.Op == "stop":
		s.State, s.Note = StateStopping, who.Note
		return s
	case busy && unfinished:
		s.State = StateStarting
		return s
	case unfinished:
		s.State, s.Note = StateStarting, "its start was interrupted: `kvmctl start "+name+"` begins anew"
		return s
	}
	ask(ctx, name, &s)
	if p.waitPlain(0) { // it ended while we asked
		return h.endedStatus(ctx, name)
	}
	if s.StateOf != nil && s.StateOf.Ready != "" && s.Note == "" {
		h.readyNote(&s, time.Now())
	}
	return s
}

// askState asks QEMU itself.
func (h *Host) askState(ctx context.Context, name string, s *Status) {
	l, err := h.useMonitor(ctx, name, statusBusy)
	if err != nil {
		s.Note = "its monitor is in use by another kvmctl"
		return
	}
	ctx, cancel := context.WithTimeout(ctx, statusTime)
	defer cancel()
	c, closeMonitor, err := h.dialMonitor(ctx, name, l)
	if err != nil {
		s.State, s.Note = StateWedged, "QEMU does not answer"
		return
	}
	defer closeMonitor()
	var st struct{ Status string }
	if err := c.Execute(ctx, "query-status", nil, &st); err != nil {
		s.State, s.Note = StateWedged, "QEMU does not answer"
		return
	}
	s.State, s.Note = runState(name, st.Status)
	if st.Status == "paused" && s.StateOf != nil {
		run, _ := factsOf(h.recent(name, maxFact), s.StateOf.Run)
		s.Note = pausedBy(run)
	}
}

// runState puts QEMU's RunState (qapi/run-state.json) into our words.
func runState(name, q string) (StateWord, string) {
	switch q {
	case "running":
		return StateRunning, ""
	case "paused":
		return StatePaused, ""
	case "io-error":
		return StatePaused, "stopped on a disk error, mostly a full file system: make room, then kvmctl resume " + name
	case "internal-error", "guest-panicked":
		return StatePaused, "stopped: " + q
	case "prelaunch", "inmigrate":
		return StateStarting, q
	case "shutdown":
		return StateStopping, "the guest has shut down"
	}
	return StatePaused, q
}

// endedStatus clears away a guest that ended unseen, unless somebody else is at it already.
func (h *Host) endedStatus(ctx context.Context, name string) Status {
	who, busy := h.heldBy(name)
	if busy {
		switch who.Op {
		case "stop":
			return Status{Name: name, State: StateStopping, Note: who.Note}
		case "start":
			return Status{Name: name, State: StateStarting}
		}
		return h.stoppedStatus(name)
	}
	g, err := h.lock(ctx, name, "status", 10*time.Millisecond)
	if err != nil {
		return h.stoppedStatus(name)
	}
	defer g.unlock()
	p, err := h.settle(ctx, name)
	if p != nil {
		p.Close() // started in between
		return Status{Name: name, State: StateStarting}
	}
	s := h.stoppedStatus(name)
	s.Err = err
	return s
}

// heldBy tells whether a kvmctl is at work on the guest, and on what. What a killed one left written is not believed.
func (h *Host) heldBy(name string) (holder, bool) {
	who := h.lockHolder(name)
	if who.Op == "" && !exists(h.run(name, startingName)) {
		return holder{}, false
	}
	l, err := flock.TryLock(h.GuestLock(name))
	if err == nil {
		l.Unlock()
		return holder{}, false
	}
	return who, errors.Is(err, flock.ErrLocked)
}

// Known lists the guests that run or left something under /run, whether or not they are still configured.
func (l Layout) Known() ([]string, error) {
	entries, err := os.ReadDir(l.RunRoot())
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var names []string
	for _, e := range entries {
		if e.IsDir() && e.Name()[0] != '.' {
			names = append(names, e.Name())
		}
	}
	return names, nil
}
