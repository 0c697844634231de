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

	"kvmctl/ha/carp"
	"kvmctl/ha/hatest"
	"kvmctl/ha/link"
)

// ip runs ip(8) on the agent's node.
func (a *agent) ip(args ...string) {
	a.s.t.Helper()
	if out, err := a.node.Command(a.s.ctx, append([]string{"ip"}, args...)...).CombinedOutput(); err != nil {
		a.s.t.Fatalf("ip %s: %v: %s", args, err, out)
	}
}

// Whoever reads the agent's log may hang: a stopped pager, a journal that waits for its disk. Adverts and leases wait for nobody.
func TestNobodyReadsTheLog(t *testing.T) {
	s := start(t)
	path := filepath.Join(t.TempDir(), "log")
	s.must(unix.Mkfifo(path, 0o600))
	pipe, err := os.OpenFile(path, os.O_RDWR, 0)
	s.must(err)
	defer pipe.Close()
	if _, err := unix.FcntlInt(pipe.Fd(), unix.F_SETPIPE_SZ, 4096); err != nil {
		t.Fatal(err)
	}
	root, err := os.MkdirTemp("", "ha")
	s.must(err)
	t.Cleanup(func() { os.RemoveAll(root) })
	a := &agent{s: s, node: s.lab.Node("a"), root: root}
	a.write(group("web", s.vip, 0, ""))
	self, err := os.Executable()
	s.must(err)
	c := a.node.Command(context.Background(), "/bin/sh", "-c", fmt.Sprintf("exec %q --root %q run --debug 2>%q", self, root, path))
	c.Env = append(os.Environ(), asAgent+"=1")
	a.Process, err = a.node.StartCmd("kvmha", c)
	s.must(err)
	a.role("active")
	for range 40 { // each is a line of the log
		if out, err := a.ask("maintenance", "off"); err != nil {
			t.Fatal(out, err)
		}
	}
	a.role("active")
	s.held("a")
}

// Somebody else configures thousands of addresses beside many groups.
func TestThousandsOfForeignAddresses(t *testing.T) {
	s := start(t)
	var text strings.Builder
	addr := netip.MustParseAddr("10.77.1.1")
	const groups = 40
	for i := range groups {
		text.WriteString(strings.Replace(group(fmt.Sprintf("g%d", i), addr, 0, "probe = false\n"), fmt.Sprintf("vhid = %d", vhid), fmt.Sprintf("vhid = %d", i+1), 1))
		addr = addr.Next()
	}
	foreign := netip.MustParseAddr("10.88.0.1")
	file := filepath.Join(t.TempDir(), "batch")
	more := func() { // 2000 of them
		var batch strings.Builder
		for range 2000 {
			fmt.Fprintf(&batch, "addr add %s/16 dev eth0\n", foreign)
			foreign = foreign.Next()
		}
		s.must(os.WriteFile(file, []byte(batch.String()), 0o600))
		if out, err := s.lab.Node("a").Command(s.ctx, "ip", "-batch", file).CombinedOutput(); err != nil {
			t.Fatal(string(out), err)
		}
	}
	more()
	a := s.agent("a", text.String())
	all := func() bool {
		st, err := a.status()
		for _, g := range st.Groups {
			if g.Role != "active" {
				return false
			}
		}
		return err == nil
	}
	if err := hatest.Until(s.ctx, all); err != nil {
		t.Fatal("not all are active")
	}
	// All of them took their addresses in one turn: the first was not over when the last had its own.
	if st, err := a.status(); err != nil || st.Loop.Freezes > 0 {
		t.Errorf("after they were all elected at once: %+v %v", st.Loop, err)
	}
	begin := time.Now()
	more()
	t.Logf("2000 addresses more in %s", time.Since(begin))
	<-time.After(4 * time.Second)
	st, err := a.status()
	s.must(err)
	t.Logf("loop %+v, late %v", st.Loop, st.Groups[0].CARP.Late)
	if st.Loop.Longest > 1 || st.Loop.Freezes > 0 {
		t.Errorf("addresses are or were nearly lost: the loop stood still for %.1f s", st.Loop.Longest)
	}
	if !all() {
		t.Error("not all are active any more")
	}
	// The next program looks at all of it, too, before it refreshes anything.
	if out, err := a.ask("restart"); err != nil {
		t.Fatal(out, err)
	}
	if err := hatest.Until(s.ctx, func() bool { st, err = a.status(); return err == nil && st.Loop.Restart == 1 }); err != nil {
		t.Fatal("it did not come back")
	}
	<-time.After(time.Second)
	st, err = a.status()
	s.must(err)
	if st.Loop.Freezes > 0 || !all() {
		t.Errorf("after a restart in place: %+v", st.Loop)
	}
}

