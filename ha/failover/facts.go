package failover

import (
	"cmp"
	"fmt"
	"strings"
	"time"
)

// facts is what the machine was told of the world.
type facts struct {
	carrier, iface State
	isolated       *string
	maintenance    bool
	stopping       bool
	stop           string // why
	misconfigured  string
	checks         []checkFact // as Config.Checks
	dead           []*fault    // as Config.Units: of one that ended by itself; nil: it did not
	lost           int         // addresses that were removed and are not put back yet
	peer           Peer
	heard          time.Time // the last advert of a master
	heardBy        string
}

type checkFact struct {
	state  State
	why    string
	pardon time.Time // until then red counts as what the restart has not mended yet
}

// complete reports whether everything was told once.
func (f *facts) complete(cfg Config) bool {
	if f.iface == Unknown || f.carrier == Unknown && !cfg.IgnoreCarrier {
		return false
	}
	for i, c := range f.checks {
		if c.state == Unknown && !cfg.Checks[i].ActiveOnly && !cfg.Checks[i].TellsOnly {
			return false
		}
	}
	return true
}

// absorb takes an input: facts are noted, and what moves a role at once does.
func (m *Machine) absorb(in Input) {
	f := &m.facts
	switch in := in.(type) {
	case Turn:
	case Elected:
		if m.role == Standby || m.role == Demoting {
			m.elected = &in
		}
	case Deposed:
		m.elected = nil
		f.heard, f.heardBy = m.now, in.By
		m.fire(EventDeposed, in.String())
	case PeerActive:
		m.peerActive(in)
	case Peer:
		f.peer = in
	case Wanted:
		m.wanted(in)
	case Misconfigured:
		m.misconfigured(in)
	case Carrier:
		f.carrier = stateOf(in.Up)
	case Interface:
		f.iface = stateOf(in.Present)
	case Isolated:
		f.isolated = nil
		if in.On {
			f.isolated = &in.Why
		}
	case Checked:
		m.checked(in)
	case UnitDied:
		m.unitDied(in)
	case UnitRuns:
		m.unitRuns(in)
	case Disk:
		m.diskTold(in)
	case Right:
		m.rightTold(in)
	case Result:
		if m.job.running && m.job.cur.ID == in.ID {
			m.finish(in.Outcome, in.Why, in.Command)
		}
	case Maintenance:
		m.maintain(in.On)
	case Switch:
		m.handOver(in)
	case Restart:
		m.restart(in)
	case Stop:
		if !f.stopping {
			f.stopping, f.stop = true, cmp.Or(in.Why, "the agent stops")
		}
	case Freeze:
		m.frozen(in)
	case AddressLost:
		m.addressLost(in)
	case AddressFound:
		m.addressFound(in)
	case AddressTaken:
		m.addressTaken(in)
	}
}

func stateOf(good bool) State {
	if good {
		return Green
	}
	return Red
}

func (m *Machine) peerActive(in PeerActive) {
	m.facts.heard, m.facts.heardBy, m.served = m.now, in.By, m.now
	if m.handing != nil && m.role != Active {
		m.emit(Reply{ID: m.handing.id, Why: in.By + " has taken it"})
		m.handing = nil
	}
}

// misconfigured stops a group that has not begun to serve; one that serves goes on, and an admin is told (FAILOVER.md, "Roles").
func (m *Machine) misconfigured(in Misconfigured) {
	m.facts.misconfigured = in.Why
	if in.Why == "" {
		m.clear(AboutMisconfigured, "")
		return
	}
	m.raise(AboutMisconfigured, "", "kvmha check", in.Why)
}

// checked notes a check. Its alert lasts until it is green again, wherever the group is by then.
func (m *Machine) checked(in Checked) {
	for i, c := range m.cfg.Checks {
		if c.Name != in.Name {
			continue
		}
		if c.ActiveOnly && m.role != Active && m.role != Promoting {
			return // the rest of a look that was begun while it was active
		}
		fact := &m.facts.checks[i]
		fact.state, fact.why = in.State, in.Why
		switch in.State {
		case Green:
			fact.pardon = time.Time{}
			m.clear(AboutCheck, c.Name)
		case Red:
			if c.TellsOnly {
				m.raise(AboutCheck, c.Name, "", because("check "+c.Name+" is red", in.Why), "nothing is moved for it")
			} else if m.role != Active { // there heal says what becomes of it
				m.raise(AboutCheck, c.Name, "", because("check "+c.Name+" is red", in.Why), "not eligible until it is green")
			}
		case Unknown:
		}
	}
}

