package main

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"kvmctl/ha"
	"kvmctl/ha/carp"
	"kvmctl/ha/hatest"
	"kvmctl/ha/peer"
)

// beating starts an agent on a and on b, each with the other's key. Between them are the lab's network and a cable of their own. It waits until
// heartbeats decide, and a is active.
func (s *site) beating(more string) (a, b *agent) {
	s.t.Helper()
	s.cable()
	roots, keys := map[string]string{}, map[string]peer.PublicKey{}
	for _, n := range []string{"a", "b"} {
		root, err := os.MkdirTemp("", "ha")
		s.must(err)
		s.t.Cleanup(func() { os.RemoveAll(root) })
		roots[n] = root
		id, err := peer.CreateIdentity(filepath.Join(root, ha.StateDir, peer.Dir))
		s.must(err)
		keys[n] = id.Public()
	}
	begin := func(n, other, cable string, skew int) *agent {
		s.must(peer.SavePin(filepath.Join(roots[n], ha.StateDir, peer.Dir), other, peer.Pin{Key: keys[other]}))
		return s.agentAt(n, roots[n], fmt.Sprintf("node = %q\n[peer.%s]\naddresses = [%q, %q]\n", n, other, s.lab.Node(other).Addr, cable)+
			byKVMHA(group("web", s.vip, skew, more)))
	}
	a, b = begin("a", "b", "192.168.77.2", 0), begin("b", "a", "192.168.77.1", 100)
	for _, x := range []*agent{a, b} {
		s.must(hatest.Until(s.ctx, func() bool {
			st, err := x.status()
			return err == nil && st.Groups[0].Decides == "heartbeat" && st.Beat.Alive && st.Beat.Paths[0].Heard && st.Beat.Paths[1].Heard
		}))
	}
	s.must(hatest.Until(s.ctx, func() bool {
		if b.web().Role == "active" { // a machine that is too busy for a's promote has b take it
			_, _ = b.ask("switch", "web")
		}
		return a.web().Role == "active" && b.web().Role == "standby"
	}))
	s.held("a")
	return a, b
}

// stays notes how often two agents were active, and gives what says that nothing has moved since.
func stays(a, b *agent) func() {
	before := [2]int{a.web().Moves, b.web().Moves}
	return func() {
		a.s.t.Helper()
		if now := [2]int{a.web().Moves, b.web().Moves}; now != before || a.web().Role != "active" {
			a.s.t.Errorf("%s is %s; the two were active %d times, and before %d times", a.node.Name, a.web().Role, now, before)
		}
	}
}

// cable joins a and b by a second network, as DRBD's would be.
func (s *site) cable() {
	s.t.Helper()
	anchor, err := s.lab.Node("b").Start("anchor", "sleep", "300")
	s.must(err)
	s.run("a", "ip", "link", "add", "eth1", "type", "veth", "peer", "name", "eth1", "netns", fmt.Sprint(anchor.Pid()))
	for i, n := range []string{"a", "b"} {
		s.run(n, "ip", "addr", "add", fmt.Sprintf("192.168.77.%d/24", i+1), "dev", "eth1")
		s.run(n, "ip", "link", "set", "eth1", "up")
	}
}

// run runs a command on a node.
func (s *site) run(node string, argv ...string) {
	s.t.Helper()
	if out, err := s.lab.Node(node).Command(s.ctx, argv...).CombinedOutput(); err != nil {
		s.t.Fatalf("%v on %s: %v: %s", argv, node, err, out)
	}
}

// gapBefore is the time between a node's last answer and another one's first.
func (s *site) gapBefore(from, to string) time.Duration {
	s.t.Helper()
	var last time.Time
	for _, x := range s.probe.Answers() {
		switch {
		case x.Node == from:
			last = x.At
		case x.Node == to && !last.IsZero():
			return x.At.Sub(last)
		}
	}
	s.t.Fatalf("the address never went from %s to %s", from, to)
	return 0
}

// Facts section 3, case 17: both start at once, and one takes the address.
func TestCase17BothStartAtOnce(t *testing.T) {
	s := start(t)
	s.beating("")
	s.noDual()
}

func TestHeartbeatHandOver(t *testing.T) {
	s := start(t)
	a, b := s.beating("")
	s.answers("a", time.Now())
	if out, err := a.ask("switch", "web"); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	b.role("active")
	a.role("standby")
	s.answers("b", time.Now())
	t.Logf("nobody answered for %s", s.gapBefore("a", "b"))
	if cause := b.web().Cause; cause != "the peer hands it over" {
		t.Errorf("b is active because %s", cause)
	}
	s.noDual()
	// Its end is a hand-over, too.
	s.must(b.Signal(unix.SIGTERM))
	a.role("active")
	if cause := a.web().Cause; cause != "the peer hands it over" {
		t.Errorf("a is active because %s", cause)
	}
	s.noDual()
}

