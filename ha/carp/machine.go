package carp

import "time"

// Machine elects the master of one virtual host. It is a value of the past inputs and of the time that each Step is told: no clock, no socket,
// no goroutine. Times are only compared and subtracted.
//
// Nothing but its counter proves an advert, and everybody accepts old counters (facts of ucarp and FreeBSD: they adopt the counter that they
// hear, and add one for each advert of their own; a ucarp that has heard nobody draws each of its counters at random). So this machine does as
// they do, counts what it has heard before, and lets none of that make it master.
type Machine struct {
	cfg     Config
	now     time.Time // of the Step under way
	out     []Effect  // likewise
	facts   Facts
	preempt bool
	claims  bool // it advertises; always so in Master, and in Candidate unless it preempts

	adAt     time.Time // the next advert, while it claims
	lastAd   time.Time // when the last one was sent; zero: none, or it was taken back by a good-bye
	deadAt   time.Time // the master counts as dead, while it listens
	awaited  time.Time // deadAt of the program before, until this one listens; zero: none
	graced   bool      // deadAt was put off because nobody had called Step in time
	announce time.Time // not again before
	alone    bool      // it took over from a master that fell silent, and has heard nobody since
	answered bool      // a worse master, since the last advert that was due

	counter uint64
	heard   bool // somebody's counter was adopted

	demotion    int // as Demote says
	sendErrors  int
	sendSuccess int

	probation probation
	seen      memory
	report    report
}

// Facts are what a machine knows, for status and for those that decide by more than CARP.
type Facts struct {
	State         State
	Since         time.Time // of State
	Cause         Cause     // of the last change
	Peer          Claim     // the last advert that was heeded
	Heard         time.Time // when it came; zero: never
	Skew          int       // what it advertises with now, demotion included
	Sent          uint64    // handed over to be sent, Failed included
	Failed        uint64    // to be sent
	Received      uint64    // good ones
	Fresh         uint64    // of these, not heard before
	Rejected      [reasons]uint64
	Late          time.Duration // the latest of its adverts was asked for so long after its time
	Hampered      bool          // sending fails
	Misconfigured bool
}

// announceEvery bounds Announce: a flood of captured adverts must not become one of ARP.
const announceEvery = 100 * time.Millisecond

// New begins in Silent, with the probation that may end in Misconfigured.
func New(cfg Config, now time.Time) *Machine {
	return &Machine{cfg: cfg, facts: Facts{Since: now}}
}

// Step takes what happened and gives what is to be done now. A frame that waits in the socket is to be stepped before a Turn, so that a process
// that stood still hears its master before it misses it.
func (m *Machine) Step(now time.Time, in Input) []Effect {
	m.now, m.out = now, nil
	switch in := in.(type) {
	case Turn:
	case Allow:
		m.preempt = in.Preempt
		if m.facts.State == Silent {
			m.to(Backup, ByAllow, Claim{})
			m.goOnWaiting()
			m.goOnListening()
		}
	case Silence:
		if m.facts.State != Silent {
			m.bowOut(in.BowOut)
			m.to(Silent, BySilence, Claim{})
			m.unhamper()
		}
	case Ready:
		s := m.facts.State
		if s == Candidate || s == Backup && (in.Unelected || !m.cfg.Authoritative) {
			m.claim()
			m.to(Master, ByReady, Claim{})
		}
	case Release:
		m.preempt = false // else it would take the role from whoever takes it now
		if s := m.facts.State; s == Candidate || s == Master {
			m.bowOut(true)
			m.to(Backup, ByRelease, Claim{})
		}
	case Demote:
		m.demotion = in.By
	case Reload:
		m.reload(in.Config)
	case Received:
		m.received(in.Claim)
	case Rejected:
		m.rejected(in)
	case SendResult:
		m.sendResult(in.Failed)
	}
	m.turn()
	return m.out
}

// Next gives the moment in which Step has to be called with Turn if nothing else happens before; zero: none.
func (m *Machine) Next() (t time.Time) {
	earlier := func(at time.Time) {
		if !at.IsZero() && (t.IsZero() || at.Before(t)) {
			t = at
		}
	}
	if m.claims {
		earlier(m.adAt)
	}
	if m.listens() {
		earlier(m.deadAt)
	}
	earlier(m.probation.until)
	earlier(m.report.due())
	return t
}

