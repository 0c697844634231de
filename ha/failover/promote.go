package failover

import "cmp"

// promote begins the way to Active.
func (m *Machine) promote() {
	plan := m.promotePlan()
	if m.elected.By != ByPreempt {
		m.damp.switched = false // the peer that it was handed to has gone
	}
	m.elected = nil
	if m.handing != nil {
		m.emit(Reply{ID: m.handing.id, Failed: true, Why: "nobody took it: it comes back here"})
		m.handing = nil
	}
	m.forgetActive()
	m.begin(job{queue: plan})
}

// forgetActive drops what was known of the things that run on the active node only.
func (m *Machine) forgetActive() {
	for i := range m.facts.checks {
		if m.cfg.Checks[i].ActiveOnly {
			m.facts.checks[i] = checkFact{}
		}
	}
	clear(m.facts.dead)
	m.facts.lost = 0
}

// promoteFailed rolls back, and stays away for a while: the peer, if there is one, is better at it.
func (m *Machine) promoteFailed(s Step, why, command string) {
	m.coolDown()
	if s.Kind == KindProbe {
		m.damp.taken = why
		m.raise(AboutAddress, "", m.retryCommand(), why, "the addresses are not taken while somebody answers for them")
		m.fire(EventAddress, why)
		return
	}
	m.raise(AboutPromote, "", cmp.Or(command, m.retryCommand()), why, "rolled back, next try in "+m.damp.penalty.String()+" at the earliest")
	m.fire(EventPromoteFailed, why)
}

// retryCommand is what a person types when the cause is mended: a cool-down is forgotten with it.
func (m *Machine) retryCommand() string { return RetryCommand(m.cfg.Name) }

// RetryCommand ends a group's maintenance, and has it try again at once.
func RetryCommand(group string) string { return "kvmha maintenance off " + group }

// StatusCommand shows a group; it changes nothing.
func StatusCommand(group string) string { return "kvmha status " + group }

// frozen drops what may be somebody else's by now, before anything else. Units keep running: whoever is elected next adopts or stops them.
func (m *Machine) frozen(in Freeze) {
	if m.fire(EventFrozen, in.String()) {
		return
	}
	if m.held {
		m.emit(LeaseDrop{Step{Kind: KindDrop, Timeout: leaseTimeout, Why: in.String()}})
	}
	if m.role == Demoting && m.job.yield != yieldNot { // an advert, or a bow-out, would disturb whoever has taken over
		m.job.yield = yieldQuiet
		m.yield()
	}
}
