package main

import (
	"net/netip"
	"strings"
	"testing"

	"kvmctl/ha/hatest"
)

// A node asks the other one for a group over the peer channel.
func TestAPeerIsAskedToHandOver(t *testing.T) {
	s := start(t)
	a, b := s.paired(func(n *hatest.Node) netip.Addr { return n.Addr }, "")
	b.sees("active")
	if out, talk, err := b.tell("switch", "web", "--here"); err != nil || out != "" || !strings.Contains(talk, "a has handed web over") {
		t.Fatalf("%q, %q, %v", out, talk, err)
	}
	s.held("b")
	b.role("active")
	a.role("standby")
	if !strings.Contains(a.Output(), `by="peer b (\"root\")"`) {
		t.Errorf("the log of a does not say who asked:\n%s", a.Output())
	}
	if _, talk, err := b.tell("switch", "web", "--here"); err != nil || !strings.Contains(talk, "web is active here already") {
		t.Errorf("a second time: %q, %v", talk, err)
	}
	s.held("b")
}