// What nobody can take comes back: the other node is out for maintenance when it is asked.
func TestHeartbeatHandOverToNobody(t *testing.T) {
	s := start(t)
	a, b := s.beating("")
	if out, err := b.ask("maintenance", "on"); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	b.role("waiting")
	s.must(hatest.Until(s.ctx, func() bool {
		_, err := a.ask("switch", "web")
		return err != nil && strings.Contains(err.Error(), "exit status 3")
	}))
	a.role("active")
	s.noDual()
}

// The machine, or its agent alone, is gone: the other one waits until the lease is over.
func TestHeartbeatCrash(t *testing.T) {
	for name, crash := range map[string]func(*site, *agent) error{
		"machine": func(s *site, a *agent) error { return s.lab.Node("a").Crash() },
		"agent":   func(_ *site, a *agent) error { return a.Kill() },
		"hang":    func(_ *site, a *agent) error { return a.Signal(unix.SIGSTOP) },
	} {
		t.Run(name, func(t *testing.T) {
			s := start(t)
			a, b := s.beating("probe = false\n") // only the time says that the lease is over
			at := time.Now()
			s.must(crash(s, a))
			b.role("active")
			t.Logf("takeover in %s", s.answers("b", at))
			if cause := b.web().Cause; cause != "the peer is silent on every path, and its lease is over" {
				t.Errorf("b is active because %s", cause)
			}
			s.held("b") // seen by what looks for two holders, too
			s.noDual()
			if name != "hang" {
				return
			}
			s.must(a.Signal(unix.SIGCONT))
			a.role("standby")
			s.held("b")
			s.noDual()
		})
	}
}

// With kvmha-tick beside the agent the kernel ends a lease on time, and the heartbeat says so: the other node waits a second less.
func TestHeartbeatCrashWithTheTick(t *testing.T) {
	s := start(t)
	a, b := s.beating("")
	a.ticks()
	at := time.Now()
	s.must(a.Kill())
	b.role("active")
	t.Logf("takeover in %s", s.answers("b", at))
	s.held("b")
	s.noDual()
}

// ticks starts kvmha-tick beside an agent, and waits until the other one knows.
func (a *agent) ticks() {
	a.s.t.Helper()
	c := a.node.Command(context.Background(), "/proc/self/exe", "tick")
	c.Env = append(os.Environ(), asAgent+"=1")
	_, err := a.node.StartCmd("tick", c)
	a.s.must(err)
	a.s.must(hatest.Until(a.s.ctx, func() bool { st, err := a.status(); return err == nil && st.Beat.Tick }))
	told := time.Now()
	a.s.must(hatest.Until(a.s.ctx, func() bool { return time.Since(told) > time.Second })) // several heartbeats
}

// Facts section 3, case 10: nobody has the key, and anybody can repeat what was said. Frames of CARP change nothing where heartbeats decide, and
// neither does a heartbeat that was heard before.
func TestCase10WhatIsReplayedChangesNothing(t *testing.T) {
	s := start(t)
	sniffer, err := s.lab.Node("a").Sniff(hatest.Advert)
	s.must(err)
	a, b := s.beating("")
	stayed := stays(a, b)
	captured, err := sniffer.Wait(s.ctx, 1, hatest.Advert)
	s.must(err)
	f, err := carp.ParseFrame(captured.Raw)
	s.must(err)
	bowOut, better := f, f
	bowOut.Advert.Base, bowOut.Advert.Skew = 255, 255
	better.Advert.Base, better.Advert.Skew = 0, 0
	// And of one who has CARP's key, but is not the peer: an advert that a master would yield to.
	auth, err := carp.NewAuth(password, vhid, []netip.Addr{s.vip})
	s.must(err)
	signed := f
	signed.Src, signed.Advert.Base, signed.Advert.Skew = s.lab.Client.Addr, 0, 0
	signed.Advert.Counter += 1000
	auth.Sign(&signed.Advert)
	send := s.sends()
	heard := func(x *agent) uint64 { return x.web().CARP.Received + x.web().CARP.Rejected["altered"] }
	before := map[*agent]uint64{a: heard(a), b: heard(b)}
	frames := [][]byte{bowOut.Append(nil), better.Append(nil), captured.Raw, signed.Append(nil)}
	s.must(hatest.Until(s.ctx, func() bool {
		for _, frame := range frames {
			send(frame)
		}
		return heard(b) > before[b]+50
	}))
	stayed()
	s.held("a")
	s.noDual()
}

