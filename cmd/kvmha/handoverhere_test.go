package main

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
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

// The other node has just started, and still stops what it has found: a hand-over waits for that, whichever of them is asked.
func TestAHandOverWaitsForAPeerThatLetsGo(t *testing.T) {
	s := start(t)
	runs := filepath.Join(t.TempDir(), "runs")
	mine := "f=" + runs + ".$(ip -o -4 addr show dev eth1 | grep -o '192.168.77.[12]'); "
	a, b := s.beating(command("slow", mine+"touch $f", mine+"[ ! -e "+runs+" ] || sleep 4; rm -f $f "+runs) +
		fmt.Sprintf("status = [\"/bin/sh\", \"-c\", %q]\n", mine+"[ -e $f ] || exit 3"))
	for _, ask := range []func() (string, string, error){
		func() (string, string, error) { return a.tell("switch", "web") },
		func() (string, string, error) { b.sees("active"); return b.tell("switch", "web", "--here") },
	} {
		s.must(b.Kill())
		for _, name := range []string{runs, runs + ".192.168.77.2"} {
			s.must(os.WriteFile(name, nil, 0o600))
		}
		b.start()
		a.sees("demoting")
		if out, talk, err := ask(); err != nil || out != "" {
			t.Fatalf("%q, %q, %v", out, talk, err)
		}
		s.held("b")
		b.role("active")
		if _, talk, err := b.tell("switch", "web"); err != nil {
			t.Fatal(talk, err)
		}
		a.role("active")
		b.role("standby")
	}
}
