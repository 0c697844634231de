package failover

import "time"

// Machine is the state of one group on one node. It is not safe for concurrent use; the agent's loop owns it.
type Machine struct {
	cfg Config
	now time.Time // of the Step under way; all times are made from CLOCK_BOOTTIME by the caller and only compared
	out []Effect  // of the Step under way

	role   Role
	reason Reason // of Waiting
	since  time.Time
	cause  string
	why    Event // of the last change

	facts   facts
	storage storage
	carp    told
	elected *Elected // that no role has used yet
	held    bool     // the addresses were asked for, and their delete is not known to be done

	ids  uint64
	job  job
	undo []Step // what has to be undone, in the order in which it was done

	damp    damping
	alarms  []alarm
	notices []time.Time // of moves, within calm
	served  time.Time   // when somebody was last known to be active
	handing *handing
	settled bool // Stopped was said
}

// told is what CARP was told last.
type told struct {
	listens bool // or is master; else it is silent
	preempt bool
}

// handing is a hand-over that a person asked for and that nobody has taken yet.
type handing struct {
	id    uint64
	until time.Time // zero: it is still being let go
}

// New makes the machine of a group that has just been configured, in the role Starting. The first facts (carrier, interface, checks) are told
// by Step. Units of an agent that died may still run: they are adopted when this node is elected, and stopped when the peer is found to serve.
func New(cfg Config, now time.Time) *Machine {
	m := &Machine{cfg: cfg, now: now, since: now, served: now}
	m.facts.checks = make([]checkFact, len(cfg.Checks))
	m.facts.dead = make([]*fault, len(cfg.Units))
	for _, r := range cfg.Resources {
		m.storage.disks, m.storage.seen = append(m.storage.disks, Disk{Name: r.Name}), append(m.storage.seen, false)
	}
	m.leftovers()
	return m
}

// Step takes a fact or a wish at now, which never goes back, and gives what is to be done, in that order. It never blocks.
func (m *Machine) Step(now time.Time, in Input) []Effect {
	m.now, m.out = now, nil
	m.absorb(in)
	// Each turn changes the role or begins a step that has to be answered, so this ends: the longest way is from demoting over standby to
	// promoting and active with nothing to start.
	for range maxMoves {
		if !m.advance() {
			break
		}
	}
	m.preempt()
	m.watch()
	out := m.out
	m.out = nil
	return out
}

// maxMoves bounds what one Step may do.
const maxMoves = 8

// Next gives when Step(Turn) has something to do although nothing happened; the zero time: never.
func (m *Machine) Next() time.Time {
	var next time.Time
	soonest := func(t time.Time) {
		if !t.IsZero() && (next.IsZero() || t.Before(next)) {
			next = t
		}
	}
	if m.job.running {
		soonest(m.job.deadline)
	} else if len(m.job.queue) > 0 {
		soonest(m.job.pause)
	}
	switch m.role {
	case Starting:
		soonest(m.since.Add(startWait))
	case Waiting:
		soonest(m.damp.cool)
		soonest(m.storage.next(m.now, m.job.running || len(m.job.queue) > 0))
	case Standby:
		soonest(m.preemptAt())
	case Active:
		soonest(m.healAt())
	}
	if m.handing != nil {
		soonest(m.handing.until)
	}
	soonest(m.nobodyAt())
	for _, a := range m.alarms {
		soonest(m.alarmAt(a))
	}
	return next
}

func (m *Machine) emit(e Effect) { m.out = append(m.out, e) }

// fire lets an event move the group as the table says, and reports whether it did. Each move is one line with its cause.
func (m *Machine) fire(e Event, cause string) bool {
	to, ok := transitions[m.role][e]
	if !ok {
		return false
	}
	from, reason := m.role, ReasonNone
	if to == Waiting {
		reason, cause = m.waitingFor(cause)
		if from == Waiting && reason == m.reason {
			return false
		}
	}
	m.role, m.reason, m.since, m.cause, m.why = to, reason, m.now, cause, e
	if from == Active {
		m.served = m.now
	}
	m.emit(Transition{From: from, To: to, Reason: reason, Event: e, Cause: cause, Facts: m.known()})
	m.enter(from)
	return true
}

