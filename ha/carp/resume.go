package carp

import "time"

// Resumed is what the program that takes an agent over in place goes on with. Times are since boot, 0: none.
type Resumed struct {
	Dead    time.Duration `json:"dead"` // when the master counts as dead; 0: nobody waited for it
	Heard   time.Duration `json:"heard"`
	Peer    Claim         `json:"peer"`
	Counter uint64        `json:"counter"`
	Adopted bool          `json:"adopted"` // the counter is one that was heard
	Proven  bool          `json:"proven"`  // no probation any more
}

// Handover gives what the next program goes on with. since turns a time into one since boot.
func (m *Machine) Handover(since func(time.Time) time.Duration) Resumed {
	r := Resumed{Peer: m.facts.Peer, Counter: m.counter, Adopted: m.heard, Proven: m.probation.done}
	if !m.facts.Heard.IsZero() {
		r.Heard = since(m.facts.Heard)
	}
	if m.facts.State == Backup && m.listens() && !m.facts.Heard.IsZero() {
		r.Dead = since(m.deadAt)
	}
	return r
}

// Resume makes a new machine, before its first Step, go on with what the program before knew: a master that fell silent is missed when that program
// would have missed it. at turns a time since boot into one of the clock of Step.
func (m *Machine) Resume(r Resumed, at func(time.Duration) time.Time) {
	m.facts.Peer, m.counter, m.heard, m.probation.done = r.Peer, r.Counter, r.Adopted, r.Proven
	if r.Heard != 0 {
		m.facts.Heard = at(r.Heard)
	}
	if r.Dead != 0 {
		m.awaited = at(r.Dead)
	}
}

// goOnWaiting is for a backup that has just begun to listen: it waits as long as the program before would have, unless that is over for so long that
// nobody knows who came up meanwhile.
func (m *Machine) goOnWaiting() {
	if at := m.awaited; !at.IsZero() && at.Before(m.deadAt) && m.now.Sub(at) <= m.cfg.Interval(m.cfg.Skew) {
		m.deadAt = at
	}
	m.awaited = time.Time{}
}
