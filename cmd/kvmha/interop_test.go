package main

import (
	"errors"
	"os/exec"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"kvmctl/ha/hatest"
)

// The peer in all of these is Debian's ucarp 1.5.2. The figures that they are held to are FAILOVER.md's profile C and facts section 3.

// takeoverMost is the agent's time to a takeover by silence, 3 adverts and skew 100, which is 3.39 s, and what a busy machine and
// its client's own ARP add.
const takeoverMost = 6 * time.Second

// backup makes a site where ucarp on b is master and the agent on a stands by.
func backup(t *testing.T, more string) (*site, *agent) {
	t.Helper()
	s := start(t)
	s.ucarp("b", 0, true)
	s.held("b")
	a := s.agent("a", group("web", s.vip, 100, more))
	a.role("standby")
	return s, a
}

// master makes a site where the agent on a is master, and takes the role back at once, and ucarp on b is its backup.
func master(t *testing.T, more string) (*site, *agent) {
	t.Helper()
	return mastering(t, "preempt = true\npreempt_delay = \"0s\"\n"+more)
}

// mastering is master without the wish to preempt.
func mastering(t *testing.T, more string) (*site, *agent) {
	t.Helper()
	s := start(t)
	a := s.agent("a", group("web", s.vip, 0, more))
	a.role("active")
	s.held("a")
	u := s.ucarp("b", 100, false)
	if err := hatest.Until(s.ctx, func() bool { return strings.Contains(u.Output(), "BACKUP") }); err != nil {
		t.Fatalf("ucarp never listened: %s", u.Output())
	}
	return s, a
}

// noDual says that the address was never on both nodes.
func (s *site) noDual() {
	s.t.Helper()
	if d := s.holders.Dual(); d > 0 {
		s.t.Errorf("on both nodes for %s: %+v", d, s.holders.Spans())
	}
}

func TestUCARPMasterCrashes(t *testing.T) {
	s, a := backup(t, "")
	crash := time.Now()
	s.must(s.lab.Node("b").Crash())
	took := s.answers("a", crash)
	t.Logf("takeover in %s", took)
	if took > takeoverMost {
		t.Errorf("takeover took %s", took)
	}
	a.role("active")
	s.noDual()
}

func TestAgentYieldsToABetterUCARP(t *testing.T) {
	s := start(t)
	a := s.agent("a", group("web", s.vip, 100, ""))
	a.role("active")
	s.held("a")
	back := time.Now()
	s.ucarp("b", 0, true)
	took := s.answers("b", back)
	a.role("standby")
	s.held("b")
	outage := s.probe.Stop().Outage(back, time.Now())
	t.Logf("ucarp answers after %s, outage %s, both for %s", took, outage, s.holders.Dual())
	if outage > time.Second {
		t.Errorf("outage %s", outage)
	}
}

func TestUCARPMasterIsStopped(t *testing.T) {
	s, a := backup(t, "")
	_ = a
	stop := time.Now()
	s.must(s.ucarps["b"].Signal(unix.SIGTERM))
	took := s.answers("a", stop)
	t.Logf("takeover in %s", took)
	if took > takeoverMost {
		t.Errorf("takeover took %s", took)
	}
	s.noDual()
}

func TestAgentMasterIsStoppedAndBowsOut(t *testing.T) {
	s, a := master(t, "")
	stop := time.Now()
	s.must(a.Signal(unix.SIGTERM))
	took := s.answers("b", stop)
	t.Logf("ucarp took over in %s", took)
	if took > 2*time.Second { // ucarp hears by polls of its own: 0.115 to 0.834 s, a busy machine more
		t.Errorf("takeover took %s", took)
	}
	if err := a.Wait(s.ctx); err != nil {
		t.Errorf("the agent ended with %v", err)
	}
	s.noDual()
}

func TestSwitchHandsOverToUCARP(t *testing.T) {
	s, a := master(t, "")
	begin := time.Now()
	if out, err := a.ask("switch", "web"); err != nil {
		t.Errorf("switch: %v %s", err, out)
	}
	took := s.answers("b", begin)
	t.Logf("ucarp took over in %s", took)
	s.held("b")
	a.role("standby")
	s.noDual()
}

func TestLeftoversAreDeletedAtStart(t *testing.T) {
	s, a := master(t, "")
	s.must(a.Kill())
	a.start() // within its own lease
	a.role("standby")
	if has, err := a.node.Holds(s.vip); err != nil || has {
		t.Errorf("it stands by, and has the address: %v %v", has, err)
	}
	s.noDual()
}

func TestMaintenanceAndWhatStatusSays(t *testing.T) {
	s, a := master(t, "")
	if out, err := a.ask("status"); err != nil || !strings.Contains(out, "web    active  ") || !strings.Contains(out, "  "+s.vip.String()+"  ") {
		t.Errorf("status: %v\n%s", err, out)
	}
	begin := time.Now()
	if out, err := a.ask("maintenance", "on", "web"); err != nil {
		t.Fatal(err, out)
	}
	s.answers("b", begin)
	if err := hatest.Until(s.ctx, func() bool { // b is heard: served, although not here
		out, err := a.ask("status")
		return err == nil && strings.Contains(out, "waiting (maintenance)") && strings.Contains(out, "10.77.0.2, ") &&
			strings.Contains(out, "web: to override: kvmha --root "+a.root+" maintenance off web\n")
	}); err != nil {
		t.Error("status never says that b serves, and what ends the maintenance")
	}
	for _, words := range [][]string{{"status", "nope"}, {"switch", "nope"}, {"maintenance", "on", "nope"}} {
		_, err := a.ask(words...)
		if exit := (*exec.ExitError)(nil); !errors.As(err, &exit) || exit.ExitCode() != 2 {
			t.Errorf("%q: %v, want exit code 2", words, err)
		}
	}
	s.must(s.lab.Node("b").Crash())
	if err := hatest.Until(s.ctx, func() bool { _, err := a.ask("status"); return err != nil }); err != nil {
		t.Error("nobody is active, and status exits with 0")
	}
	if out, err := a.ask("switch", "web"); err == nil || !strings.Contains(err.Error(), "not active here") {
		t.Errorf("switch of what is not here: %v %s", err, out)
	}
	if out, err := a.ask("maintenance", "off"); err != nil {
		t.Fatal(err, out)
	}
	a.role("active")
	s.noDual()
	if out, err := a.ask("log", "--explain"); err != nil || !strings.Contains(out, "maintenance") {
		t.Errorf("log: %v\n%s", err, out)
	}
}