// enter does what a new role begins with.
func (m *Machine) enter(from Role) {
	switch m.role {
	case Waiting:
		m.elected = nil
		m.silence(false)
		m.damp.switched = false
		if from != Waiting && from != Starting && m.cfg.Hooks.Waiting && len(m.undo) == 0 {
			m.begin(job{queue: []Step{m.step(KindHookWaiting, "")}})
		}
	case Standby:
		m.allow()
	case Promoting:
		m.promote()
	case Active:
		m.clear(AboutPromote, "")
		m.notice(AboutTakeover, "active: "+m.electedBy())
	case Demoting:
		m.demote(from)
	case Stuck:
		m.stuck()
	}
}

// advance lets follow what the facts and the time say, and reports whether the role changed.
func (m *Machine) advance() bool {
	before, at := m.role, m.reason
	switch {
	case m.job.running && !m.now.Before(m.job.deadline):
		m.emit(Cancel{m.job.cur.ID})
		m.finish(Failed, "it did not end in time, nor when it was told to", "")
	case !m.job.running:
		m.run()
	}
	switch m.role {
	case Starting:
		if m.facts.complete(m.cfg) && m.storage.complete() || !m.now.Before(m.since.Add(startWait)) || m.facts.stopping {
			m.rest(EventFit, "nothing is missing")
		}
	case Waiting:
		m.wait()
	case Standby:
		m.stand()
	case Promoting, Active:
		if reason, why := m.evicted(); reason != ReasonNone {
			m.fire(EventBlocked, why)
		} else if m.role == Active {
			m.heal()
		}
	case Demoting:
	case Stuck:
		if m.facts.stopping {
			m.stopped(false)
		}
	}
	return m.role != before || m.reason != at
}

// rest goes to Standby by event, or to Waiting when something keeps it from there.
func (m *Machine) rest(free Event, cause string) {
	if reason, why := m.blocked(); reason != ReasonNone {
		m.fire(EventBlocked, why)
		return
	}
	m.fire(free, cause)
}

// wait is the role Waiting.
func (m *Machine) wait() {
	switch {
	case len(m.undo) > 0:
		m.fire(EventLeftovers, "units may run here although the group waits")
	case m.facts.stopping:
		if !m.job.running { // of a hook
			m.stopped(true)
		}
	default:
		if !m.damp.cool.After(m.now) {
			m.damp.cool, m.damp.taken = time.Time{}, ""
		}
		m.rest(EventFit, "nothing is missing")
		if m.role == Waiting {
			m.bringUp()
		}
	}
}

// stand is the role Standby.
func (m *Machine) stand() {
	reason, why := m.blocked()
	switch {
	case reason != ReasonNone:
		m.fire(EventBlocked, why)
	case m.elected != nil:
		m.fire(EventElected, m.electedBy())
	case len(m.undo) > 0 && m.facts.heard.After(m.since):
		m.fire(EventLeftovers, "units may run here although "+m.facts.heardBy+" serves")
	}
}

// stopped says once that Stop is done.
func (m *Machine) stopped(clean bool) {
	if !m.settled {
		m.settled = true
		if m.handing != nil {
			m.emit(Reply{ID: m.handing.id, Failed: true, Why: "let go, and the group ends here: nobody was heard to take it yet"})
			m.handing = nil
		}
		m.emit(Stopped{clean})
	}
}

func (m *Machine) electedBy() string {
	if m.elected == nil {
		return m.cause
	}
	switch m.elected.By {
	case ByBowOut:
		return "the master has left"
	case ByPreempt:
		return "the master is worse"
	case ByHandOver:
		return "the peer hands it over"
	case ByDeclined:
		return "the peer has declined it"
	case ByLot:
		return "both nodes stand by, and this one goes first"
	case ByUnfit:
		return "the peer is alive, and cannot serve"
	case ByPeerQuiet:
		return "the peer is silent on every path, and its lease is over"
	case BySilence:
	}
	return "no master was heard for the dead interval"
}
