package failover

import (
	"slices"
	"time"
)

// damping remembers moves, so that a group that fails on both nodes does not go to and fro.
type damping struct {
	penalty  time.Duration // how long it stays away, or stayed the last time
	due      time.Duration // begins when the group is let go
	cool     time.Time     // until then it stays away
	gave     time.Time     // when it gave the role away for the last time
	taken    string        // who has its addresses; empty: nobody
	moves    []time.Time   // given away for a failure, within Window
	restarts []time.Time   // of units, within RestartWindow
	putBacks []time.Time   // of addresses, within putBackWindow
	switched bool          // a person handed it over: it does not come back by itself while somebody serves
}

// within drops the times that are older than window.
func within(times []time.Time, now time.Time, window time.Duration) []time.Time {
	return slices.DeleteFunc(times, func(t time.Time) bool { return now.Sub(t) >= window })
}

// coolDown has the group stay away for a while once it is let go: the time doubles while failures follow each other.
func (m *Machine) coolDown() {
	d := &m.damp
	if d.gave.IsZero() || m.now.Sub(d.gave) >= d.penalty+m.cfg.Damping.Window {
		d.penalty = m.cfg.Damping.Min
	} else {
		d.penalty = max(m.cfg.Damping.Min, min(2*d.penalty, m.cfg.Damping.Max))
	}
	d.gave, d.due = m.now, d.penalty
}

// start begins the cool-down that a failure has made due.
func (d *damping) start(now time.Time) {
	if d.due > 0 {
		d.cool, d.due = now.Add(d.due), 0
	}
}

// tired reports whether the group has moved so often that it moves no more by itself.
func (m *Machine) tired() bool {
	m.damp.moves = within(m.damp.moves, m.now, m.cfg.Damping.Window)
	return m.cfg.Damping.Moves > 0 && len(m.damp.moves) >= m.cfg.Damping.Moves
}

// mayPreempt reports whether a worse master may be relieved: after the delay, not from one that a person chose, and not when this node failed
// too often of late.
func (m *Machine) mayPreempt() bool {
	return m.cfg.Preempt && m.role == Standby && !m.damp.switched && !m.tired() && !m.now.Before(m.since.Add(m.cfg.PreemptDelay))
}

// preempt tells CARP when that changes.
func (m *Machine) preempt() {
	if may := m.mayPreempt(); m.role == Standby && m.carp.listens && m.carp.preempt != may {
		m.carp.preempt = may
		m.emit(Allow{may})
	}
}

// preemptAt gives when it may change by time alone.
func (m *Machine) preemptAt() time.Time {
	if !m.cfg.Preempt || m.damp.switched || m.carp.preempt {
		return time.Time{}
	}
	at := m.since.Add(m.cfg.PreemptDelay)
	if m.tired() {
		if free := m.damp.moves[len(m.damp.moves)-m.cfg.Damping.Moves].Add(m.cfg.Damping.Window); free.After(at) {
			at = free
		}
	}
	return at
}
