package main

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"kvmctl/ha/hatest"
)

// Groups of IPv6 alone, and of both families whose addresses each node writes in another order.
func TestOtherFamiliesAndOrders(t *testing.T) {
	_, one := hatest.Shared(1)
	v4, two := hatest.Shared(2)
	for _, tt := range []struct{ name, a, b, more string }{
		{"IPv6", fmt.Sprintf("%q", one), fmt.Sprintf("%q", one), ""},
		{"IPv6 with a virtual MAC", fmt.Sprintf("%q", one), fmt.Sprintf("%q", one), "virtual_mac = true\n"},
		{"both, in other orders", fmt.Sprintf("%q, %q, %q", one, v4, two), fmt.Sprintf("%q, %q, %q", two, one, v4), ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := start(t)
			s.holders = s.lab.Holders(one)
			probe, err := s.lab.Probe(one)
			s.must(err)
			s.probe = probe
			text := func(addresses string, skew int) string {
				g := strings.Replace(group("web", s.vip, skew, "preempt = true\npreempt_delay = \"0s\"\n"+tt.more), `peer = "ucarp"`, `peer = "kvmha"`, 1)
				return strings.Replace(g, fmt.Sprintf("%q", s.vip), addresses, 1)
			}
			a := s.agent("a", text(tt.a, 0))
			a.role("active")
			b := s.agent("b", text(tt.b, 100))
			b.role("standby")
			s.answers("a", time.Now())
			if err := hatest.Until(s.ctx, func() bool { st, err := b.status(); return err == nil && st.Groups[0].CARP.Received > 1 }); err != nil {
				t.Fatal("b never hears a")
			}
			crash := time.Now()
			s.must(a.node.Crash())
			t.Logf("takeover in %s", s.answers("b", crash))
			s.must(a.node.Join())
			back := time.Now()
			a.start()
			t.Logf("back in %s", s.answers("a", back))
			a.role("active")
			b.role("standby")
			s.held("a")
			if d := s.holders.Dual(); d > 1500*time.Millisecond { // a preempting node serves until the other has heard of it
				t.Errorf("on both nodes for %s", d)
			}
		})
	}
}
