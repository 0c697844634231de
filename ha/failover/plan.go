package failover

import (
	"cmp"
	"slices"
	"time"
)

func or(d, otherwise time.Duration) time.Duration {
	if d > 0 {
		return d
	}
	return otherwise
}

// step makes a step of a kind, with its timeout and inverse; its ID comes when it is begun.
func (m *Machine) step(k Kind, name string) Step {
	s := Step{Kind: k, Name: name, Why: m.cause}
	switch k {
	case KindChecks:
		s.Timeout = or(m.cfg.ChecksTimeout, defaultChecksTimeout)
	case KindProbe:
		s.Timeout = or(m.cfg.ProbeWait, defaultProbeWait)
	case KindLetGo:
		s.Timeout = letGoTimeout
	case KindHold:
		s.Timeout, s.Inverse = leaseTimeout, KindDrop
	case KindDrop:
		s.Timeout = leaseTimeout
	case KindKill:
		s.Timeout = killTimeout
	case KindHookActive:
		s.Timeout = m.cfg.Hooks.Timeout
		if m.cfg.Hooks.Standby {
			s.Inverse = KindHookStandby
		}
	case KindHookStandby, KindHookWaiting:
		s.Timeout = m.cfg.Hooks.Timeout
	case KindNone, KindStart, KindStop, KindRestart, KindReady, KindAnnounce, KindUp, KindRight, KindPrimary, KindSecondary, KindMount, KindUnmount:
	}
	return s
}

func stopOf(u Unit) Step { return Step{Kind: KindStop, Name: u.Name, Timeout: u.StopTimeout} }

func (k Kind) hook() bool {
	return k == KindHookActive || k == KindHookStandby || k == KindHookWaiting
}

// promotePlan lists the steps of a promote in the order of Config. A worse peer is not asked for the addresses before CARP is ready: it has them
// until it hears that. One that bowed out has dropped them before, and is asked briefly: a bow-out can be made of any captured advert.
func (m *Machine) promotePlan() []Step {
	var plan []Step
	for _, stage := range m.cfg.Order {
		switch stage {
		case StageDRBD, StageMounts:
			plan = append(plan, m.storagePlan(stage)...)
		case StageUnits:
			for _, u := range m.cfg.Units {
				s := m.step(KindStart, u.Name)
				s.Timeout, s.Inverse = u.StartTimeout, KindStop
				plan = append(plan, s)
			}
		case StageChecks:
			if len(m.cfg.Checks) > 0 {
				plan = append(plan, m.step(KindChecks, ""))
			}
		case StageAddress:
			asks := m.cfg.Probe && m.elected != nil && m.elected.By != ByHandOver // that was signed
			if asks && m.elected.By != ByPreempt {
				s := m.step(KindProbe, "")
				if m.elected.By == ByBowOut {
					s.Timeout = min(s.Timeout, partingWait)
				}
				plan = append(plan, s)
			}
			plan = append(plan, m.step(KindReady, ""))
			if asks && m.elected.By == ByPreempt {
				plan = append(plan, m.step(KindLetGo, ""))
			}
			plan = append(plan, m.step(KindHold, ""))
		case StageAnnounce:
			plan = append(plan, m.step(KindAnnounce, ""))
		case StageHooks:
			if m.cfg.Hooks.Active {
				plan = append(plan, m.step(KindHookActive, ""))
			}
		}
	}
	return plan
}

// inverseOf gives the step that undoes one.
func (m *Machine) inverseOf(s Step) Step {
	if s.Inverse == KindStop {
		for _, u := range m.cfg.Units {
			if u.Name == s.Name {
				return stopOf(u)
			}
		}
	}
	return m.storageInverse(s)
}

// register notes the inverse of a step before the step begins. What was left running is noted already.
func (m *Machine) register(s Step) {
	if s.Inverse == KindNone {
		return
	}
	inv := m.inverseOf(s)
	m.undone(inv)
	m.undo = append(m.undo, inv)
}

// undone strikes an inverse that was carried out. A kill is a stop's.
func (m *Machine) undone(s Step) {
	kind := s.Kind
	if kind == KindKill {
		kind = KindStop
	}
	m.undo = slices.DeleteFunc(m.undo, func(u Step) bool { return u.Kind == kind && u.Name == s.Name })
}

// stageOf gives the stage in which a step's inverse was made due.
func stageOf(k Kind) Stage {
	switch k {
	case KindSecondary:
		return StageDRBD
	case KindUnmount:
		return StageMounts
	case KindStop, KindKill:
		return StageUnits
	case KindDrop:
		return StageAddress
	}
	return StageHooks
}

// inOrder sorts what is to be undone by the order of a promote. What an agent that died has left is noted before anything else, and a promote that
// fails early would undo it last: a resource cannot be secondary while what is on it is mounted.
func (m *Machine) inOrder(undo []Step) []Step {
	rank := func(s Step) (stage, place int) {
		stage = slices.Index(m.cfg.Order, stageOf(s.Kind))
		switch s.Kind {
		case KindSecondary:
			place = slices.IndexFunc(m.cfg.Resources, func(r Resource) bool { return r.Name == s.Name })
		case KindUnmount:
			place = slices.IndexFunc(m.cfg.Mounts, func(o Mount) bool { return o.Dir == s.Name })
		case KindStop, KindKill:
			place = slices.IndexFunc(m.cfg.Units, func(u Unit) bool { return u.Name == s.Name })
		}
		return stage, place
	}
	sorted := slices.Clone(undo)
	slices.SortStableFunc(sorted, func(a, b Step) int {
		as, ap := rank(a)
		bs, bp := rank(b)
		return cmp.Or(cmp.Compare(as, bs), cmp.Compare(ap, bp))
	})
	return sorted
}

// demotePlan lists what undoes all that was done, the last first. The addresses never wait for a hook; first: for nothing at all, for they may
// be somebody else's by now.
func (m *Machine) demotePlan(first bool) []Step {
	plan := m.inOrder(m.undo)
	slices.Reverse(plan)
	drop := slices.IndexFunc(plan, func(s Step) bool { return s.Kind == KindDrop })
	if drop < 0 {
		return plan
	}
	at := drop
	for at > 0 && (first || plan[at-1].Kind.hook()) {
		at--
	}
	s := plan[drop]
	plan = slices.Delete(plan, drop, drop+1)
	return slices.Insert(plan, at, s)
}