// Partition and heal: two switches part, and every path with them, so both serve, each to the clients on its side. Whichever path comes back first,
// the one that goes first stays, and the clients of the other one find it at once.
func TestHeartbeatHeal(t *testing.T) {
	s := start(t, "c")
	a, b := s.beating("")
	_, err := s.lab.Node("c").Start("ping", "ping", "-i", "0.1", "-q", s.lab.Node("a").Addr.String()) // so that a is not deaf
	s.must(err)
	before := a.web().Moves
	cable := func(state string) { s.run("a", "ip", "link", "set", "eth1", state) }
	join := func() { s.must(errors.Join(s.lab.Node("a").Join(), s.lab.Node("c").Join())) }
	for _, first := range []string{"link", "cable"} {
		s.must(s.lab.Part(s.lab.Node("a"), s.lab.Node("c")))
		cable("down")
		b.role("active")
		s.answers("b", time.Now())
		healed := time.Now()
		if first == "link" {
			join()
			s.held("a")
			cable("up")
		} else {
			cable("up")
			s.held("a")
			yielded := time.Now()
			s.must(hatest.Until(s.ctx, func() bool { return time.Since(yielded) > 2*time.Second })) // past the last announcement of that
			healed = time.Now()
			join()
		}
		took := s.answers("a", healed)
		if t.Logf("the %s comes back first: a answers after %s", first, took); took > time.Second {
			t.Error("too late")
		}
		s.held("a")
		a.role("active")
		b.role("standby")
	}
	if n := a.web().Moves; n != before {
		t.Errorf("a was active %d times, before %d times", n, before)
	}
}

// Safety 7: one path alive is alive. A node whose link brings nothing, and whose peer is alive on the other path, takes nothing.
func TestHeartbeatDeafNode(t *testing.T) {
	s := start(t)
	a, b := s.beating("")
	stayed := stays(a, b)
	s.must(s.lab.Node("b").Cut())
	s.must(hatest.Until(s.ctx, func() bool {
		st, err := b.status()
		return err == nil && !st.Beat.Paths[0].Hears && st.Beat.Paths[1].Hears
	}))
	cut := time.Now()
	s.must(hatest.Until(s.ctx, func() bool { return time.Since(cut) > 4*time.Second })) // past every dead interval
	stayed()
	s.must(s.lab.Node("b").Join())
	b.role("standby")
	s.noDual()
}

// Facts section 3, case 5: heartbeats come through in one direction only, as behind a firewall with a mistake. The node that hears nothing finds the
// address in use, and says so; nothing moves.
func TestCase05OneDirectionIsLost(t *testing.T) {
	s := start(t)
	a, b := s.beating("")
	stayed := stays(a, b)
	for _, to := range []string{s.lab.Node("b").Addr.String(), "192.168.77.2"} {
		s.run("a", "ip", "route", "add", "blackhole", to+"/32")
	}
	s.must(hatest.Until(s.ctx, func() bool { return len(b.web().Alarms) > 0 }))
	if alarm := b.web().Alarms[0]; !strings.Contains(alarm, "address: ") {
		t.Errorf("b says %s", alarm)
	}
	stayed()
	s.held("a")
	s.noDual()
}

// An agent that is replaced in place says so, and stays what it was.
func TestHeartbeatThroughARestartInPlace(t *testing.T) {
	s := start(t)
	a, b := s.beating("")
	stayed := stays(a, b)
	for _, x := range []*agent{b, a} {
		if out, err := x.ask("restart"); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		s.must(hatest.Until(s.ctx, func() bool {
			st, err := x.status()
			return err == nil && st.Loop.Restart == 1 && st.Groups[0].Decides == "heartbeat" && st.Beat != nil && st.Beat.Alive
		}))
	}
	a.role("active")
	b.role("standby")
	stayed()
	s.held("a")
	s.noDual()
}

// More than 32 addresses have longer leases (lease.md), and the other node waits for those.
func TestMoreThan32AddressesAreNotTakenTooEarly(t *testing.T) {
	s := start(t)
	a, b := s.beating("probe = false\n") // only the time says that the lease is over
	var list strings.Builder
	fmt.Fprintf(&list, "addresses = [%q", s.vip)
	for i := range 40 {
		fmt.Fprintf(&list, ", \"10.77.1.%d\"", i+1)
	}
	for _, x := range []*agent{b, a} {
		own, err := os.ReadFile(filepath.Join(x.root, "etc/kvmha.toml"))
		s.must(err)
		x.write(strings.Replace(string(own), fmt.Sprintf("addresses = [%q", s.vip), list.String(), 1))
		if _, talk, err := x.tell("reload"); err != nil {
			t.Fatal(talk)
		}
	}
	s.must(hatest.Until(s.ctx, func() bool {
		here, there := a.web(), b.web()
		return here.Role == "active" && len(here.Addresses) == 41 && here.Addresses[40].Held && there.Role == "standby" && len(there.Addresses) == 41 &&
			there.Decides == "heartbeat"
	}))
	s.held("a")
	a.ticks()
	s.must(a.Kill())
	b.role("active")
	s.held("b")
	s.noDual()
}
