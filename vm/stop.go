package vm

import (
	"context"
	"errors"
	"fmt"
	"time"

	"golang.org/x/sys/unix"

	"kvmctl/internal/flock"
	"kvmctl/vm/qmp"
)

// Rung is a step of the stop ladder.
type Rung int

// The rungs, from asking to killing.
const (
	RungNone  Rung = iota // it did not run
	RungAgent             // the guest agent was asked
	RungACPI              // the power button was pressed
	RungQuit              // QEMU was told to quit
	RungTerm              // SIGTERM
	RungKill              // SIGKILL
	RungSelf              // it ended by itself before it was asked
)

func (r Rung) String() string {
	switch r {
	case RungNone:
		return "not running"
	case RungAgent:
		return "agent"
	case RungACPI:
		return "acpi"
	case RungQuit:
		return "quit"
	case RungTerm:
		return "sigterm"
	case RungKill:
		return "sigkill"
	case RungSelf:
		return "by itself"
	}
	return fmt.Sprintf("rung %d", int(r))
}

// Times of the ladder. The guest's own time is the caller's; these are QEMU's.
const (
	agentPing  = time.Second            // an agent that does not answer a ping by then is not asked
	secondPush = 500 * time.Millisecond // Windows wants the button twice
	rungTime   = 2 * time.Second        // each of quit, SIGTERM, SIGKILL
	hangTime   = 2 * time.Second        // SHUTDOWN seen, process alive: it hangs
	wakeEvery  = 500 * time.Millisecond // how often a monitor that could not be had is tried again
	watchEvery = 50 * time.Millisecond  // how often the recorder is looked at while the guest shuts down
)

// StopOptions say how to stop.
type StopOptions struct {
	Timeout time.Duration // the guest's time; 0: none, it is not asked at all
	Force   bool          // begin at quit
	Say     func(string)  // hears each rung as it begins; may be nil
}

// Stopped is what a stop did.
type Stopped struct {
	Rung   Rung // the rung that ended it
	Took   time.Duration
	Reason string // as the history has it
	Clean  bool   // the guest shut down itself, or force was asked for
	Notes  []string
}

// Stop climbs the ladder until the guest's QEMU has ended: its handle is readable and its lock is gone.
func (h *Host) Stop(ctx context.Context, spec *Spec, o StopOptions) (*Stopped, error) {
	g, err := h.lock(ctx, spec.Name, "stop", o.Timeout+lockWait)
	if err != nil {
		return nil, err
	}
	defer g.unlock()
	began := time.Now()
	p, err := h.settle(ctx, spec.Name)
	if err != nil {
		return nil, err
	}
	if p == nil {
		notes, err := h.payHooks(ctx, spec.Name)
		return &Stopped{Rung: RungNone, Clean: true, Notes: notes}, err
	}
	defer p.Close()
	st := &Stopped{}
	s := &stopping{h: h, name: spec.Name, p: p, o: o, g: g}
	st.Notes = h.runHooks(ctx, spec.Name, h.calls(spec.Hooks, hookPreStop), hookNews{State: StateStopping, PID: p.PID})
	if st.Rung, err = s.climb(ctx); err != nil {
		return nil, err
	}
	if err := h.gone(ctx, spec.Name); err != nil {
		return nil, err
	}
	st.Took = time.Since(began)
	if err := h.bury(spec.Name, false); err != nil {
		return nil, err
	}
	_, end := lastRun(h.recent(spec.Name, maxFact))
	if end != nil {
		st.Reason = end.Reason
	}
	died := end == nil || end.State != StateStopped // crashed while it was asked: not what was asked for
	st.Clean = o.Force || !died && (st.Rung <= RungACPI || st.Rung == RungSelf)
	notes, err := h.payHooks(ctx, spec.Name)
	if err != nil {
		notes = append(notes, err.Error()) // it has ended: that is what was asked for; the next command pays the rest
	}
	st.Notes = append(st.Notes, notes...)
	return st, nil
}

// gone makes sure that the lock went with the process.
func (h *Host) gone(ctx context.Context, name string) error {
	deadline := time.Now().Add(time.Second)
	for {
		p, err := h.owner(name)
		if errors.Is(err, ErrNotRunning) {
			return nil
		}
		if err != nil {
			return err
		}
		p.Close()
		if time.Now().After(deadline) || ctx.Err() != nil {
			return fmt.Errorf("QEMU ended, but its pidfile is locked again")
		}
		time.Sleep(time.Millisecond)
	}
}

type stopping struct {
	h    *Host
	name string
	p    *Process
	o    StopOptions
	g    *guestLock
	run  string
}

