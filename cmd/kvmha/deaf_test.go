package main

import (
	"strings"
	"testing"
	"time"

	"kvmctl/ha/hatest"
)

// gateway makes node c the gateway of node a.
func (s *site) gateway() {
	s.t.Helper()
	if out, err := s.lab.Node("a").Command(s.ctx, "ip", "route", "add", "default", "via", s.lab.Node("c").Addr.String()).CombinedOutput(); err != nil {
		s.t.Fatalf("%v: %s", err, out)
	}
}

// FAILOVER.md, safety 7: a node that hears no frame and gets no answer on the service link does not take an address.
func TestDeafNodeTakesNothing(t *testing.T) {
	s := start(t, "c")
	s.gateway()
	s.ucarp("b", 0, true)
	s.held("b")
	a := s.agent("a", group("web", s.vip, 100, ""))
	a.role("standby")
	// The others go away, rather than a: the end of a cable that leads nowhere says something now and then.
	others := []*hatest.Node{s.lab.Node("b"), s.lab.Node("c"), s.lab.Client}
	for _, n := range others {
		s.must(n.Cut())
	}
	a.role("waiting")
	cut := time.Now()
	if err := hatest.Until(s.ctx, func() bool { return time.Since(cut) > 6*time.Second }); err != nil { // well past the dead interval
		t.Fatal(err)
	}
	st, err := a.status()
	s.must(err)
	if st.Groups[0].Role != "waiting" || st.Groups[0].Reason != "isolated" {
		t.Errorf("deaf it is %s (%s)", st.Groups[0].Role, st.Groups[0].Reason)
	}
	t.Log(st.Groups[0].Missing)
	s.noDual()
	for _, n := range others {
		s.must(n.Join())
	}
	a.role("standby")
	s.held("b")
	s.noDual()
}

// A gateway that answers is enough: where the master alone is gone, the node takes over as soon as ever.
func TestNodeWithAGatewayTakesOver(t *testing.T) {
	s := start(t, "c")
	s.gateway()
	s.ucarp("b", 0, true)
	s.held("b")
	a := s.agent("a", group("web", s.vip, 100, ""))
	a.role("standby")
	crash := time.Now()
	s.must(s.lab.Node("b").Crash())
	t.Logf("takeover in %s", s.answers("a", crash))
	a.role("active")
	if strings.Contains(a.Output(), "reason=isolated") {
		t.Error("it was taken for deaf on the way")
	}
}
