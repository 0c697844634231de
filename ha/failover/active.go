package failover

import (
	"fmt"
	"slices"
	"time"
)

// fault is what is wrong with an active group.
type fault struct {
	about Subject
	name  string // of the unit or the check
	unit  string // to restart; empty: all
	cause string // of a unit's end
	why   string
}

// died is the fault of a unit that ended by itself.
func died(u Unit, why string) *fault {
	return &fault{about: AboutUnit, name: u.Name, unit: u.Name, cause: why, why: because("unit "+u.Name+" ended", why)}
}

// fault gives the first thing that is wrong: a dead unit before a red check, which it may be the cause of.
func (m *Machine) fault() (fault, bool) {
	for _, d := range m.facts.dead {
		if d != nil {
			return *d, true
		}
	}
	for i, c := range m.facts.checks {
		if c.state == Red && !m.cfg.Checks[i].TellsOnly && !m.now.Before(c.pardon) {
			name := m.cfg.Checks[i].Name
			return fault{about: AboutCheck, name: name, unit: m.cfg.Checks[i].Unit, why: because("check "+name+" is red", c.why)}, true
		}
	}
	return fault{}, false
}

// heal mends what is wrong with an active group: its addresses come first, then units are restarted here a few times; then the policy says
// whether the role is given away (rows H5 and D3, "active, a check failed").
func (m *Machine) heal() {
	if m.job.repair {
		return
	}
	if m.facts.lost > 0 {
		m.putBack()
		return
	}
	_, apart := m.storage.apart()
	if m.facts.isolated != nil && m.facts.peer.Fit && !m.cfg.Stay && !apart {
		m.fire(EventUnreachable, because("the link brings nothing here, and the peer is fit", *m.facts.isolated))
		return
	}
	if m.diskHeal() {
		return
	}
	f, bad := m.fault()
	if !bad {
		return
	}
	if m.mayRestart() {
		d := &m.damp
		d.restarts = append(d.restarts, m.now)
		m.raise(f.about, f.name, "", f.why, fmt.Sprintf("restarted here, %d of %d", len(d.restarts), m.cfg.Restarts))
		m.begin(job{repair: true, fault: f, queue: m.restartPlan(f)})
		return
	}
	if why := m.stays(); why != "" {
		m.raiseAgain(f.about, f.name, "kvmha switch "+m.cfg.Name, f.why, "it stays active here: "+why)
		return
	}
	m.raise(f.about, f.name, "", f.why, "the role is given away")
	m.coolDown()
	m.damp.moves = append(m.damp.moves, m.now)
	m.fire(EventCheckFailed, f.why)
}

// stays gives why an active group that does not work is not given away.
func (m *Machine) stays() string {
	d, apart := m.storage.apart()
	switch {
	case m.cfg.Stay:
		return "its policy is to stay"
	case apart:
		return d.standAlone()
	case m.facts.peer.Worse:
		return because("the peer is worse", m.facts.peer.Why)
	case m.tired():
		return fmt.Sprintf("it moved %d times within %v", len(m.damp.moves), m.cfg.Damping.Window)
	}
	return ""
}

func (m *Machine) mayRestart() bool {
	m.damp.restarts = within(m.damp.restarts, m.now, m.cfg.RestartWindow)
	return len(m.cfg.Units) > 0 && len(m.damp.restarts) < m.cfg.Restarts
}

// restartPlan restarts a fault's unit, or all of them, and looks whether that has helped.
func (m *Machine) restartPlan(f fault) []Step {
	var plan []Step
	one := slices.ContainsFunc(m.cfg.Units, func(u Unit) bool { return u.Name == f.unit })
	for _, u := range m.cfg.Units {
		if !one || u.Name == f.unit {
			s := m.step(KindRestart, u.Name)
			s.Timeout, s.Why = u.StopTimeout+u.StartTimeout, f.why
			plan = append(plan, s)
		}
	}
	if len(m.cfg.Checks) > 0 {
		s := m.step(KindChecks, "")
		s.Timeout, s.Why = m.settle(), f.why
		plan = append(plan, s)
	}
	return plan
}

// settle gives how long checks may take to be green after a restart.
func (m *Machine) settle() time.Duration {
	var longest time.Duration
	for _, c := range m.cfg.Checks {
		if !c.TellsOnly {
			longest = max(longest, or(c.Settle, defaultSettle))
		}
	}
	return longest
}

// restarting reports whether a unit ends because it is being restarted.
func (m *Machine) restarting(unit string) bool {
	return m.job.running && m.job.cur.Kind == KindRestart && m.job.cur.Name == unit
}

// repaired gives checks that are red from before the time to see it.
func (m *Machine) repaired() {
	for i := range m.facts.checks {
		if c := &m.facts.checks[i]; c.state == Red {
			c.pardon = m.now.Add(m.settle())
		}
	}
}

// repairFailed leaves the fault standing, so that heal goes on with it.
func (m *Machine) repairFailed(s Step, why string) {
	repair, begun := m.job.repair, m.job.fault
	m.job = job{}
	switch {
	case !repair:
	case s.Kind == KindRestart:
		m.unitOff(s.Name, why, begun)
	case s.Kind == KindProbe:
		m.damp.taken = why
		m.loseAddress(why)
	case s.Kind == KindHold:
		m.loseAddress(why)
	}
}

// healAt gives when an active group that stands with a fault has another way out by time alone.
func (m *Machine) healAt() time.Time {
	var next time.Time
	soonest := func(t time.Time) {
		if t.After(m.now) && (next.IsZero() || t.Before(next)) {
			next = t
		}
	}
	for _, c := range m.facts.checks {
		if c.state == Red {
			soonest(c.pardon)
		}
	}
	if _, bad := m.fault(); !bad || m.job.repair {
		return next
	}
	if len(m.cfg.Units) > 0 && m.cfg.Restarts > 0 && len(m.damp.restarts) >= m.cfg.Restarts {
		soonest(m.damp.restarts[len(m.damp.restarts)-m.cfg.Restarts].Add(m.cfg.RestartWindow))
	}
	if m.tired() {
		soonest(m.damp.moves[len(m.damp.moves)-m.cfg.Damping.Moves].Add(m.cfg.Damping.Window))
	}
	return next
}
