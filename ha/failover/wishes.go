package failover

// handOver is a person's wish. It is answered when somebody took the group, or nobody did.
func (m *Machine) handOver(in Switch) {
	refuse, passing := "", false
	d, apart := m.storage.apart()
	lame, stranded := m.storage.stranded()
	switch {
	case m.role != Active:
		refuse = m.cfg.Name + " is not active here: it is " + label(m.role, m.reason)
	case apart: // whichever side it is on, the other one lacks what was written here
		refuse = d.standAlone()
	case stranded:
		refuse = lame.failed() + ", and nobody knows that the peer's disk is up to date"
	case m.facts.peer.Worse && !in.Force:
		refuse, passing = because("the peer is worse", m.facts.peer.Why), m.facts.peer.Passing
	}
	if refuse != "" {
		m.emit(Reply{ID: in.ID, Refused: true, Passing: passing, Why: refuse})
		return
	}
	m.handing = &handing{id: in.ID}
	m.damp.switched = true
	m.fire(EventSwitch, "a person hands it over")
}

// wanted hands the group to a peer that goes first: never during a resync, nor to one that lacks what was written here, or may (FAILOVER.md, safety 8).
func (m *Machine) wanted(in Wanted) {
	_, syncing := m.storage.syncing()
	_, apart := m.storage.apart()
	_, stranded := m.storage.stranded()
	if !syncing && !apart && !stranded {
		m.fire(EventWanted, in.String())
	}
}

// restart answers whether the agent may be replaced now: a step's end would find nobody who waits for it.
func (m *Machine) restart(in Restart) {
	if m.job.running || len(m.job.queue) > 0 {
		m.emit(Reply{ID: in.ID, Refused: true, Why: m.cfg.Name + " is " + m.role.String() + ": " + m.job.cur.act()})
		return
	}
	m.emit(Reply{ID: in.ID})
}
