package main

import (
	"strings"
	"testing"
	"time"

	"kvmctl/ha/hatest"
)

// FAILOVER.md, safety 7, "alive but not serving": the active node's link brings nothing, or its gateway is silent for it alone. The other one is
// told by a path that is left, and takes the group over as planned: never both, and not by a lease that ends.
func TestHeartbeatAliveButNotServing(t *testing.T) {
	for name, c := range map[string]struct {
		fail, mend func(*site) error
		why        string
	}{
		"its link brings nothing": {
			func(s *site) error { return s.lab.Node("a").Cut() }, func(s *site) error { return s.lab.Node("a").Join() },
			"the link brings nothing here, and the peer is fit: no f",
		},
		"its gateway alone is silent": {
			func(s *site) error { return s.lab.Apart(true, s.lab.Node("a"), s.lab.Node("c")) },
			func(s *site) error { return s.lab.Apart(false, s.lab.Node("a"), s.lab.Node("c")) },
			"the link brings nothing here, and the peer is fit: the gateway 10.77.0.3 does not answer, and b has an answer from its own",
		},
	} {
		t.Run(name, func(t *testing.T) {
			s, a, b := routed(t)
			s.must(c.fail(s))
			b.role("active")
			if cause := b.web().Cause; cause != "the peer hands it over" {
				t.Errorf("b is active because %s", cause)
			}
			a.role("waiting")
			if w := a.web(); w.Reason != "isolated" {
				t.Errorf("a waits for %s", w.Missing)
			}
			if !strings.Contains(a.Output(), c.why) {
				t.Errorf("a never said %q", c.why)
			}
			s.held("b")
			s.answers("b", time.Now())
			stayed := stays(b, a)
			s.must(c.mend(s))
			a.role("standby")
			stayed()
			s.held("b")
			s.noDual()
		})
	}
}

// A gateway that is silent for both moves nothing: neither would serve any better.
func TestHeartbeatGatewayIsGoneForBoth(t *testing.T) {
	s, a, b := routed(t)
	stayed := stays(a, b)
	s.must(s.lab.Node("c").Cut())
	gone := time.Now()
	s.must(hatest.Until(s.ctx, func() bool { return time.Since(gone) > 6*time.Second })) // twice what a node needs to find it silent
	stayed()
	s.held("a")
	if w := b.web(); w.Role != "standby" {
		t.Errorf("b is %s: %s", w.Role, w.Missing)
	}
	s.noDual()
}

// routed is a pair that beats, with node c as the gateway of both, and each knows that it answers the other one.
func routed(t *testing.T) (s *site, a, b *agent) {
	t.Helper()
	s = start(t, "c")
	for _, n := range []string{"a", "b"} {
		s.run(n, "ip", "route", "add", "default", "via", s.lab.Node("c").Addr.String())
	}
	a, b = s.beating("")
	for _, x := range []*agent{a, b} {
		s.must(hatest.Until(s.ctx, func() bool {
			st, err := x.status()
			return err == nil && len(st.Beat.Gateways) == 1 && st.Beat.Gateways[0].Answers
		}))
	}
	return s, a, b
}
