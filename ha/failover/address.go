package failover

import "fmt"

// addressLost notes an address that somebody removed (FAILOVER.md, safety 9).
func (m *Machine) addressLost(in AddressLost) {
	switch {
	case !m.held:
	case m.role == Promoting:
		m.loseAddress("address " + in.Addr.String() + " was removed by somebody else at once")
	case m.role == Active:
		m.facts.lost++
		// It matters more than a unit that is being restarted, which is then begun again.
		if j := &m.job; j.repair && j.running && (j.cur.Kind == KindRestart || j.cur.Kind == KindChecks) {
			if n := len(m.damp.restarts); n > 0 {
				m.damp.restarts = m.damp.restarts[:n-1]
			}
			if j.cur.Kind == KindRestart {
				m.unitOff(j.cur.Name, "its restart was broken off", j.fault)
			}
			m.begin(job{})
		}
	}
}

// unitOff notes that a unit does not run because its restart failed. An admin is told in the story of the check that the restart was to mend: one
// failure has one beginning and one end.
func (m *Machine) unitOff(name, why string, begun fault) {
	for i, u := range m.cfg.Units {
		if u.Name == name {
			f := died(u, why)
			if m.isRed(begun) {
				f.about, f.name = begun.about, begun.name
			}
			m.facts.dead[i] = f
		}
	}
}

// isRed reports whether a fault is that of a check, and lasts.
func (m *Machine) isRed(f fault) bool {
	for i, c := range m.cfg.Checks {
		if f.about == AboutCheck && c.Name == f.name {
			return m.facts.checks[i].state == Red
		}
	}
	return false
}

// putBack adds the addresses again when nobody answers for them, but not for ever: whoever removes them has a reason.
func (m *Machine) putBack() {
	d := &m.damp
	d.putBacks = within(d.putBacks, m.now, putBackWindow)
	if len(d.putBacks) >= putBackMax {
		m.loseAddress(fmt.Sprintf("somebody here removed the addresses %d times within %v", putBackMax+1, putBackWindow))
		return
	}
	d.putBacks = append(d.putBacks, m.now)
	m.raiseBriefly(AboutAddress, "", "an address was removed by somebody here", fmt.Sprintf("put back, %d of %d", len(d.putBacks), putBackMax))
	var plan []Step
	if m.cfg.Probe {
		plan = append(plan, m.step(KindProbe, ""))
	}
	m.begin(job{repair: true, queue: append(plan, m.step(KindHold, ""), m.step(KindAnnounce, ""))})
}

// loseAddress gives the role away because the addresses cannot be had.
func (m *Machine) loseAddress(why string) {
	m.coolDown()
	m.raiseBriefly(AboutAddress, "", why, "the role is given away")
	m.fire(EventAddress, why)
}

// addressFound removes an address that is not this node's now.
func (m *Machine) addressFound(in AddressFound) {
	if m.held {
		return // added a moment ago, or being deleted
	}
	what := "address " + in.Addr.String() + " was here although the group is not active"
	if in.File != "" {
		what += ": it stands in " + in.File
	}
	m.raiseBriefly(AboutAddress, in.Addr.String(), what, "removed")
	m.emit(LeaseDrop{Step{Kind: KindDrop, Timeout: leaseTimeout, Why: in.String()}})
}

// addressTaken tells an admin. After a partition both nodes have the addresses, and CARP says who keeps them; nothing is gained by leaving.
func (m *Machine) addressTaken(in AddressTaken) {
	if m.role != Active || !m.held {
		return
	}
	m.raiseBriefly(AboutAddress, in.Addr.String(), in.String(), "announced again")
	m.emit(Announce{})
}
