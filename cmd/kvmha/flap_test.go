package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"kvmctl/ha/hatest"
)

// Case 7: a link that comes and goes, never up for as long as the damping asks, is one move away, and one back when it stays.
func TestCase07LinkFlaps(t *testing.T) {
	s := start(t)
	a := s.agent("a", group("web", s.vip, 0, "preempt = true\npreempt_delay = \"0s\"\ndamping = {min = \"1s\", max = \"3s\"}\n"))
	a.role("active")
	u := s.ucarp("b", 100, false)
	s.must(hatest.Until(s.ctx, func() bool { return strings.Contains(u.Output(), "BACKUP") }))
	for range 20 {
		s.must(a.node.Unplug())
		<-time.After(200 * time.Millisecond)
		s.must(a.node.Plug())
		<-time.After(200 * time.Millisecond)
	}
	s.held("b")
	a.role("active")
	s.held("a")
	s.must(s.settled())
	t.Log(a.roles())
	away, back := 0, 0
	for _, r := range a.roles() {
		if strings.HasPrefix(r, "active>") {
			away++
		}
		if strings.HasSuffix(r, ">active") {
			back++
		}
	}
	if away != 1 || back != 2 { // the first time is its start
		t.Errorf("%d times away, %d times active: %s", away, back, a.roles())
	}
	s.noDual()
}

// Case 14: a service that is well and ill again and again. After two moves in a window the group stays with the peer, as long as that serves,
// and both moves were told.
func TestCase14AFlappingServiceMovesTwice(t *testing.T) {
	s := start(t)
	ok := filepath.Join(t.TempDir(), "ok")
	s.must(os.WriteFile(ok, nil, 0o600))
	a := s.agent("a", group("web", s.vip, 0, "preempt = true\npreempt_delay = \"0s\"\nrestarts = 0\ndamping = {min = \"500ms\"}\n"+
		"[[group.web.check]]\ntype = \"exec\"\nname = \"works\"\nwhen = \"always\"\n"+
		fmt.Sprintf("run = [\"/usr/bin/test\", \"-e\", %q]\ninterval = \"100ms\"\nfall = 2\nrise = 1\n", ok)))
	a.role("active")
	u := s.ucarp("b", 100, false)
	s.must(hatest.Until(s.ctx, func() bool { return strings.Contains(u.Output(), "BACKUP") }))
	for range 2 { // a move each
		a.role("active")
		s.must(os.Remove(ok))
		s.held("b")
		s.must(os.WriteFile(ok, nil, 0o600))
	}
	for range 4 {
		a.role("standby")
		<-time.After(1200 * time.Millisecond) // an advert of the worse master's comes, and is not preempted
		s.must(os.Remove(ok))
		a.role("waiting")
		s.must(os.WriteFile(ok, nil, 0o600))
	}
	t.Log(a.roles(), a.alerts())
	if moves := a.web().Moves; moves != 2 {
		t.Errorf("active %d times", moves)
	}
	if n := strings.Count(strings.Join(a.alerts(), "\n"), "kind=notice subject=hand-over"); n != 2 {
		t.Errorf("%d hand-overs were told: %s", n, a.alerts())
	}
	s.held("b")
	s.noDual()
}
