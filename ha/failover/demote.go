package failover

import "slices"

// demote begins to let go of all that was done, the last first.
func (m *Machine) demote(from Role) {
	if from == Active {
		m.notice(AboutHandOver, "no longer active: "+m.cause)
	}
	m.forgetActive()
	if from != Standby {
		m.elected = nil
	}
	plan := m.demotePlan(m.why == EventFrozen || m.why == EventDeposed || m.why == EventAddress)
	if m.why == EventFrozen && from == Active {
		// What runs is adopted when this node is elected again, which is likely; else the peer's first advert has it stopped.
		plan = slices.DeleteFunc(plan, func(s Step) bool { return s.Kind != KindDrop })
	}
	m.begin(job{queue: plan, yield: yieldFor(m.why)})
}

// yieldFor gives how CARP lets go for a cause.
func yieldFor(e Event) yield {
	switch e {
	case EventDeposed, EventLeftovers:
		return yieldNot
	case EventFrozen: // it claims nothing until it has listened: carp.Machine says how long
		return yieldQuiet
	case EventSwitch, EventWanted:
		return yieldRelease
	}
	return yieldBowOut
}

// yield tells CARP, and with it the peer, once that the addresses are not here. What invites the peer to begin waits for a group's disks: it would
// find this node writing still, and decline.
func (m *Machine) yield() {
	y := m.job.yield
	if invites := y == yieldBowOut || y == yieldRelease; invites && len(m.cfg.Resources) > 0 && (m.job.running || len(m.job.queue) > 0) {
		return
	}
	m.job.yield = yieldNot
	switch y {
	case yieldNot:
	case yieldQuiet:
		m.silence(false)
	case yieldBowOut:
		m.silence(true)
	case yieldRelease:
		m.elected = nil
		if m.carp.preempt { // else it would take the role from whoever takes it now
			m.carp.preempt = false
			m.emit(Allow{})
		}
		m.emit(Release{})
	}
}

// silence keeps CARP from claiming or contending, once.
func (m *Machine) silence(bowOut bool) {
	m.elected = nil
	if m.carp.listens {
		m.carp = told{}
		m.emit(Silence{bowOut})
	}
}

// allow lets CARP contend.
func (m *Machine) allow() {
	if !m.carp.listens {
		m.carp = told{listens: true, preempt: m.mayPreempt()}
		m.emit(Allow{m.carp.preempt})
	}
}

// letGo takes the end of a step of a demote. A unit that does not stop is killed; one that outlives that leaves the group stuck, and the kill is
// tried again. A delete of the addresses that fails is tried again while the kernel's lifetime runs out: they are not refreshed any more.
func (m *Machine) letGo(s Step, o Outcome, why string) {
	j := &m.job
	switch {
	case s.Kind.hook() || o == Done && s.Kind != KindDrop:
		m.undone(s)
	case s.Kind == KindDrop:
		if o != Done && j.drops < dropTries {
			j.drops++
			j.queue, j.pause = slices.Insert(j.queue, 0, s), m.now.Add(dropEvery)
			return
		}
		m.undone(s)
		m.held = false
		m.yield()
	case s.Kind == KindUnmount || s.Kind == KindSecondary: // whoever held it was ended by the step itself, as far as that is possible
		j.queue, j.pause = slices.Insert(j.queue, 0, s), m.now.Add(min(stuckMin<<min(j.kills, 8), stuckMax))
		j.kills++
		m.fire(EventStuck, why)
	case s.Kind == KindStop:
		j.queue = slices.Insert(j.queue, 0, m.step(KindKill, s.Name))
	case s.Kind == KindKill:
		j.queue, j.pause = slices.Insert(j.queue, 0, m.step(KindKill, s.Name)), m.now.Add(min(stuckMin<<min(j.kills, 8), stuckMax))
		j.kills++
		m.fire(EventStuck, why)
	}
}

// stuck never holds the addresses, whatever the order says, and claims nothing.
func (m *Machine) stuck() {
	if m.held {
		s := m.step(KindDrop, "")
		m.emit(LeaseDrop{s})
		m.held = false
		m.undone(s)
		m.job.yield = yieldQuiet // nobody waits to hear that they are deleted; without a bow-out the peer takes them after the lease's end
		m.job.queue = slices.DeleteFunc(m.job.queue, func(q Step) bool { return q.Kind == KindDrop })
	}
	if len(m.cfg.Resources) > 0 { // the disks are not let go of, and perhaps never will be
		m.job.yield = yieldQuiet
	}
	m.yield()
	m.silence(false)
	if m.damp.due == 0 {
		m.coolDown()
	}
	m.raise(AboutStuck, "", "", m.cause, "it is tried again; the addresses are not here")
	if m.handing != nil {
		m.emit(Reply{ID: m.handing.id, Failed: true, Why: "the addresses are let go, and then: " + m.cause})
		m.handing = nil
	}
}

// demoted is the end of a demote.
func (m *Machine) demoted() {
	m.yield()
	m.damp.start(m.now)
	if m.role == Stuck {
		m.clear(AboutStuck, "")
		m.fire(EventFreed, "what was stuck has gone")
		return
	}
	if m.handing != nil {
		m.handing.until = m.now.Add(2*m.cfg.Dead + startWait + m.storageTime())
	}
	m.rest(EventReleased, "let go: "+m.cause)
}
