package vm

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"kvmctl/internal/smallfile"
	"kvmctl/internal/units"
)

// Status is what can be said of a guest now.
type Status struct {
	Name   string
	State  StateWord
	PID    int
	Since  time.Time  // start of the run, or end of the last one; zero: unknown
	Memory units.Size // of the run
	VNC    string     // address:port of the run, or "unix:" and a path
	Accel  Accel
	Custom bool
	Note   string
	Ready  *bool // whether it was ready when somebody last looked; nil: nobody did, or it has no sign of readiness
	// HostDown: it ran when the host went down, and nobody has started it since.
	HostDown bool
	Held     string // why it must not run: "held for varda2"; empty: it may
	StateOf  *State // what the start wrote down, while it runs
	Err      error  // what kept us from knowing more
}

// How long a QEMU has to answer before its guest is called wedged. A table of all guests stays under 300 ms; who asks for one by name wants
// to be sure: on a busy host a healthy QEMU may need longer than a table has; where the answer makes a failure of what is well, longer still.
// statusBusy bounds the waiting for another kvmctl before that: what it takes is not QEMU's time.
const (
	tableTime  = 200 * time.Millisecond
	namedTime  = time.Second
	sureTime   = 3 * time.Second
	statusBusy = 60 * time.Millisecond
)

// statusWorkers bounds how many guests are asked at once: so many may be wedged before the others have to wait for them.
const statusWorkers = 256

// Status tells the state of each named guest, in the given order. A guest that ended since the last command is noticed here: its end is
// noted in its history and its run directory cleared away.
func (h *Host) Status(ctx context.Context, names []string) []Status {
	return h.statusOf(ctx, names, namedTime, func(string, *Status) bool { return false })
}

// SureStatus is Status of one guest for those who fail by it: a QEMU that a loaded host holds up is waited for, some seconds.
func (h *Host) SureStatus(ctx context.Context, name string) Status {
	return h.statusOf(ctx, []string{name}, sureTime, func(string, *Status) bool { return false })[0]
}

// Overview is Status for many guests at once: a QEMU that waits for work, and whose recorder says that the guest runs, is not asked. An
// answer would cost it and us a millisecond each; a QEMU that hangs is seen all the same, unless it hangs in a poll of its own.
func (h *Host) Overview(ctx context.Context, names []string) []Status {
	return h.statusOf(ctx, names, tableTime, func(name string, s *Status) bool {
		c, err := h.harvested(name)
		installs := s.StateOf != nil && s.StateOf.Install != "" // its note needs more than a look
		return err == nil && c.Runs && !c.Lost && !installs && waitsForWork(s.PID)
	})
}

// waitsForWork tells of a QEMU that its main loop stands where it should: asleep in the poll from which a monitor's command wakes it. One
// that stands in a lock, on a disk, or is stopped has to be asked.
func waitsForWork(pid int) bool {
	dir := "/proc/" + strconv.Itoa(pid)
	call, err := smallfile.Read(dir+"/syscall", 4096) // proc(5); "running", or the number of the call and its arguments
	if err != nil || !bytes.HasPrefix(call, ppoll) {
		return false
	}
	return processState(pid) == 'S'
}

// processState gives the letter of a process's state (proc_pid_stat(5)); 0: there is no such process.
func processState(pid int) byte {
	stat, err := smallfile.Read("/proc/"+strconv.Itoa(pid)+"/stat", 4096)
	if err != nil {
		return 0
	}
	_, state, ok := bytes.Cut(stat[max(0, bytes.LastIndexByte(stat, ')')):], []byte(" "))
	if !ok || len(state) == 0 {
		return 0
	}
	return state[0]
}

var ppoll = []byte(strconv.Itoa(unix.SYS_PPOLL) + " ")

