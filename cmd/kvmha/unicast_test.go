package main

import (
	"bytes"
	"net"
	"strings"
	"testing"
	"time"

	"kvmctl/ha/hatest"
)

// unicastGroup is the text of a group whose adverts go to one peer.
func (s *site) unicastGroup(to string, skew int) string {
	text := strings.Replace(group("web", s.vip, skew, "unicast = [\""+s.lab.Node(to).Addr.String()+"\"]\n"), "peer = \"ucarp\"\n", "", 1)
	return text
}

// reached gives how many adverts have come to a node, and whether the last was sent to everybody.
func reached(sniffer *hatest.Sniffer) (n int, last time.Time, to net.HardwareAddr) {
	for _, f := range sniffer.Frames() {
		if f.Proto == hatest.ProtoCARP && !f.Out {
			n, last, to = n+1, f.At, f.Dst
		}
	}
	return n, last, to
}

// Adverts to a unicast peer go to its MAC as soon as the kernel knows it, and follow it when it changes; until then they go to everybody.
func TestUnicastAdvertsReachThePeerAlone(t *testing.T) {
	s := start(t, "c")
	atB, err := s.lab.Node("b").Sniff(nil)
	s.must(err)
	atC, err := s.lab.Node("c").Sniff(nil)
	s.must(err)
	a := s.agent("a", s.unicastGroup("b", 0))
	b := s.agent("b", s.unicastGroup("a", 100))
	a.role("active")
	b.role("standby")

	quiet := func(mac net.HardwareAddr) {
		t.Helper()
		var seen, since int
		if err := hatest.Until(s.ctx, func() bool {
			nb, _, to := reached(atB)
			nc, _, _ := reached(atC)
			if nc != seen || !bytes.Equal(to, mac) {
				seen, since = nc, nb
			}
			return nb >= since+4
		}); err != nil {
			nb, _, to := reached(atB)
			t.Fatalf("adverts still reach a third node (%d), or not the peer's MAC: %d adverts, the last to %v, want %v", seen, nb, to, mac)
		}
	}
	quiet(s.lab.Node("b").MAC)

	moved := net.HardwareAddr{2, 0, 0, 0x77, 9, 9}
	if out, err := s.lab.Node("b").Command(s.ctx, "ip", "link", "set", "eth0", "address", moved.String()).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	quiet(moved)
	for _, st := range []*agent{a, b} {
		status, err := st.status()
		s.must(err)
		if want := map[*agent]string{a: "active", b: "standby"}[st]; status.Groups[0].Role != want || len(status.Degraded) > 0 {
			t.Errorf("%s is %s, degraded %q", st.node.Name, status.Groups[0].Role, status.Degraded)
		}
	}
	s.noDual()
	if spans := s.holders.Spans(); len(spans) != 1 {
		t.Errorf("it moved: %+v", spans)
	}
}
