package main

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"kvmctl/ha/hatest"
)

// adverts gives the times between the adverts that a node has sent.
func (s *site) adverts(node string) func() (longest time.Duration, n int) {
	s.t.Helper()
	sniffer, err := s.lab.Node(node).Sniff(hatest.Advert)
	if err != nil || sniffer == nil {
		s.t.Fatal(err)
	}
	return func() (longest time.Duration, n int) {
		var last time.Time
		for _, f := range sniffer.Frames() {
			if !last.IsZero() {
				longest = max(longest, f.At.Sub(last))
			}
			last, n = f.At, n+1
		}
		return longest, n
	}
}

// Of three heals the median counts, each without what the machine kept the agent, the ucarp and the client waiting for a processor.
func TestCase08PartitionHeals(t *testing.T) {
	s, a := master(t, "")
	w := watch(t, a.Pid(), s.ucarps["b"].Pid())
	var outages, waits []time.Duration
	var adverts []int
	for range 3 {
		s.must(s.lab.Node("b").Cut())
		if err := hatest.Until(s.ctx, func() bool { return len(s.holders.Now()) == 2 }); err != nil {
			t.Fatal("ucarp alone did not take the address")
		}
		sniffer, err := s.lab.Node("b").Sniff(hatest.Advert)
		s.must(err)
		heal := time.Now()
		s.must(s.lab.Node("b").Join())
		s.held("a")
		s.must(s.settled())
		begin, end := s.probe.Answers().Longest(heal, time.Now())
		waited, _ := w.waited(begin, end)
		outages, waits = append(outages, max(0, end.Sub(begin)-waited)), append(waits, waited)
		n := 0
		for _, f := range sniffer.Stop() {
			if f.At.After(heal) {
				n++
			}
		}
		adverts = append(adverts, n)
	}
	t.Logf("after the heals: outages %s, beside %s for a processor; %d adverts of the loser's", outages, waits, adverts)
	slices.Sort(outages)
	slices.Sort(adverts)
	if outages[1] > 50*time.Millisecond || adverts[1] > 2 {
		t.Errorf("outages %s, adverts %d", outages, adverts)
	}
	a.role("active")
	a.wentThrough("starting>standby standby>promoting promoting>active")
}

func TestLinkDownDemotesAndComesBack(t *testing.T) {
	s, a := master(t, "")
	down := time.Now()
	s.must(s.lab.Node("a").Unplug())
	s.held("b") // a's went with its carrier
	a.role("waiting")
	t.Logf("ucarp took over in %s", s.answers("b", down))
	s.noDual()
	s.must(s.lab.Node("a").Plug())
	a.role("active")
	s.held("a")
}

func TestCase09WrongPassword(t *testing.T) {
	s := start(t)
	_, err := s.lab.Node("b").UCARP(hatest.UCARP{VHID: vhid, Addr: s.vip, Password: "toto", Skew: 100})
	s.must(err)
	s.held("b")
	a := s.agent("a", group("web", s.vip, 0, ""))
	a.role("waiting")
	st, err := a.status()
	s.must(err)
	if st.Groups[0].Reason != "misconfigured" || !strings.Contains(st.Groups[0].Missing, "10.77.0.2") {
		t.Errorf("it waits for %s: %s", st.Groups[0].Reason, st.Groups[0].Missing)
	}
	s.noDual()
}

func TestAddressInUseIsNotTaken(t *testing.T) {
	s := start(t)
	s.must(s.lab.Node("b").AddAddr(netip.PrefixFrom(s.vip, 32)))
	a := s.agent("a", group("web", s.vip, 0, ""))
	a.role("waiting")
	st, err := a.status()
	s.must(err)
	if st.Groups[0].Reason != "address" || len(st.Groups[0].Alarms) == 0 {
		t.Errorf("it waits for %s, alarms %q", st.Groups[0].Reason, st.Groups[0].Alarms)
	}
	s.noDual()
	s.must(s.lab.Node("b").DelAddr(netip.PrefixFrom(s.vip, 32)))
	a.role("active")
}

func TestInterfaceVanishesAndComesBack(t *testing.T) {
	s, a := master(t, "")
	ip := func(args ...string) {
		t.Helper()
		if out, err := a.node.Command(s.ctx, append([]string{"ip"}, args...)...).CombinedOutput(); err != nil {
			t.Fatalf("%s: %v: %s", args, err, out)
		}
	}
	ip("link", "set", "eth0", "down")
	ip("link", "set", "eth0", "name", "away0")
	a.role("waiting")
	if err := hatest.Until(s.ctx, func() bool {
		out, _ := a.ask("status")
		return strings.Contains(out, "there is no interface eth0\n")
	}); err != nil {
		t.Error("status never says which interface it waits for")
	}
	s.held("b")
	ip("link", "set", "away0", "name", "eth0")
	ip("link", "set", "eth0", "up")
	a.role("active")
	s.held("a")
}

func TestAddressThatSomebodyRemovesIsPutBack(t *testing.T) {
	s, a := master(t, "")
	s.must(a.node.DelAddr(netip.PrefixFrom(s.vip, 32)))
	if err := hatest.Until(s.ctx, func() bool { return len(s.holders.Spans()) > 1 }); err != nil {
		t.Fatalf("never put back: %+v", s.holders.Spans())
	}
	s.held("a")
	a.role("active")
	s.noDual()
}

