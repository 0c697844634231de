package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"kvmctl/ha"
	"kvmctl/ha/hatest"
)

// command is the text of a unit of the group web.
func command(name, start, stop string) string {
	return fmt.Sprintf("[[group.web.unit]]\ntype = \"command\"\nname = %q\nstart = [\"/bin/sh\", \"-c\", %q]\nstop = [\"/bin/sh\", \"-c\", %q]\n", name, start, stop)
}

// What a start script leaves behind holds its output open for ever: the script has ended all the same.
func TestAStartScriptThatLeavesSomethingBehind(t *testing.T) {
	s := start(t)
	begin := time.Now()
	a := s.agent("a", group("web", s.vip, 0, command("forks", "sleep 300 & exit 0", "true")))
	a.role("active")
	t.Logf("active after %s", time.Since(begin))
	s.held("a")
}

// Reloads that come faster than the file is read move nobody.
func TestAStormOfReloads(t *testing.T) {
	s, a := master(t, "")
	count := s.adverts("a")
	text := group("web", s.vip, 0, "preempt = true\npreempt_delay = \"0s\"\n")
	for i := range 300 {
		if i%50 == 0 {
			a.write(text + group("dns", s.vip.Next(), 0, "description = \""+strings.Repeat("x", i/50+1)+"\"\n"))
		}
		s.must(a.Signal(unix.SIGHUP))
		<-time.After(5 * time.Millisecond)
	}
	a.write(text)
	s.must(a.Signal(unix.SIGHUP))
	if err := hatest.Until(s.ctx, func() bool {
		st, err := a.status()
		return err == nil && len(st.Groups) == 1
	}); err != nil {
		st, _ := a.status()
		t.Fatalf("the last file does not count: %+v", st.Groups)
	}
	st, err := a.status()
	s.must(err)
	if st.Groups[0].Role != "active" || st.Groups[0].Moves != 1 {
		t.Errorf("it moved: %+v", st.Groups[0])
	}
	longest, n := count()
	t.Logf("%d adverts, %s at most between two", n, longest)
	s.noDual()
	s.held("a")
}

// The agent is killed while it lets go: the next one finds a unit that runs, and stops it as soon as the peer is known to serve.
func TestKilledWhileItLetsGo(t *testing.T) {
	mark := filepath.Join(t.TempDir(), "runs")
	s, a := master(t, command("slow", "touch "+mark, "sleep 1000"))
	s.must(os.WriteFile(mark, nil, 0o600))
	_, err := ha.Ask(s.ctx, filepath.Join(a.root, "run/kvmha/kvmha.sock"), ha.Request{Verb: ha.VerbMaintenance, On: true})
	s.must(err)
	a.role("demoting")
	s.must(a.Kill())
	if _, err := os.Stat(mark); err != nil {
		t.Fatalf("it was stopped already: %v", err)
	}
	s.held("b")
	s.noDual()
	a.write(group("web", s.vip, 0, command("slow", "touch "+mark, "rm -f "+mark)))
	a.start()
	if err := hatest.Until(s.ctx, func() bool { _, err := os.Stat(mark); return os.IsNotExist(err) }); err != nil {
		t.Errorf("the unit still runs:\n%s", a.Output())
	}
	a.role("standby")
	s.held("b")
	s.noDual()
}

// A new password on one node after the other, by reload. Until both have it they do not hear each other, and all the same there are never two
// owners; afterwards there is one.
func TestPasswordIsChangedOnOneNodeAfterTheOther(t *testing.T) {
	for _, first := range []string{"active", "standby"} {
		t.Run("first on the "+first+" one", func(t *testing.T) {
			s := start(t)
			text := func(skew int, password string) string {
				g := strings.Replace(group("web", s.vip, skew, "preempt = true\npreempt_delay = \"0s\"\n"), `peer = "ucarp"`, `peer = "kvmha"`, 1)
				return strings.Replace(g, `password = "tpri"`, fmt.Sprintf("password = %q", password), 1)
			}
			a := s.agent("a", text(0, "tpri"))
			a.role("active")
			b := s.agent("b", text(100, "tpri"))
			b.role("standby")
			nodes, skews := []*agent{a, b}, []int{0, 100}
			if first == "standby" {
				nodes, skews = []*agent{b, a}, []int{100, 0}
			}
			begin := time.Now()
			for i, n := range nodes {
				n.write(text(skews[i], "another"))
				if out, err := n.ask("reload"); err != nil {
					t.Fatal(out, err)
				}
				if i == 0 {
					<-time.After(8 * time.Second) // longer than any verdict takes
					s.noDual()
				}
			}
			a.role("active")
			b.role("standby")
			s.held("a")
			s.must(s.settled())
			t.Logf("nobody answered for %s at most, two for %s", s.probe.Stop().Outage(begin, time.Now()), s.holders.Dual())
		})
	}
}