// The interface with CARP's MAC is removed, or set down, by somebody else.
func TestTheInterfaceOfTheVirtualMACIsTakenAway(t *testing.T) {
	for _, how := range []string{"removed", "down"} {
		t.Run(how, func(t *testing.T) {
			s := start(t)
			a := s.agent("a", strings.Replace(group("web", s.vip, 0, "virtual_mac = true\n"), `peer = "ucarp"`, `peer = "kvmha"`, 1))
			a.role("active")
			s.answers("a", time.Now())
			at := time.Now()
			if how == "removed" {
				a.ip("link", "del", "kvha42")
			} else {
				a.ip("link", "set", "kvha42", "down")
			}
			t.Logf("answers again %s after", s.answers("a", at.Add(100*time.Millisecond)))
			a.role("active")
		})
	}
}

// Adverts have to come from somewhere: without an address of its own a node cannot tell that it serves, and its peer takes over.
func TestTheAddressThatAdvertsComeFromVanishes(t *testing.T) {
	s, a := master(t, "")
	a.ip("addr", "del", netip.PrefixFrom(a.node.Addr, 24).String(), "dev", "eth0")
	s.held("b")
	a.ip("addr", "add", netip.PrefixFrom(a.node.Addr, 24).String(), "dev", "eth0")
	a.role("active") // which it prefers to be, as soon as it can say so
	s.held("a")
}

// A bridge takes another MAC with its ports; who knows the shared address by the old one finds nobody.
func TestTheMACOfTheInterfaceChanges(t *testing.T) {
	s, a := master(t, "")
	s.answers("a", time.Now())
	<-time.After(3 * time.Second) // what was announced at the promote is over, and the client sure of its neighbour
	at := time.Now()
	a.ip("link", "set", "eth0", "address", "02:00:00:77:00:99")
	took := s.answers("a", at.Add(10*time.Millisecond))
	t.Logf("answers again %s after", took)
	if took > 2*time.Second {
		t.Errorf("nobody answered for %s", took)
	}
	s.noDual()
}

// A hand-over that nobody takes ends after the dead interval, and whoever asked for it hears that.
func TestSwitchThatNobodyTakes(t *testing.T) {
	s := start(t)
	a := s.agent("a", group("web", s.vip, 0, ""))
	a.role("active")
	if out, err := a.ask("switch", "web", "--timeout", "500ms"); err == nil || !strings.Contains(err.Error(), "within 500ms; it goes on") {
		t.Errorf("switch in vain: %v %s", err, out)
	}
	a.role("standby")
	a.role("active")
	if out, err := a.ask("switch", "web"); err == nil || !strings.Contains(err.Error(), "nobody took it: it comes back here") {
		t.Errorf("switch: %v %s", err, out)
	}
	a.role("active")
}

// CARP signs neither base nor skew: one captured advert becomes a bow-out without the key, for a node that has not heard it itself. Who really
// serves answers for the address, and so it is not taken.
func TestAForgedBowOutMakesNoSecondOwner(t *testing.T) {
	s := start(t)
	kvmha := func(skew int) string {
		return strings.Replace(group("web", s.vip, skew, ""), `peer = "ucarp"`, `peer = "kvmha"`, 1)
	}
	sniffer, err := s.lab.Node("a").Sniff(hatest.Advert)
	s.must(err)
	a := s.agent("a", kvmha(0))
	a.role("active")
	captured, err := sniffer.Wait(s.ctx, 1, hatest.Advert)
	s.must(err)
	b := s.agent("b", kvmha(100))
	b.role("standby")
	var known uint64
	s.must(hatest.Until(s.ctx, func() bool {
		st, err := b.status()
		if err == nil {
			known = st.Groups[0].CARP.Received
		}
		return known > 0
	}))
	f, err := carp.ParseFrame(captured.Raw)
	s.must(err)
	f.Advert.Base, f.Advert.Skew = 255, 255
	s.must(s.lab.Client.Do(func() error {
		port, err := link.OpenCARP("eth0")
		if err != nil {
			return err
		}
		return errors.Join(port.Send(f.Append(nil)), port.Close())
	}))
	s.must(hatest.Until(s.ctx, func() bool {
		st, err := b.status()
		return err == nil && st.Groups[0].CARP.Received > known+3 // the forged one, and what the master said since
	}))
	s.noDual()
	s.held("a")
	a.role("active")
	if !strings.Contains(b.Output(), "the master bows out") {
		t.Errorf("it never came to b:\n%s", b.Output())
	}
}
