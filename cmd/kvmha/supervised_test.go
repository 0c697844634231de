package main

import (
	"strings"
	"testing"
	"time"

	"kvmctl/ha/hatest"
)

// knownDead is FAILOVER.md's bound for profile F where the other node knows that nothing of a dead agent's is left.
const knownDead = 350 * time.Millisecond

// saidAt gives the agent's own time of the last line of its log that has these words; false: there is none. The log has whole milliseconds.
func (a *agent) saidAt(words ...string) (at time.Time, said bool) {
	a.s.t.Helper()
	for line := range strings.Lines(a.Output()) {
		has := true
		for _, w := range words {
			has = has && strings.Contains(line, w)
		}
		if !has {
			continue
		}
		stamp, _, _ := strings.Cut(strings.TrimPrefix(line, "time="), " ")
		var err error
		at, err = time.Parse(time.RFC3339Nano, stamp)
		a.s.must(err)
		said = true
	}
	return at, said
}

// FAILOVER.md, "Promises", profile F: an agent that its supervisor starts again within the lease of the one that was killed first deletes what that
// left, and then its heartbeats say that it has nothing. So nobody waits for a lease: whoever goes first takes the address at once, be it the
// node that had it or the other one.
func TestAgentThatIsKilledAndStartedAgain(t *testing.T) {
	for name, pause := range map[string]time.Duration{"100ms": 100 * time.Millisecond, "400ms": 400 * time.Millisecond} {
		for _, killed := range []string{"a", "b"} {
			t.Run(killed+" after "+name, func(t *testing.T) {
				s := start(t)
				a, b := s.beating("probe = false\n") // only the order keeps the address from being on both
				dies := map[string]*agent{"a": a, "b": b}[killed]
				// A machine that is busy keeps an agent from running for a while, or from starting before the lease is over, but not each time.
				var each []time.Duration
				for range 6 {
					if killed == "b" {
						s.must(hatest.Until(s.ctx, func() bool { _, err := a.ask("switch", "web"); return err == nil }))
						a.role("standby")
						b.role("active")
						s.held("b")
					}
					took, left := s.startedAgain(dies, a, b, pause)
					if !left {
						continue
					}
					if each = append(each, took); took <= knownDead {
						t.Logf("a is active %v after the address was deleted", each)
						return
					}
				}
				t.Errorf("a is active %v after the address was deleted, each time later than %v", each, knownDead)
			})
		}
	}
}

// startedAgain kills the agent that has the address, starts it again a while later, and waits until takes is active. It gives the time from the
// deletion of the address to that, as the agents noted it; false: it was started so late that the lease was over.
func (s *site) startedAgain(dies, takes, other *agent, pause time.Duration) (took time.Duration, left bool) {
	s.t.Helper()
	moves := takes.web().Moves
	if dies == takes {
		moves = 0
	}
	s.must(dies.Kill())
	<-time.After(pause)
	dies.start()
	s.must(hatest.Until(s.ctx, func() bool {
		if st, err := other.status(); err == nil && st.Groups[0].Role == "active" {
			_, _ = other.ask("switch", "web")
		}
		st, err := takes.status()
		return err == nil && st.Groups[0].Role == "active" && st.Groups[0].Moves == moves+1
	}))
	s.held(takes.node.Name)
	s.noDual()
	switch takes.web().Cause {
	case "the peer is silent on every path, and its lease is over", "the peer hands it over":
		return 0, false
	}
	gone, left := dies.saidAt(`msg="an address that an agent left was removed"`)
	active, _ := takes.saidAt("msg=role", "to=active")
	if active.Before(gone) {
		s.t.Errorf("active at %s, and what was left was deleted at %s", active, gone)
	}
	return active.Sub(gone), left
}
