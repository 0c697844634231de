package failover

import (
	"strings"
	"time"
)

// Status is what `kvmha status` shows of a group.
type Status struct {
	Role    Role
	Reason  Reason // of Waiting
	Since   time.Time
	Cause   string    // of the last change
	Missing string    // what keeps it from being active; empty: nothing
	Cooling time.Time // until when it stays away; zero: it does not
	Step    string    // what is under way; empty: nothing
	Alerts  []string  // that last
	Mend    []string  // what a person types about its storage, and about a promote that failed, for those of Alerts that still are
}

// Status gives the state at the end of the last Step.
func (m *Machine) Status() Status {
	s := Status{Role: m.role, Reason: m.reason, Since: m.since, Cause: m.cause}
	if _, why := m.blocked(); m.role != Active && why != "" {
		s.Missing = why
	}
	if m.damp.cool.After(m.now) {
		s.Cooling = m.damp.cool
	}
	if m.job.running {
		s.Step = m.job.cur.String()
	}
	for _, a := range m.alarms {
		if a.open() {
			what := a.facts[0]
			if a.subject == AboutNobody { // the first fact is the subject's name in other words; what it is here follows
				what = strings.Join(a.facts[1:], "; ")
			}
			s.Alerts = append(s.Alerts, because(a.subject.String(), what)+m.meanwhile(a))
			if (a.ofStorage() || a.subject == AboutPromote && a.command != m.retryCommand()) && a.leaving.IsZero() && a.command != "" {
				s.Mend = append(s.Mend, a.command)
			}
		}
	}
	return s
}

func (a alarm) ofStorage() bool {
	return a.subject == AboutDisk || a.subject == AboutStandAlone || a.subject == AboutFrozen
}

// meanwhile says of an open alarm of a check or of storage what is known of it now: one that came back soon ends only when it has stayed away for long
// enough.
func (m *Machine) meanwhile(a alarm) string {
	if a.ofStorage() && !a.leaving.IsZero() {
		return " (not so any more)"
	}
	for i, c := range m.cfg.Checks {
		switch {
		case a.subject != AboutCheck || c.Name != a.name:
		case m.facts.checks[i].state == Green:
			return " (green again)"
		case m.facts.checks[i].state == Unknown:
			return " (not asked since)"
		}
	}
	return ""
}