// Facts gives what is known now.
func (m *Machine) Facts() Facts {
	f := m.facts
	f.Skew, f.Misconfigured = m.skew(), !m.probation.until.IsZero()
	return f
}

// listens reports whether the absence of adverts means something.
func (m *Machine) listens() bool {
	return m.cfg.Authoritative && (m.facts.State == Backup && m.probation.until.IsZero() || m.facts.State == Candidate && !m.claims)
}

// turn does what is due.
func (m *Machine) turn() {
	if m.claims && !m.now.Before(m.adAt) {
		late := m.now.Sub(m.adAt)
		m.facts.Late = max(m.facts.Late, late)
		was := m.adAt
		m.advertise()
		if every := m.beat(); late <= every/2 { // the beat is kept; after a stall one advert is enough
			m.adAt = was.Add(every)
		}
	}
	m.endMisconfigured()
	if m.listens() && !m.now.Before(m.deadAt) {
		m.missed()
	}
	m.reportDue()
}

// missed is carp_master_down by the timer.
func (m *Machine) missed() {
	if every := m.cfg.Interval(m.cfg.Skew); !m.graced && m.now.Sub(m.deadAt) > every/2 {
		// Nobody looked at the clock for so long, or at the wire: what came meanwhile may be lost, so the master has its say once more.
		m.graced, m.deadAt = true, m.now.Add(every)
		return
	}
	if until := m.probation.doubt(m.cfg); m.now.Before(until) {
		m.deadAt = until
		return
	}
	m.elect(ByDeadMaster, Claim{})
}

// goOnListening is for a machine that was silent for a moment only, as after a freeze that cost it its lease: the dead interval runs from its own last
// advert, or the last one that it heard, as it does for everybody else, so that the preferred one is elected first. At least one interval of it is
// still to come, in which a master would be heard. Begun anew it would end together with that of a ucarp that goes second, which may leave the first
// advert unread for 0.8 s and take the address meanwhile.
func (m *Machine) goOnListening() {
	from := m.lastAd
	if m.facts.Heard.After(from) {
		from = m.facts.Heard
	}
	at := from.Add(m.cfg.Dead())
	if !m.lastAd.IsZero() && at.Before(m.deadAt) && !at.Before(m.now.Add(m.cfg.Interval(m.cfg.Skew))) {
		m.deadAt = at
	}
}

// restart begins to wait for an advert.
func (m *Machine) restart() { m.deadAt, m.graced = m.now.Add(m.cfg.Dead()), false }

// elect makes a candidate. One that preempts is silent until its group is ready, so that the old master serves until then.
func (m *Machine) elect(why Cause, by Claim) {
	m.probation.done = true
	if m.facts.State == Candidate { // it was silent, and need not be any more: the old master has gone
		m.claim()
		return
	}
	silently := why == ByPreemption || why == ByDemotion
	m.alone = why == ByDeadMaster && !m.facts.Heard.IsZero()
	if !silently {
		m.claim()
	}
	m.to(Candidate, why, by)
	m.emit(Elected{why, silently})
}

// depose makes a backup again.
func (m *Machine) depose(why Cause, by Claim) {
	m.to(Backup, why, by)
	m.emit(Deposed{why, by.From})
}

// to changes the state and says so.
func (m *Machine) to(s State, why Cause, by Claim) {
	m.emit(Changed{m.facts.State, s, why, by.From})
	m.facts.State, m.facts.Since, m.facts.Cause = s, m.now, why
	if s <= Backup {
		m.claims, m.alone = false, false
	}
	m.restart()
}

// reload keeps the state and what was waited already.
func (m *Machine) reload(cfg Config) {
	m.deadAt = m.deadAt.Add(cfg.Dead() - m.cfg.Dead())
	if cfg.Source.IsValid() && cfg.Source != m.cfg.Source {
		m.unhamper()
	}
	m.cfg = cfg
	if soon := m.now.Add(cfg.Interval(m.skew())); soon.Before(m.adAt) {
		m.adAt = soon
	}
	if !m.probation.until.IsZero() {
		m.emit(Configured{})
	}
	m.probation, m.seen = probation{}, memory{}
}

func (m *Machine) emit(e Effect) { m.out = append(m.out, e) }
