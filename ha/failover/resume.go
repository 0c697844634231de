package failover

import "time"

// Resumed is what the program that takes an agent over in place has to know of a group at rest. Times are since boot, 0: never.
type Resumed struct {
	Active  bool          `json:"active"` // else the role begins anew: there is nothing that it could lose
	Since   time.Duration `json:"since"`
	Cause   string        `json:"cause"`
	Undo    int           `json:"undo"` // how many things are to be undone
	Heard   time.Duration `json:"heard"`
	HeardBy string        `json:"heard_by"`
	Served  time.Duration `json:"served"`

	Penalty  time.Duration   `json:"penalty"` // a length
	Gave     time.Duration   `json:"gave"`
	Cool     time.Duration   `json:"cool"`
	Taken    string          `json:"taken"`
	Switched bool            `json:"switched"`
	Moves    []time.Duration `json:"moves"`
	Restarts []time.Duration `json:"restarts"`
	PutBacks []time.Duration `json:"put_backs"`
	Notices  []time.Duration `json:"notices"`
	Alerts   []ResumedAlert  `json:"alerts"`
	Checks   []Checked       `json:"checks"`
}

// ResumedAlert is an alert that lasts, or ended a short while ago.
type ResumedAlert struct {
	Subject Subject       `json:"subject"`
	Name    string        `json:"name"`
	Command string        `json:"command"`
	Facts   []string      `json:"facts"`
	Due     time.Duration `json:"due"`
	Ended   time.Duration `json:"ended"`
	Leaving time.Duration `json:"leaving"`
	Again   bool          `json:"again"`
}

// Handover gives what the next program has to know; false: the group is on its way, and nobody would wait for its step's end. since turns a time
// into one since boot.
func (m *Machine) Handover(since func(time.Time) time.Duration) (Resumed, bool) {
	resting := m.role == Waiting || m.role == Standby || m.role == Active || m.role == Starting
	if m.job.running || len(m.job.queue) > 0 || !resting || m.handing != nil {
		return Resumed{}, false
	}
	one := func(t time.Time) time.Duration {
		if t.IsZero() {
			return 0
		}
		return since(t)
	}
	all := func(times []time.Time) (list []time.Duration) {
		for _, t := range times {
			list = append(list, since(t))
		}
		return list
	}
	d := &m.damp
	r := Resumed{
		Active: m.role == Active, Since: since(m.since), Cause: m.cause, Undo: len(m.undo), Heard: one(m.facts.heard), HeardBy: m.facts.heardBy,
		Served: one(m.served), Penalty: d.penalty, Gave: one(d.gave), Cool: one(d.cool), Taken: d.taken, Switched: d.switched, Moves: all(d.moves),
		Restarts: all(d.restarts), PutBacks: all(d.putBacks), Notices: all(m.notices),
	}
	for i, c := range m.facts.checks {
		r.Checks = append(r.Checks, Checked{m.cfg.Checks[i].Name, c.state, c.why})
	}
	for _, a := range m.alarms {
		r.Alerts = append(r.Alerts, ResumedAlert{a.subject, a.name, a.command, a.facts, one(a.due), one(a.ended), one(a.leaving), a.again})
	}
	return r, true
}

// Resume makes the machine of a group that the program before had at rest, on the same boot and a moment ago: an active one stays active, holds
// its addresses, and knows what undoes all that its promote has done. What it gives is to be carried out first: CARP is master again. at turns a
// time since boot into one of the clock of Step.
func Resume(cfg Config, r Resumed, at func(time.Duration) time.Time, now time.Time) (*Machine, []Effect) {
	one := func(d time.Duration) time.Time {
		if d == 0 {
			return time.Time{}
		}
		return at(d)
	}
	all := func(list []time.Duration) (times []time.Time) {
		for _, d := range list {
			times = append(times, at(d))
		}
		return times
	}
	m := New(cfg, now)
	if r.Undo == 0 {
		m.undo = nil
	}
	m.damp = damping{
		penalty: r.Penalty, gave: one(r.Gave), cool: one(r.Cool), taken: r.Taken, switched: r.Switched, moves: all(r.Moves), restarts: all(r.Restarts),
		putBacks: all(r.PutBacks),
	}
	m.notices, m.facts.heard, m.facts.heardBy = all(r.Notices), one(r.Heard), r.HeardBy
	if r.Served != 0 {
		m.served = at(r.Served)
	}
	for _, a := range r.Alerts {
		if len(a.Facts) > 0 {
			m.alarms = append(m.alarms, alarm{a.Subject, a.Name, a.Command, a.Facts, one(a.Due), one(a.Ended), a.Again, one(a.Leaving)})
		}
	}
	for _, c := range r.Checks {
		for i := range m.facts.checks {
			if m.cfg.Checks[i].Name == c.Name {
				m.facts.checks[i] = checkFact{state: c.State, why: c.Why}
			}
		}
	}
	if !r.Active {
		return m, nil
	}
	m.role, m.since, m.cause, m.held = Active, at(r.Since), r.Cause, true
	m.facts.iface, m.facts.carrier = Green, Green // until they are told otherwise
	m.undo = nil
	for _, s := range m.promotePlan() {
		m.register(s)
	}
	m.allow()
	m.emit(Ready{})
	out := m.out
	m.out = nil
	return m, out
}