// climb does what the ladder decides, and gives the rung that ended the guest.
func (s *stopping) climb(ctx context.Context) (Rung, error) {
	if st, err := s.h.loadState(s.name); err == nil {
		s.run = st.Run
	}
	l := newLadder(time.Now(), s.o)
	var seen sight
	for {
		a := l.next(time.Now(), seen)
		if a.says {
			s.begin(a.rung)
		}
		switch a.do {
		case doFinish:
			return a.rung, nil
		case doGiveUp:
			return a.rung, &StuckError{PID: s.p.PID}
		case doLetBe:
			return RungNone, &MonitorHeldError{}
		case doWatch:
			seen.ended = s.p.Wait(ctx, max(0, min(watchEvery, time.Until(a.until))))
			if err := ctx.Err(); err != nil && !seen.ended {
				return a.rung, interrupted(a.rung, seen, err)
			}
			seen.shutdown = seen.shutdown || !seen.ended && s.seenShutdown()
		case doWait:
			seen.ended = s.p.waitPlain(max(0, time.Until(a.until)))
		default:
			if err := s.try(ctx, a.do, &seen); err != nil {
				return a.rung, err
			}
		}
	}
}

// try does a deed that is no waiting. Only a signal that cannot be sent is an error: everything else the ladder takes into account.
func (s *stopping) try(ctx context.Context, d deed, seen *sight) error {
	var err error
	switch d {
	case doLook:
		seen.shutdown = s.seenShutdown()
	case doWake:
		err = s.wake(ctx)
		seen.held = errors.Is(err, flock.ErrLocked)
	case doAgent:
		err = s.askAgent(ctx)
	case doPush:
		s.push(ctx)
	case doQuit:
		err = s.quit(ctx)
	case doTerm:
		return s.p.Signal(unix.SIGTERM)
	case doKill:
		return s.p.Signal(unix.SIGKILL)
	}
	seen.failed = err != nil
	return nil
}

// interrupted says what becomes of a guest whose stop was broken off.
func interrupted(r Rung, seen sight, cause error) error {
	if r == RungSelf && !seen.shutdown {
		return &InterruptedError{Goes: "it was not asked to shut down yet", Cause: cause}
	}
	return &InterruptedError{Goes: "it goes on shutting down", Cause: cause}
}

// begin tells everybody about a rung: the terminal, the lock for other commands, and the history, so that the end is explained.
func (s *stopping) begin(r Rung) {
	s.g.note(r.String())
	if s.o.Say != nil {
		s.o.Say(r.String())
	}
	_ = s.h.appendFacts(s.name, s.h.HistorySize, false, Fact{Time: time.Now(), Run: s.run, Kind: KindStop, Reason: r.String(), By: s.h.By})
}

// quit tells QEMU to quit. A monitor that closes instead of answering has obeyed.
func (s *stopping) quit(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, rungTime)
	defer cancel()
	c, closeMonitor, err := s.h.Monitor(ctx, s.name)
	if err == nil {
		defer closeMonitor()
		if err = c.Execute(ctx, "quit", nil, nil); errors.Is(err, qmp.ErrClosed) {
			return nil
		}
	}
	if s.p.waitPlain(0) { // it may have ended while we dialled
		return nil
	}
	return err
}

// wake lets a paused guest run: one that stands still can neither hear the button nor obey it. The error says that the monitor is not
// to be had at the moment.
func (s *stopping) wake(ctx context.Context) error {
	c, closeMonitor, err := s.h.Monitor(ctx, s.name)
	if err != nil {
		return err
	}
	defer closeMonitor()
	var st struct{ Status string }
	if err := c.Execute(ctx, "query-status", nil, &st); err != nil {
		return err
	}
	if st.Status == "paused" {
		return c.Execute(ctx, "cont", nil, nil)
	}
	return nil
}

// askAgent asks by the agent if one listens. Whether the guest has opened the port costs no waiting.
func (s *stopping) askAgent(ctx context.Context) error {
	if !s.h.agentListens(ctx, s.name) {
		return qmp.ErrNoAgent
	}
	ctx, cancel := context.WithTimeout(ctx, agentPing)
	defer cancel()
	a, closeAgent, err := s.h.Agent(ctx, s.name)
	if err != nil {
		return err
	}
	defer closeAgent()
	if err := a.Ping(ctx); err != nil {
		return err
	}
	return a.Shutdown(ctx, "powerdown")
}

// agentListens asks QEMU whether the guest has opened the agent's port.
func (h *Host) agentListens(ctx context.Context, name string) bool {
	c, closeMonitor, err := h.Monitor(ctx, name)
	if err != nil {
		return false
	}
	defer closeMonitor()
	return agentOpen(ctx, c)
}

// agentOpen is agentListens for those who have the monitor already.
func agentOpen(ctx context.Context, c *qmp.Client) bool {
	var devices []struct {
		Label string
		Open  bool `json:"frontend-open"`
	}
	if err := c.Execute(ctx, "query-chardev", nil, &devices); err != nil {
		return false
	}
	for _, d := range devices {
		if d.Label == agentChardev {
			return d.Open
		}
	}
	return false
}

func (s *stopping) push(ctx context.Context) {
	c, closeMonitor, err := s.h.Monitor(ctx, s.name)
	if err != nil {
		return // the next push or rung will see
	}
	defer closeMonitor()
	_ = c.Execute(ctx, "system_powerdown", nil, nil)
}

// seenShutdown reads the recorder: QEMU has written SHUTDOWN in this run.
func (s *stopping) seenShutdown() bool {
	if err := s.h.Harvest(s.name); err != nil {
		return false
	}
	run, _ := factsOf(s.h.recent(s.name, maxFact), s.run)
	return !endTime(run).IsZero()
}
