package failover

import (
	"slices"
	"time"
)

// alarm is something wrong that an admin was told of: once at the start, again while it lasts, once at the end.
type alarm struct {
	subject Subject
	name    string
	command string
	facts   []string
	due     time.Time // of the next reminder; zero: never
	ended   time.Time // zero: it lasts
	again   bool      // it came back soon after its end: it has to stay away for calm before that is said again
	leaving time.Time // since when it has stayed away; zero: it has not
}

func (a alarm) open() bool { return a.ended.IsZero() }

// raise says that something is wrong. The facts of one that lasts are brought up to date without a word.
func (m *Machine) raise(s Subject, name, command string, facts ...string) {
	a := m.alarm(s, name)
	if a == nil {
		m.alarms = append(m.alarms, alarm{subject: s, name: name})
		a = &m.alarms[len(m.alarms)-1]
	} else if a.open() {
		a.facts, a.command, a.leaving = facts, command, time.Time{}
		return
	}
	a.again = !a.ended.IsZero() && m.now.Sub(a.ended) < calm
	a.facts, a.command, a.leaving, a.ended, a.due = facts, command, time.Time{}, time.Time{}, m.remindAt(s, true)
	m.tell(AlertFirst, *a)
}

// raiseBriefly says the same of something that has no end but that it did not come back.
func (m *Machine) raiseBriefly(s Subject, name string, facts ...string) {
	m.raise(s, name, "", facts...)
	a := m.alarm(s, name)
	a.again, a.leaving = true, m.now
}

// raiseAgain says it once more when an alarm that lasts has come to mean something else.
func (m *Machine) raiseAgain(s Subject, name, command, fact, outcome string) {
	a := m.alarm(s, name)
	news := a != nil && a.open() && a.facts[len(a.facts)-1] != outcome
	m.raise(s, name, command, fact, outcome)
	if news {
		a.due = m.remindAt(s, false)
		m.tell(AlertReminder, *a)
	}
}

// clear says that it is over, at once or when it has stayed away for long enough.
func (m *Machine) clear(s Subject, name string) {
	a := m.alarm(s, name)
	if a == nil || !a.open() || !a.leaving.IsZero() {
		return
	}
	if a.again {
		a.leaving = m.now
		return
	}
	m.end(a)
}

func (m *Machine) end(a *alarm) {
	a.ended = m.now
	m.tell(AlertEnd, *a)
}

func (m *Machine) alarm(s Subject, name string) *alarm {
	for i := range m.alarms {
		if m.alarms[i].subject == s && m.alarms[i].name == name {
			return &m.alarms[i]
		}
	}
	return nil
}

func (m *Machine) tell(k AlertKind, a alarm) {
	m.emit(Alert{Kind: k, Subject: a.subject, Name: a.name, Facts: slices.Clone(a.facts), Command: a.command})
}

// remindAt gives when a reminder is due: every Remind, but nobody-active after 10 min and then hourly (FAILOVER.md, "Roles").
func (m *Machine) remindAt(s Subject, first bool) time.Time {
	switch {
	case s == AboutNobody && first:
		return m.now.Add(nobodyAgain)
	case s == AboutNobody:
		return m.now.Add(nobodyThen)
	case m.cfg.Remind > 0:
		return m.now.Add(m.cfg.Remind)
	}
	return time.Time{}
}

// alarmAt gives when an alarm has something to say.
func (m *Machine) alarmAt(a alarm) time.Time {
	switch {
	case !a.open():
		return time.Time{}
	case !a.leaving.IsZero():
		return a.leaving.Add(calm)
	}
	return a.due
}

// watch says what time alone makes due.
func (m *Machine) watch() {
	if h := m.handing; h != nil && !h.until.IsZero() && !m.now.Before(h.until) {
		m.emit(Reply{ID: h.id, Failed: true, Why: "let go, and nobody was heard to take it"})
		m.handing = nil
	}
	m.nobody()
	for i := range m.alarms {
		a := &m.alarms[i]
		if at := m.alarmAt(*a); at.IsZero() || m.now.Before(at) {
			continue
		}
		if !a.leaving.IsZero() {
			m.end(a)
			continue
		}
		a.due = m.remindAt(a.subject, false)
		m.tell(AlertReminder, *a)
	}
	m.alarms = slices.DeleteFunc(m.alarms, func(a alarm) bool { return !a.open() && m.now.Sub(a.ended) >= calm })
}

// rests reports whether a role is one in which a group may be for long without being active.
func (r Role) rests() bool { return r == Starting || r == Waiting || r == Standby || r == Stuck }

// asking reports whether it waits for somebody's word that it may go on, such as that of a fence: that may take a minute.
func (m *Machine) asking() bool {
	return m.role == Promoting && m.job.running && m.job.cur.Kind == KindRight
}

// nobody is the alarm that no node is active: this one is not, and heard none for 10 s.
func (m *Machine) nobody() {
	if m.role == Active {
		m.served = m.now
	}
	if m.now.Sub(m.served) < nobodyAfter {
		m.clear(AboutNobody, "")
		return
	}
	if !m.role.rests() && !m.asking() || m.facts.stopping {
		return
	}
	reason, why := m.blocked()
	if m.asking() {
		reason, why = ReasonRight, because("it asks whether it may go on", m.storage.right.Why)
	}
	command := StatusCommand(m.cfg.Name)
	switch {
	case m.role == Stuck:
		why = m.cause
	case reason == ReasonMaintenance || reason == ReasonCooling || reason == ReasonAddress:
		command = m.retryCommand()
	case reason == ReasonMisconfigured:
		command = "kvmha check"
	case reason == ReasonRight && m.storage.person() != "":
		command = m.storage.person()
	case reason == ReasonStandAlone:
		d, _ := m.storage.apart()
		command = ResolveCommand(d)
	case reason == ReasonNone:
		why = "nothing is missing here, and CARP has not elected this node"
	}
	m.raise(AboutNobody, "", command, "nobody is active", "here it is "+label(m.role, m.reason)+": "+why)
}

// nobodyAt gives when that is due.
func (m *Machine) nobodyAt() time.Time {
	a := m.alarm(AboutNobody, "")
	if a != nil && a.open() && a.leaving.IsZero() || !m.role.rests() && !m.asking() || m.facts.stopping {
		return time.Time{}
	}
	return m.served.Add(nobodyAfter)
}

// notice is a mail about a move. When there are many, one says so, and the rest stands in the log.
func (m *Machine) notice(s Subject, facts ...string) {
	m.notices = within(m.notices, m.now, calm)
	if len(m.notices) >= noticeMax {
		m.raiseBriefly(AboutFlapping, "", "the group moves too often to mail each time", facts[0])
		return
	}
	m.notices = append(m.notices, m.now)
	m.emit(Alert{Kind: AlertNotice, Subject: s, Facts: append(facts, m.known()...)})
}
