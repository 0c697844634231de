package main

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"kvmctl/ha/hatest"
	"kvmctl/ha/link"
)

// A stranger with one of our addresses is told of while this node is active, and the address is announced again; it is not left to him.
func TestAddressThatAStrangerHasWhileActive(t *testing.T) {
	s := start(t, "c")
	a := s.agent("a", group("web", s.vip, 0, ""))
	a.role("active")
	s.held("a")
	c := s.lab.Node("c")
	s.must(c.AddAddr(netip.PrefixFrom(s.vip, 24)))
	var port *link.Port
	s.must(c.Do(func() (err error) { port, err = link.OpenPort("eth0"); return err }))
	defer port.Close()
	var last time.Time
	if err := hatest.Until(s.ctx, func() bool {
		if time.Since(last) > 500*time.Millisecond { // what a host sends when it comes up; the agent may not listen yet
			last = time.Now()
			s.must(port.Announce(port.MAC(), s.vip, false))
		}
		st, err := a.status()
		return err == nil && strings.Contains(strings.Join(st.Groups[0].Alarms, "\n"), s.vip.String()+" taken by "+c.MAC.String())
	}); err != nil {
		st, _ := a.status()
		t.Errorf("nobody was told: %+v", st.Groups)
	}
	a.role("active")
}

// While a partition heals both nodes have the address for a moment, and say so: that is no stranger.
func TestAddressThatIsTheirsForAMomentIsNotTaken(t *testing.T) {
	s := start(t)
	plain := func(skew int) string {
		return strings.Replace(group("web", s.vip, skew, "preempt = true\npreempt_delay = \"0s\"\n"), "peer = \"ucarp\"\n", "", 1)
	}
	a := s.agent("a", plain(0))
	a.role("active")
	b := s.agent("b", plain(100))
	b.role("standby")
	s.must(s.lab.Node("b").Cut())
	b.role("active")
	s.must(s.lab.Node("b").Join())
	b.role("standby")
	a.role("active")
	// Two dead intervals later it would have been asked about.
	began := s.advertsOf(a)
	if err := hatest.Until(s.ctx, func() bool { return s.advertsOf(a) >= began+7 }); err != nil {
		t.Fatal(err)
	}
	for _, x := range []*agent{a, b} {
		if all := strings.Join(x.alerts(), ", "); strings.Contains(all, "subject=address") {
			t.Errorf("%s told %s", x.node.Name, all)
		}
	}
}

// advertsOf gives how many adverts an agent has sent.
func (s *site) advertsOf(a *agent) uint64 {
	s.t.Helper()
	st, err := a.status()
	s.must(err)
	return st.Groups[0].CARP.Sent
}