func (m *Machine) unitDied(in UnitDied) {
	if m.role != Active {
		return // a promote's own steps judge its units, and a demote ends them
	}
	for i, u := range m.cfg.Units {
		if u.Name == in.Name && !m.restarting(u.Name) {
			m.facts.dead[i] = died(u, in.Why)
		}
	}
}

// unitRuns takes the fault of a unit back, unless the unit is being restarted: then the restart's own end tells.
func (m *Machine) unitRuns(in UnitRuns) {
	for i, u := range m.cfg.Units {
		if u.Name == in.Name && m.role == Active && m.facts.dead[i] != nil && !m.restarting(u.Name) {
			m.backAgain(i)
		}
	}
}

// backAgain takes the fault of a unit back. What a check has begun to tell, the check ends.
func (m *Machine) backAgain(i int) {
	m.facts.dead[i] = nil
	m.clear(AboutUnit, m.cfg.Units[i].Name)
}

// maintain notes a person's wish. Taking it back is also a person's word that the group may try again at once.
func (m *Machine) maintain(on bool) {
	m.facts.maintenance = on
	if !on {
		m.damp = damping{}
	}
}

// evicted gives what makes a group let go that is active or about to be. Checks are no such thing: heal decides about them.
func (m *Machine) evicted() (Reason, string) {
	f := &m.facts
	switch {
	case f.stopping:
		return ReasonStopping, f.stop
	case f.maintenance:
		return ReasonMaintenance, "maintenance is on"
	case f.iface == Red:
		return ReasonInterface, strings.TrimRight("there is no interface "+m.cfg.Iface, " ")
	case f.carrier == Red && !m.cfg.IgnoreCarrier:
		return ReasonCarrier, "the link has no carrier"
	case m.storage.right.State == RightLost:
		return ReasonRight, because("another node has the right to go on", m.storage.right.Why)
	}
	return ReasonNone, ""
}

// blocked gives what keeps a group from standing by. Of several the one is named that an admin mends first.
func (m *Machine) blocked() (Reason, string) {
	f := &m.facts
	reason, why := m.evicted()
	switch {
	case reason == ReasonStopping || reason == ReasonMaintenance:
		return reason, why
	case f.misconfigured != "":
		return ReasonMisconfigured, f.misconfigured
	case reason != ReasonNone:
		return reason, why
	case f.iface == Unknown:
		return ReasonInterface, "the interface was not seen yet"
	case f.carrier == Unknown && !m.cfg.IgnoreCarrier:
		return ReasonCarrier, "the link was not seen yet"
	case f.isolated != nil:
		return ReasonIsolated, because("the link brings nothing", *f.isolated)
	}
	if reason, why := m.storage.gate(); reason != ReasonNone {
		return reason, why
	}
	for i, c := range f.checks {
		switch {
		case m.cfg.Checks[i].ActiveOnly || m.cfg.Checks[i].TellsOnly:
		case c.state == Red:
			return ReasonChecks, because("check "+m.cfg.Checks[i].Name, c.why)
		case c.state == Unknown:
			return ReasonChecks, "check " + m.cfg.Checks[i].Name + " has no result yet"
		}
	}
	if reason, why := m.licence(); reason != ReasonNone {
		return reason, why
	}
	if m.damp.cool.After(m.now) {
		if m.damp.taken != "" {
			return ReasonAddress, m.damp.taken
		}
		return ReasonCooling, fmt.Sprintf("it gave the role away, and stays away for %v", m.damp.penalty)
	}
	return ReasonNone, ""
}

// waitingFor names the reason of Waiting. What was stuck and is free again has none of its own: it is tried from here.
func (m *Machine) waitingFor(cause string) (Reason, string) {
	if reason, why := m.blocked(); reason != ReasonNone {
		return reason, why
	}
	return ReasonCooling, cause
}

// known lists the facts for a line of the log.
func (m *Machine) known() []string {
	f := &m.facts
	list := []string{"carrier " + f.carrier.String(), "interface " + f.iface.String()}
	for i, c := range f.checks {
		list = append(list, because("check "+m.cfg.Checks[i].Name+" "+c.state.String(), c.why))
	}
	list = append(list, m.storage.known()...)
	for i, d := range f.dead {
		if d != nil {
			list = append(list, because("unit "+m.cfg.Units[i].Name+" died", d.cause))
		}
	}
	if f.heard.IsZero() {
		list = append(list, "no master heard")
	} else {
		list = append(list, fmt.Sprintf("master %s heard %v ago", f.heardBy, m.now.Sub(f.heard).Round(time.Millisecond)))
	}
	switch n := len(m.damp.moves); n {
	case 0:
	case 1:
		list = append(list, "given away once of late")
	default:
		list = append(list, fmt.Sprintf("given away %d times of late", n))
	}
	if m.held {
		list = append(list, "addresses held")
	}
	return list
}
