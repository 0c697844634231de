package failover

import (
	"slices"
	"time"
)

// job is a sequence of steps, of which one at most is under way.
type job struct {
	repair   bool  // of an active group, not a promote or a demote
	fault    fault // that a repair is about, when units are restarted
	queue    []Step
	cur      Step
	running  bool
	deadline time.Time // when cur is not waited for any more
	pause    time.Time // before it nothing is begun
	holds    int       // how often adding the addresses was tried
	drops    int       // how often deleting them was tried
	kills    int       // how often killing what a unit left was tried
	yield    yield     // what CARP is told as soon as the addresses are not here
}

// yield is how CARP lets go.
type yield int

const (
	yieldNot     yield = iota // it has already, or never had it
	yieldQuiet                // it falls silent
	yieldBowOut               // it says so first
	yieldRelease              // it says so, and goes on listening
)

// begin replaces what is under way by other steps. The inverse of a step that was broken off is noted: it may have done its work.
func (m *Machine) begin(j job) {
	if m.job.running {
		m.emit(Cancel{m.job.cur.ID})
	}
	m.job = j
	if !m.held {
		m.yield()
	}
	m.run()
	if m.job.yield == yieldQuiet {
		// Silence promises nothing, so it waits for nothing: an advert of a node that has just thawed deposes whoever took over meanwhile.
		m.yield()
	}
}

// run begins the next step, when none is under way and there is one.
func (m *Machine) run() {
	for !m.job.running {
		j := &m.job
		if m.role == Promoting && onlyHooks(j.queue) {
			// A hook may take its time; the group serves, and its checks count.
			m.fire(EventPromoted, m.cause)
			continue
		}
		if len(j.queue) == 0 {
			m.finished()
			return
		}
		if m.now.Before(j.pause) {
			return
		}
		s := j.queue[0]
		j.queue = j.queue[1:]
		m.act(s)
	}
}

func onlyHooks(steps []Step) bool {
	return !slices.ContainsFunc(steps, func(s Step) bool { return !s.Kind.hook() })
}

// act does one step, or has it begun.
func (m *Machine) act(s Step) {
	switch s.Kind {
	case KindReady:
		m.emit(Ready{})
		return
	case KindAnnounce:
		m.emit(Announce{})
		return
	}
	m.register(s)
	m.ids++
	s.ID = m.ids
	m.job.cur, m.job.running, m.job.deadline = s, true, m.now.Add(s.Timeout+grace)
	switch s.Kind {
	case KindHold:
		m.held, m.facts.lost = true, 0
		m.emit(LeaseHold{s})
	case KindDrop:
		m.emit(LeaseDrop{s})
	default:
		m.emit(Run{s})
	}
}

// finish takes the end of the step under way, and what a person is to type about it.
func (m *Machine) finish(o Outcome, why, command string) {
	s := m.job.cur
	m.job.running = false
	why = because(s.act(), because(o.String(), why))
	switch {
	case m.role == Demoting || m.role == Stuck:
		m.letGo(s, o, why)
	case o == Done, o == TimedOut && s.Kind == KindProbe: // nobody has answered
		m.stepDone(s)
	case s.Kind == KindLetGo: // CARP has spoken, and somebody has to serve
		m.raiseBriefly(AboutAddress, "", why, "the addresses are taken nevertheless")
	case s.Kind.hook():
	case s.Kind == KindUp: // tried again by bringUp
	case m.role == Promoting && s.Kind == KindRight:
		m.refusedRight(why, command)
	case m.role == Promoting && s.Kind == KindHold && m.job.holds < holdTries:
		m.job.holds++
		m.job.queue, m.job.pause = slices.Insert(m.job.queue, 0, s), m.now.Add(holdEvery)
	case m.role == Promoting:
		m.promoteFailed(s, why, command)
	case m.role == Active:
		m.repairFailed(s, why)
	}
	m.run()
}

// act gives what a step does, without its number.
func (s Step) act() string {
	if s.Name == "" {
		return s.Kind.String()
	}
	return s.Kind.String() + " " + s.Name
}

// stepDone notes what a step has changed.
func (m *Machine) stepDone(s Step) {
	if s.Kind != KindStart && s.Kind != KindRestart {
		return
	}
	for i, u := range m.cfg.Units {
		if u.Name == s.Name {
			m.backAgain(i)
		}
	}
}

// finished is the end of a job.
func (m *Machine) finished() {
	switch m.role {
	case Demoting, Stuck:
		m.demoted()
	case Active:
		if m.job.repair {
			m.job.repair = false
			m.repaired()
		}
	}
}
