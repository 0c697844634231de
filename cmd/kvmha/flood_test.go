package main

import (
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"kvmctl/ha/carp"
	"kvmctl/ha/hatest"
	"kvmctl/ha/link"
)

// sends gives the client a function that sends frames.
func (s *site) sends() func([]byte) {
	s.t.Helper()
	var port *link.CARPSocket
	s.must(s.lab.Client.Do(func() (err error) { port, err = link.OpenCARP("eth0"); return err }))
	s.t.Cleanup(func() { port.Close() })
	return func(frame []byte) {
		if err := port.Send(frame); err != nil {
			s.t.Error(err)
		}
	}
}

// resident is the memory that a process has, in MiB (proc(5), VmRSS).
func resident(t *testing.T, pid int) int {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "status"))
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(text), "VmRSS:")
	kib, err := strconv.Atoi(strings.Fields(rest)[0])
	if err != nil {
		t.Fatal(err)
	}
	return kib / 1024
}

// byKVMHA is a group whose peer is another agent.
func byKVMHA(text string) string { return strings.Replace(text, `peer = "ucarp"`, `peer = "kvmha"`, 1) }

// Case 10: one frame of the master's, sent again for 10 s to it and to its standby, by somebody without the key: nobody changes its role.
func TestCase10AFrameIsReplayed(t *testing.T) {
	s := start(t)
	send := s.sends()
	sniffer, err := s.lab.Node("a").Sniff(hatest.Advert)
	s.must(err)
	a := s.agent("a", byKVMHA(group("web", s.vip, 0, "")))
	a.role("active")
	b := s.agent("b", byKVMHA(group("web", s.vip, 100, "")))
	b.role("standby")
	var heard uint64
	s.must(hatest.Until(s.ctx, func() bool { heard = b.web().CARP.Received; return heard > 1 }))
	frames := sniffer.Stop()
	captured := frames[len(frames)-1].Raw
	for end := time.Now().Add(10 * time.Second); time.Now().Before(end); <-time.After(5 * time.Millisecond) {
		send(captured)
	}
	for _, n := range []*agent{a, b} {
		c := n.web().CARP
		t.Logf("%s: %+v", n.node.Name, c)
		if lines := strings.Count(n.Output(), `msg="packets not obeyed"`); lines > 1 {
			t.Errorf("%d lines about it on %s", lines, n.node.Name)
		}
	}
	if b.web().CARP.Rejected["replayed"] == 0 {
		t.Error("b has not noticed it")
	}
	s.held("a")
	a.wentThrough("starting>standby standby>promoting promoting>active")
	b.wentThrough("starting>standby")
	s.noDual()
}

// Case 10: forged adverts as fast as one sender can. The agent's own stamps count: whoever listened beside it would lose frames.
func TestCase10AFloodOfForgedAdverts(t *testing.T) {
	s := start(t)
	send := s.sends()
	sniffer, err := s.lab.Node("a").Sniff(hatest.Advert)
	s.must(err)
	a := s.agent("a", group("web", s.vip, 0, ""))
	a.role("active")
	captured, err := sniffer.Wait(s.ctx, 1, hatest.Advert)
	s.must(err)
	sniffer.Stop()
	before, sent := resident(t, a.Pid()), a.web().CARP.Sent
	f, err := carp.ParseFrame(captured.Raw)
	s.must(err)
	f.Src, f.SrcMAC = s.lab.Client.Addr, carp.MAC(s.lab.Client.MAC)
	forged := f.Append(nil)
	random := rand.New(rand.NewPCG(1, 2))
	n := 0
	for end := time.Now().Add(4 * time.Second); time.Now().Before(end); n++ {
		switch n % 3 {
		case 0, 1: // another counter, and so a digest of nobody's
			f.Advert.Counter = random.Uint64()
			forged = f.Append(forged[:0])
		case 2: // anything behind the headers
			for i := 34; i < len(forged); i++ {
				forged[i] = byte(random.Uint32())
			}
		}
		send(forged)
	}
	after, g := resident(t, a.Pid()), a.web()
	st, err := a.status()
	s.must(err)
	t.Logf("%d frames; %d adverts, %.0f ms late at most, a turn of the loop %.0f ms apart; %d MiB before, %d after; %v", n, g.CARP.Sent-sent,
		1000*g.CARP.Late, 1000*st.Loop.Longest, before, after, g.CARP.Rejected)
	if g.CARP.Sent-sent < 3 || g.CARP.Late > 1 {
		t.Errorf("adverts are late: %+v", g.CARP)
	}
	if after > before+64 {
		t.Errorf("%d MiB more", after-before)
	}
	if lines := strings.Count(a.Output(), `msg="packets not obeyed"`); lines != 1 {
		t.Errorf("%d lines about it within a minute, want 1", lines)
	}
	if g.CARP.Rejected["digest"] == 0 {
		t.Errorf("none came: %v", g.CARP.Rejected)
	}
	a.wentThrough("starting>standby standby>promoting promoting>active")
	s.held("a")
}

// Case 15: a start script that burns a core holds up no advert.
func TestCase15ABusyScriptAdvertsAreOnTime(t *testing.T) {
	s := start(t)
	a := s.agent("a", group("web", s.vip, 0, command("busy", "end=$(($(date +%s)+5)); while [ $(date +%s) -lt $end ]; do :; done", "true")))
	a.role("promoting")
	s.must(hatest.Until(s.ctx, func() bool { return a.web().CARP.Sent >= 4 }))
	a.role("active")
	g := a.web()
	t.Logf("%d adverts, %.0f ms late at most", g.CARP.Sent, 1000*g.CARP.Late)
	if g.CARP.Late > 1 {
		t.Errorf("an advert was %.1f s late", g.CARP.Late)
	}
}
