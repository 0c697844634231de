package main

import (
	"fmt"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"kvmctl/ha/hatest"
)

// cpu gives what a process has used, in seconds (proc(5), fields 14 and 15 of stat, in ticks of 10 ms).
func cpu(t *testing.T, pid int) float64 {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		t.Fatal(err)
	}
	fields := strings.Fields(string(text[strings.LastIndexByte(string(text), ')')+1:]))
	user, err1 := strconv.Atoi(fields[11])
	system, err2 := strconv.Atoi(fields[12])
	if err1 != nil || err2 != nil {
		t.Fatal(err1, err2)
	}
	return float64(user+system) / 100
}

func TestTwoHundredGroups(t *testing.T) {
	s := start(t)
	var text strings.Builder
	addr := netip.MustParseAddr("10.77.1.1")
	for i := range 200 {
		text.WriteString(strings.Replace(group(fmt.Sprintf("g%d", i), addr, 0, ""), fmt.Sprintf("vhid = %d", vhid), fmt.Sprintf("vhid = %d", i+1), 1))
		addr = addr.Next()
	}
	a := s.agent("a", text.String())
	active := 0
	if err := hatest.Until(s.ctx, func() bool {
		st, err := a.status()
		active = 0
		for _, g := range st.Groups {
			if g.Role == "active" {
				active++
			}
		}
		return err == nil && active == 200
	}); err != nil {
		t.Fatalf("%d of 200 are active", active)
	}
	const span = 3 * time.Second
	before := cpu(t, a.Pid())
	<-time.After(span)
	used := cpu(t, a.Pid()) - before
	st, err := a.status()
	s.must(err)
	late := 0.0
	for _, g := range st.Groups {
		late = max(late, g.CARP.Late)
	}
	t.Logf("200 active groups: %.1f %% of a core; an advert was %.0f ms late at most, a turn of the loop %.0f ms apart", 100*used/span.Seconds(), 1000*late, 1000*st.Loop.Longest)
	if late > 2 {
		t.Errorf("an advert was %.1f s late", late)
	}
}

func TestVirtualMACMovesBetweenTwoAgents(t *testing.T) {
	s := start(t)
	more := "virtual_mac = true\n"
	kvmha := func(skew int) string {
		return strings.Replace(group("web", s.vip, skew, more), `peer = "ucarp"`, `peer = "kvmha"`, 1)
	}
	a := s.agent("a", kvmha(0))
	a.role("active")
	b := s.agent("b", kvmha(100))
	b.role("standby")
	s.answers("a", time.Now())
	if out, err := s.lab.Client.Command(s.ctx, "ip", "neigh", "show", s.vip.String()).Output(); err != nil || !strings.Contains(string(out), "00:00:5e:00:01:2a") {
		t.Errorf("the client learnt another MAC: %v %s", err, out)
	}
	if err := hatest.Until(s.ctx, func() bool {
		st, err := b.status()
		return err == nil && st.Groups[0].CARP.Heard != nil
	}); err != nil {
		t.Fatal("b never hears a")
	}
	stop := time.Now()
	s.must(a.Signal(unix.SIGTERM))
	took := s.answers("b", stop)
	t.Logf("handed over in %s", took)
	if took > time.Second {
		t.Errorf("the hand-over took %s", took)
	}
	s.noDual()
	if err := a.Wait(s.ctx); err != nil {
		t.Error(err)
	}
	if out, err := a.node.Command(s.ctx, "ip", "-o", "link").Output(); err != nil || strings.Contains(string(out), "kvha") {
		t.Errorf("it left its interface: %v %s", err, out)
	}
}