func TestCase15ScriptHangsAdvertsAreOnTime(t *testing.T) {
	s := start(t)
	count := s.adverts("a")
	a := s.agent("a", group("web", s.vip, 0, "[[group.web.unit]]\ntype = \"command\"\nname = \"hung\"\n"+
		"start = [\"/bin/sh\", \"-c\", \"trap '' TERM; sleep 1000\"]\nstop = [\"/bin/true\"]\nstart_timeout = \"6s\"\n"))
	a.role("promoting")
	if err := hatest.Until(s.ctx, func() bool { _, n := count(); return n >= 6 }); err != nil {
		t.Fatal("no adverts while the script hangs")
	}
	longest, n := count()
	t.Logf("%d adverts, %s at most between two", n, longest)
	if longest > 2*time.Second {
		t.Errorf("%s between two adverts", longest)
	}
	a.role("waiting") // its time is over: rolled back, and the role given away
	if spans := s.holders.Spans(); len(spans) > 0 {
		t.Errorf("it had the address before its unit ran: %+v", spans)
	}
}

func TestCase14FailingServiceIsHandedOver(t *testing.T) {
	s := start(t)
	ok := filepath.Join(t.TempDir(), "ok")
	s.must(os.WriteFile(ok, nil, 0o600))
	a := s.agent("a", group("web", s.vip, 0, "restarts = 1\n[[group.web.unit]]\ntype = \"command\"\nname = \"served\"\n"+
		"start = [\"/bin/true\"]\nstop = [\"/bin/true\"]\n[[group.web.check]]\ntype = \"exec\"\nname = \"works\"\n"+
		fmt.Sprintf("run = [\"/usr/bin/test\", \"-e\", %q]\nfall = 3\nrise = 1\n", ok)))
	a.role("active")
	s.ucarp("b", 100, false)
	failed := time.Now()
	s.must(os.Remove(ok))
	t.Logf("ucarp answers %s after the service failed", s.answers("b", failed))
	s.noDual()
	s.held("b")
}

func TestCase16NoRoomOnDisk(t *testing.T) {
	s := start(t)
	root, err := os.MkdirTemp("", "ha")
	s.must(err)
	t.Cleanup(func() { os.RemoveAll(root) })
	s.must(os.MkdirAll(filepath.Join(root, "var"), 0o755))
	s.must(os.WriteFile(filepath.Join(root, "var/lib"), nil, 0o600)) // nothing can be written below it
	a := s.agentAt("a", root, group("web", s.vip, 0, ""))
	a.role("active")
	if err := hatest.Until(s.ctx, func() bool {
		st, err := a.status()
		return err == nil && strings.Contains(strings.Join(st.Degraded, "\n"), "audit log: ")
	}); err != nil {
		t.Error("status does not say that the log cannot be written")
	}
	s.held("a")
}

func TestCase19RestartInPlaceAndReload(t *testing.T) {
	s, a := master(t, "")
	count := s.adverts("a")
	pid := a.Pid()
	begin := time.Now()
	for i := range 3 {
		asked := time.Now()
		if i == 1 {
			s.must(a.Signal(unix.SIGUSR2))
		} else if out, err := a.ask("restart"); err != nil {
			t.Fatal(out, err)
		}
		if err := hatest.Until(s.ctx, func() bool {
			st, err := a.status()
			return err == nil && st.Loop.Restart == i+1 && st.PID == pid && st.Groups[0].Role == "active"
		}); err != nil {
			t.Fatalf("restart %d did not come to an end", i+1)
		}
		t.Logf("restart %d: answers again after %s", i+1, time.Since(asked))
	}
	second := group("dns", s.vip.Next(), 0, "")
	second = strings.Replace(second, fmt.Sprintf("vhid = %d", vhid), "vhid = 43", 1)
	a.write(group("web", s.vip, 0, "preempt = true\npreempt_delay = \"0s\"\n") + second)
	if out, err := a.ask("reload"); err != nil {
		t.Fatal(out, err)
	}
	if err := hatest.Until(s.ctx, func() bool {
		st, err := a.status()
		return err == nil && len(st.Groups) == 2 && st.Groups[1].Role == "active"
	}); err != nil {
		t.Fatal("the second group is not active")
	}
	first := group("web", s.vip, 0, "preempt = true\npreempt_delay = \"0s\"\n")
	a.write(first + strings.Replace(second, "skew = 0", "skew = 50", 1)) // one that changed is let go and begun anew
	if out, err := a.ask("reload"); err != nil {
		t.Fatal(out, err)
	}
	if err := hatest.Until(s.ctx, func() bool {
		st, err := a.status()
		return err == nil && len(st.Groups) == 2 && st.Groups[1].Role == "active" && st.Groups[1].Moves == 1 && st.Groups[1].Since < 1 && st.Groups[0].Since > 2
	}); err != nil {
		t.Fatal("the changed group is not active again")
	}
	a.write("[group.web]\nnonsense = 1\n")
	if out, err := a.ask("reload"); err == nil || !strings.Contains(err.Error(), "nonsense") {
		t.Errorf("a bad file: %v %s", err, out)
	}
	if st, err := a.status(); err != nil || len(st.Groups) != 2 || len(st.Degraded) != 1 {
		t.Errorf("after a bad file: %+v, %v", st, err)
	}
	a.write(first)
	s.must(a.Signal(unix.SIGHUP))
	if err := hatest.Until(s.ctx, func() bool { st, err := a.status(); return err == nil && len(st.Groups) == 1 && len(st.Degraded) == 0 }); err != nil {
		t.Fatal("the group that was taken out is still there")
	}
	if has, err := a.node.Holds(s.vip.Next()); err != nil || has {
		t.Errorf("its address is still there: %v, %v", has, err)
	}
	longest, n := count()
	outage := s.probe.Stop().Outage(begin, time.Now())
	t.Logf("%d adverts, %s at most between two; outage %s", n, longest, outage)
	if spans := s.holders.Spans(); len(spans) != 1 || longest > 2*time.Second || outage > 500*time.Millisecond {
		t.Errorf("it was felt: %+v", spans)
	}
}
