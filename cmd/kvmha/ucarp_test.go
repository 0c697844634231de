package main

import (
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"kvmctl/ha"
	"kvmctl/ha/hatest"
)

// Rows of the interop matrix in which ucarp is slow, hangs or comes back (facts sections 1.5 and 3).

// slowScript is how long a script of ucarp's takes; ucarp waits for it, and neither hears nor sends an advert meanwhile.
const slowScript = "sleep 8"

// web gives the state of the agent's only group.
func (a *agent) web() ha.GroupStatus {
	a.s.t.Helper()
	st, err := a.status()
	a.s.must(err)
	return st.Groups[0]
}

// roles gives the changes of role that the agent has logged, as "from>to".
func (a *agent) roles() (all []string) {
	for line := range strings.Lines(a.Output()) {
		if strings.Contains(line, " msg=role ") {
			all = append(all, word(line, "from")+">"+word(line, "to"))
		}
	}
	return all
}

// word gives the value of a key in a line of the log.
func word(line, key string) string {
	_, rest, _ := strings.Cut(line, " "+key+"=")
	value, _, _ := strings.Cut(rest, " ")
	return value
}

// wentThrough says which changes of role the agent has made, all of them.
func (a *agent) wentThrough(want string) {
	a.s.t.Helper()
	if got := strings.Join(a.roles(), " "); got != want {
		a.s.t.Errorf("roles %s, want %s", got, want)
	}
}

func TestAgentMasterCrashesWithItsMachine(t *testing.T) {
	s, a := master(t, "")
	s.phased(phases(t)(0))
	crash := time.Now()
	s.must(a.node.Crash())
	took := s.answers("b", crash)
	t.Logf("ucarp answers after %s", took)
	s.held("b")
	s.noDual()
	if took > 8*time.Second { // its own slowness: 3.50 to 5.42 s were measured
		t.Errorf("takeover took %s", took)
	}
	s.must(a.node.Join())
	a.start()
	a.role("active")
	s.held("a")
	s.must(s.settled())
	a.wentThrough("starting>standby standby>promoting promoting>active")
}

// Whatever a stopped ucarp has, it keeps, and its kernel answers for it: the service goes on there, and the agent takes nothing.
func TestUCARPMasterHangs(t *testing.T) {
	s, a := backup(t, "")
	hang := time.Now()
	s.must(s.ucarps["b"].Signal(unix.SIGSTOP))
	a.role("waiting")
	if g := a.web(); g.Reason != "address" || !strings.Contains(strings.Join(g.Alarms, "\n"), "answers for "+s.vip.String()) {
		t.Errorf("it waits for %s, alarms %q", g.Reason, g.Alarms)
	}
	<-time.After(2 * time.Second) // it may try again meanwhile
	s.held("b")
	s.must(s.ucarps["b"].Signal(unix.SIGCONT))
	a.role("standby")
	s.must(s.settled())
	if outage := s.probe.Answers().Outage(hang, time.Now()); outage > 2*time.Second {
		t.Errorf("outage %s although the address never moved", outage)
	}
	s.held("b")
	s.noDual()
	if strings.Contains(strings.Join(a.roles(), " "), ">active") {
		t.Errorf("it took over: %q", a.roles())
	}
	crash := time.Now()
	s.must(s.lab.Node("b").Crash())
	t.Logf("takeover after its crash in %s", s.answers("a", crash))
	a.role("active")
	s.noDual()
}

func TestUCARPMasterLosesItsCable(t *testing.T) {
	s, a := backup(t, "")
	pull := time.Now()
	s.must(s.lab.Node("b").Unplug())
	took := s.answers("a", pull)
	t.Logf("takeover in %s", took)
	if took > takeoverMost {
		t.Errorf("takeover took %s", took)
	}
	a.role("active")
	s.noDual()
	plug := time.Now()
	s.must(s.lab.Node("b").Plug()) // ucarp looks every 10 s, and preempts
	t.Logf("ucarp answers again after %s", s.answers("b", plug))
	a.role("standby")
	s.held("b")
	s.must(s.settled())
	t.Logf("on both nodes for %s", s.holders.Dual())
	a.wentThrough("starting>standby standby>promoting promoting>active active>demoting demoting>standby")
}

// In a partition both serve, which no program can help without a third party. The agent yields to the first better advert after it.
func TestUCARPMasterIsCutOffAndComesBack(t *testing.T) {
	s, a := backup(t, "")
	heard, err := a.node.Sniff(func(f hatest.Frame) bool { return !f.Out && f.Proto == hatest.ProtoCARP })
	s.must(err)
	cut := time.Now()
	s.must(s.lab.Node("b").Cut())
	t.Logf("takeover in %s", s.answers("a", cut))
	a.role("active")
	before := len(heard.Frames())
	heal := time.Now()
	s.must(s.lab.Node("b").Join())
	s.held("b")
	a.role("standby")
	s.must(s.settled())
	spans, frames := s.holders.Spans(), heard.Stop()
	last := spans[len(spans)-1]
	if last.Node != "a" || len(frames) <= before {
		t.Fatalf("ucarp was not the one that stayed: %+v, %d frames", spans, len(frames))
	}
	took := last.To.Sub(frames[before].At)
	t.Logf("the address is gone %s after ucarp's first advert; outage %s", took, s.probe.Answers().Outage(heal, time.Now()))
	if took > 2*time.Second {
		t.Errorf("it took %s to yield", took)
	}
	a.wentThrough("starting>standby standby>promoting promoting>active active>demoting demoting>standby")
}

