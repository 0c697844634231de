package main

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"kvmctl/ha"
	"kvmctl/ha/hatest"
	"kvmctl/ha/peer"
)

// paired starts an agent on a and one on b, each with its own key and the other's, and waits until the group has its place on both. Between them
// is the lab's network, of the given family; OTHER in more becomes the other one's name.
func (s *site) paired(address func(*hatest.Node) netip.Addr, more string) (a, b *agent) {
	s.t.Helper()
	roots, keys := map[string]string{}, map[string]peer.PublicKey{}
	for _, n := range []string{"a", "b"} {
		root, err := os.MkdirTemp("", "ha")
		s.must(err)
		s.t.Cleanup(func() { os.RemoveAll(root) })
		roots[n] = root
		id, err := peer.CreateIdentity(filepath.Join(roots[n], ha.StateDir, peer.Dir))
		s.must(err)
		keys[n] = id.Public()
	}
	begin := func(n, other string, skew int) *agent {
		s.must(peer.SavePin(filepath.Join(roots[n], ha.StateDir, peer.Dir), other, peer.Pin{Key: keys[other]}))
		return s.agentAt(n, roots[n], fmt.Sprintf("node = %q\n[peer.%s]\naddresses = [%q]\n", n, other, address(s.lab.Node(other)))+
			group("web", s.vip, skew, strings.ReplaceAll(more, "OTHER", other)))
	}
	a, b = begin("a", "b", 0), begin("b", "a", 100)
	a.role("active")
	b.role("standby")
	return a, b
}

// sees waits until an agent sees the other one's group in a role.
func (a *agent) sees(role string) {
	a.s.t.Helper()
	var last []ha.PeerStatus
	if err := hatest.Until(a.s.ctx, func() bool {
		st, err := a.status()
		last = st.Peers
		return err == nil && len(last) == 1 && last[0].Wrong == "" && last[0].Report != nil && last[0].Report.Groups[0].Role == role
	}); err != nil {
		a.s.t.Fatalf("never sees %s: %+v", role, last)
	}
}

func TestEachNodeSeesTheOther(t *testing.T) {
	for name, address := range map[string]func(*hatest.Node) netip.Addr{
		"IPv4": func(n *hatest.Node) netip.Addr { return n.Addr }, "IPv6": func(n *hatest.Node) netip.Addr { return n.Addr6 },
	} {
		t.Run(name, func(t *testing.T) {
			s := start(t)
			a, b := s.paired(address, "")
			a.sees("standby")
			b.sees("active")
			out, err := b.ask("status")
			s.must(err)
			_, table, _ := strings.Cut(out, "\nGROUP  b (here)  a (") // a view that is old, on a busy machine, has a mark
			if _, row, _ := strings.Cut(table, "\n"); len(strings.Fields(row)) < 3 || strings.TrimSuffix(strings.Fields(row)[2], "?") != "active" {
				t.Errorf("status says\n%s", out)
			}
			// The other node ends: the view grows old, and status says why.
			s.must(a.Kill())
			var last []ha.PeerStatus
			if hatest.Until(s.ctx, func() bool {
				st, err := b.status()
				last = st.Peers
				return err == nil && last[0].Wrong != "" && *last[0].Seen > 1
			}) != nil {
				t.Errorf("b goes on seeing a: %+v", last)
			}
			b.role("active")
			a.start() // a reboot: it is seen again
			b.sees("standby")
		})
	}
}