// statusOf looks at all guests, then asks those of which looking does not say enough. plain says of a guest whose QEMU runs that nothing
// need be asked; patience is how long a QEMU that is asked may take.
func (h *Host) statusOf(ctx context.Context, names []string, patience time.Duration, plain func(name string, s *Status) bool) []Status {
	all := make([]Status, len(names))
	seen := make([]glimpse, len(names))
	known, err := h.Known()
	there := map[string]bool{}
	for _, name := range known {
		there[name] = true
	}
	inParallel(len(names), runtime.GOMAXPROCS(0), func(i int) {
		if err == nil && !there[names[i]] { // most guests of a large host
			all[i] = h.stoppedStatus(names[i])
			return
		}
		all[i], seen[i] = h.look(names[i])
		if seen[i].ask && plain(names[i], &all[i]) {
			seen[i].close()
			h.noteRun(names[i], &all[i])
		}
	})
	var slow []int
	for i, g := range seen {
		if g.ask || g.ended {
			slow = append(slow, i)
		}
	}
	inParallel(len(slow), statusWorkers, func(n int) {
		i := slow[n]
		all[i] = h.complete(ctx, names[i], all[i], seen[i], patience)
	})
	for i, name := range names {
		var held *HeldError
		if errors.As(h.CheckHold(name), &held) {
			all[i].Held = held.word()
		}
	}
	return all
}

// inParallel calls act for 0 to n-1, up to workers at a time, and waits for all.
func inParallel(n, workers int, act func(i int)) {
	var next atomic.Int64
	var wg sync.WaitGroup
	for range min(n, workers) {
		wg.Go(func() {
			for i := int(next.Add(1)) - 1; i < n; i = int(next.Add(1)) - 1 {
				act(i)
			}
		})
	}
	wg.Wait()
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
	facts := h.recent(name, 8<<10)
	run, end := lastRun(facts)
	if run == nil && end == nil { // hooks said much since
		facts = h.recent(name, 1<<20)
		run, end = lastRun(facts)
	}
	switch {
	case end != nil:
		s.State, s.Note, s.Since = end.State, end.Reason, end.Time
		if end.State == StateSaved && absent(h.SavedState(name)) {
			s.State, s.Note = StateStopped, "was "+end.Reason+", which is gone"
		}
		if end.Noticed != nil && end.Noticed.Sub(end.Time) > time.Minute {
			s.Note += fmt.Sprintf(" (noticed %s later)", end.Noticed.Sub(end.Time).Round(time.Minute))
		}
	case len(run) > 0: // started, no end noted and no run directory: /run was emptied
		s.State, s.Note = Ended(run, sameBoot(run))
		s.Since = run[0].Time
		if s.HostDown = !sameBoot(run) && endTime(run).IsZero(); s.HostDown {
			s.Note, s.Since = hostWentDown+" and came up again", hostUp(time.Now())
		}
	default:
		s.Note = "never started"
	}
	if f := lastFail(facts); f != nil {
		s.Note, s.Since, s.HostDown = "start failed: "+f.Reason, f.Time, false
	}
	return s
}

// glimpse is what is left to do about a guest after a look at it.
type glimpse struct {
	ended bool     // its QEMU is gone, its run directory is not
	ask   bool     // its QEMU runs, and can say more
	p     *Process // that QEMU, while ask
}

func (g *glimpse) close() {
	g.ask = false
	g.p.Close()
}

// look tells of a guest what the kernel and our own files know: it waits for nobody.
func (h *Host) look(name string) (Status, glimpse) {
	st, stErr := h.loadState(name)
	p, err := h.ownerOf(name, st)
	switch {
	case errors.Is(err, ErrNotRunning):
		return Status{Name: name}, glimpse{ended: true}
	case err != nil:
		return Status{Name: name, State: StateWedged, Note: err.Error(), Err: err}, glimpse{}
	}
	g := glimpse{ask: true, p: p}
	s := Status{Name: name, PID: p.PID, State: StateRunning}
	if stErr == nil {
		s.Since, s.Memory, s.VNC, s.Accel, s.Custom, s.StateOf = st.Started, st.Memory, st.VNC, st.Accel, st.Custom, st
	} else {
		s.Note, s.Err = "its state file is missing", stErr
	}
	unfinished := exists(h.run(name, startingName))
	who, busy := h.heldBy(name, unfinished)
	if unfinished && !busy {
		if ran, err := h.letGo(name); err == nil && ran {
			unfinished = false // its starter was killed in the last moment
		}
	}
	switch {
	case busy && who.Op == "stop":
		s.State, s.Note = StateStopping, who.Note
	case busy && (who.Op == "save" || who.Op == "snapshot") && !unfinished:
		s.State, s.Note = StatePaused, strings.TrimSpace("kvmctl "+who.Op+" is at work on it "+who.Note)
	case busy && unfinished:
		s.State = StateStarting
	case unfinished:
		s.State, s.Note = StateStarting, "its start was interrupted: `kvmctl start "+name+"` begins anew"
	default:
		return s, g
	}
	g.close()
	return s, glimpse{}
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