// A ucarp that comes back says nothing for three seconds, and then preempts: the agent may serve in between, once.
func TestUCARPMasterIsRestarted(t *testing.T) {
	s, a := backup(t, "")
	u := s.ucarps["b"]
	stop := time.Now()
	s.must(u.Signal(unix.SIGTERM))
	_ = u.Wait(s.ctx) // it ends with whatever its signal makes of it
	s.ucarp("b", 0, true)
	s.answers("b", stop.Add(time.Second))
	s.held("b")
	a.role("standby")
	s.must(s.settled())
	s.held("b")
	t.Logf("outage %s, on both nodes for %s, roles %q", s.probe.Answers().Outage(stop, time.Now()), s.holders.Dual(), a.roles())
	if n := a.web().Moves; n > 1 {
		t.Errorf("it became active %d times", n)
	}
}

// slow starts a ucarp on b with slow scripts.
func (s *site) slow(skew int, preempt bool, up, down string) *hatest.Process {
	s.t.Helper()
	u, err := s.lab.Node("b").UCARP(hatest.UCARP{VHID: vhid, Addr: s.vip, Password: password, Skew: skew, Preempt: preempt, Up: up, Down: down})
	s.must(err)
	return u
}

// While the up script of a better ucarp runs, the agent serves; it lets go when it hears the first advert.
func TestUCARPPreemptsWithASlowUpScript(t *testing.T) {
	s := start(t)
	a := s.agent("a", group("web", s.vip, 100, ""))
	a.role("active")
	s.held("a")
	begin := time.Now()
	s.slow(0, true, slowScript, "")
	took := s.answers("b", begin)
	a.role("standby")
	s.held("b")
	s.must(s.settled())
	outage := s.probe.Answers().Outage(begin, time.Now())
	t.Logf("ucarp answers after %s, outage %s, on both nodes for %s", took, outage, s.holders.Dual())
	if outage > 4*time.Second || s.holders.Dual() > 4*time.Second { // half of what the script takes
		t.Errorf("outage %s, on both nodes for %s", outage, s.holders.Dual())
	}
	a.wentThrough("starting>standby standby>promoting promoting>active active>demoting demoting>standby")
}

// A machine that comes back while ucarp's up script still runs hears nobody: it serves, and ucarp yields when its script has ended.
func TestAgentComesBackDuringASlowUpScript(t *testing.T) {
	s := start(t)
	a := s.agent("a", group("web", s.vip, 0, "preempt = true\npreempt_delay = \"0s\"\n"))
	a.role("active")
	s.held("a")
	u := s.slow(100, false, "echo began; "+slowScript+"; echo ended", "")
	says := func(what string) {
		t.Helper()
		if err := hatest.Until(s.ctx, func() bool { return strings.Contains(u.Output(), what) }); err != nil {
			t.Fatalf("ucarp never said %q: %s", what, u.Output())
		}
	}
	says("BACKUP")
	s.must(a.node.Crash())
	says("began")
	s.must(a.node.Join())
	a.start()
	a.role("active")
	says("ended") // it adds the address, and hears the agent's adverts
	<-time.After(2 * time.Second)
	s.held("a")
	s.must(s.settled())
	s.held("a")
	t.Logf("on both nodes for %s", s.holders.Dual())
	if s.holders.Dual() > 2*time.Second {
		t.Errorf("on both nodes for %s", s.holders.Dual())
	}
	a.wentThrough("starting>standby standby>promoting promoting>active")
}

// A ucarp that is stopped keeps the address while its down script runs, and says nothing: the agent finds that somebody answers, and takes it
// when nobody does any more.
func TestUCARPStopsWithASlowDownScript(t *testing.T) {
	s := start(t)
	u := s.slow(0, true, "", "echo began; "+slowScript)
	s.held("b")
	a := s.agent("a", group("web", s.vip, 100, ""))
	a.role("standby")
	stop := time.Now()
	s.must(u.Signal(unix.SIGTERM))
	a.role("waiting")
	if g := a.web(); g.Reason != "address" || !strings.Contains(strings.Join(g.Alarms, "\n"), "answers for "+s.vip.String()) {
		t.Errorf("it waits for %s, alarms %q", g.Reason, g.Alarms)
	}
	took := s.answers("a", stop)
	a.role("active")
	s.must(s.settled())
	t.Logf("takeover in %s; roles %q", took, a.roles())
	s.noDual()
	if n := a.web().Moves; n != 1 {
		t.Errorf("it became active %d times", n)
	}
}

// A ucarp that yields keeps the address, and answers for it, while its down script runs: the agent is master, and takes it after that.
func TestUCARPYieldsWithASlowDownScript(t *testing.T) {
	s := start(t)
	s.slow(100, false, "", slowScript)
	s.held("b")
	begin := time.Now()
	a := s.agent("a", group("web", s.vip, 0, "preempt = true\npreempt_delay = \"0s\"\n"))
	a.role("active")
	s.held("a")
	s.must(s.settled())
	t.Logf("outage %s", s.probe.Answers().Outage(begin, time.Now()))
	s.noDual()
	a.wentThrough("starting>standby standby>promoting promoting>active")
}
