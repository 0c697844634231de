package carp_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"kvmctl/ha/carp"
	"kvmctl/ha/hatest"
	"kvmctl/ha/link"
	"kvmctl/internal/testenv"
)

const (
	vhid     = 42
	password = "tpri"
)

// shell runs a machine on a node of the lab, with a group that is ready at once: the least that can be done with its effects.
type shell struct {
	t      *testing.T
	node   *hatest.Node
	socket *link.CARPSocket
	filter *carp.Filter
	vip    netip.Prefix
	mac    carp.MAC
	frames chan []byte
	orders chan carp.Input
	quit   context.CancelFunc
	all    sync.WaitGroup

	mu      sync.Mutex
	machine *carp.Machine
	log     []string
}

// run starts a shell with an advskew and a password; it preempts.
func run(t *testing.T, n *hatest.Node, skew int, password string) *shell {
	t.Helper()
	vip, _ := hatest.Shared(0)
	auth, err := carp.NewAuth(password, vhid, []netip.Addr{vip})
	if err != nil {
		t.Fatal(err)
	}
	cfg := carp.Config{VHID: vhid, Base: 1, Skew: skew, DeadRatio: 3, Profile: carp.UCARP, Source: n.Addr, Authoritative: true, Random: rand.Uint64}
	if err := cfg.Validate([]netip.Addr{vip}); err != nil {
		t.Fatal(err)
	}
	s := &shell{t: t, node: n, vip: netip.PrefixFrom(vip, 32), mac: carp.VirtualMAC(vhid), frames: make(chan []byte, 64), orders: make(chan carp.Input),
		filter: &carp.Filter{VHID: vhid, Auth: auth, Self: []netip.Addr{n.Addr}}, machine: carp.New(cfg, time.Now())}
	if err := n.Do(func() (err error) { s.socket, err = link.OpenCARP(n.Interface); return err }); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	s.quit = cancel
	s.all.Go(func() {
		buf := make([]byte, 128)
		for ctx.Err() == nil {
			if n, err := s.socket.Receive(ctx, buf); err == nil {
				s.frames <- append([]byte(nil), buf[:n]...)
			}
		}
	})
	s.all.Go(func() { s.loop(ctx) })
	t.Cleanup(func() {
		s.stop()
		if err := s.socket.Close(); err != nil {
			t.Error(err)
		}
		if t.Failed() {
			t.Logf("%s:\n%v", n.Name, s.lines())
		}
	})
	s.orders <- carp.Allow{Preempt: true}
	return s
}

// stop is a crash: it says nothing.
func (s *shell) stop() {
	s.quit()
	s.all.Wait()
}

func (s *shell) loop(ctx context.Context) {
	for {
		var due <-chan time.Time
		if next := s.facts(func(m *carp.Machine) time.Time { return m.Next() }); !next.IsZero() {
			due = time.After(time.Until(next))
		}
		select {
		case in := <-s.orders:
			s.step(in)
		case f := <-s.frames:
			if in, ok := s.filter.Input(f); ok {
				s.step(in)
			}
		case <-due:
			s.step(carp.Turn{})
		case <-ctx.Done():
			return
		}
	}
}

func (s *shell) step(in carp.Input) {
	s.mu.Lock()
	now := time.Now()
	effects := s.machine.Step(now, in)
	for _, e := range effects {
		s.log = append(s.log, fmt.Sprintf("%s %v", now.Format("05.000"), e))
	}
	s.mu.Unlock()
	for _, e := range effects {
		switch e := e.(type) {
		case carp.Send:
			s.filter.Auth.Sign(&e.Advert)
			err := s.socket.Send(carp.NewFrame(e.Advert, s.mac, s.node.Addr, carp.Group4).Append(nil))
			s.step(carp.SendResult{Failed: err != nil})
		case carp.Elected:
			s.step(carp.Ready{})
			if err := s.node.AddAddr(s.vip); err != nil {
				s.t.Error(err)
			}
		case carp.Deposed:
			if err := s.node.DelAddr(s.vip); err != nil {
				s.t.Error(err)
			}
		case carp.Misconfigured:
			s.step(carp.Silence{})
		}
	}
}

func (s *shell) facts(f func(m *carp.Machine) time.Time) time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	return f(s.machine)
}

func (s *shell) now() carp.Facts {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.machine.Facts()
}

func (s *shell) lines() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]string(nil), s.log...)
}

// await waits at most 20 s for a fact.
func await(t *testing.T, what string, fact func() bool) time.Time {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	if err := hatest.Until(ctx, fact); err != nil {
		t.Fatalf("%s: %v", what, err)
	}
	return time.Now()
}

func (s *shell) is(state carp.State) func() bool {
	return func() bool { return s.now().State == state }
}

func holds(t *testing.T, n *hatest.Node) func() bool {
	vip, _ := hatest.Shared(0)
	return func() bool {
		has, err := n.Holds(vip)
		if err != nil {
			t.Error(err)
		}
		return has
	}
}

func ucarp(t *testing.T, n *hatest.Node, skew int, password string) *hatest.Process {
	t.Helper()
	vip, _ := hatest.Shared(0)
	p, err := n.UCARP(hatest.UCARP{VHID: vhid, Addr: vip, Password: password, Skew: skew, Preempt: true})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// kvmha is preferred: ucarp gives way; it takes over from one that crashed, and in less than 0.9 s (and half a second for a busy machine) from one
// that bows out.
func TestUCARPBacksKVMHA(t *testing.T) {
	t.Parallel()
	testenv.Need(t, testenv.Netns, "ip", "ucarp")
	lab := hatest.Start(t, "a", "b")
	a, b := lab.Node("a"), lab.Node("b")
	peer := ucarp(t, b, 100, password)
	await(t, "ucarp is master", holds(t, b))
	s := run(t, a, 0, password)
	await(t, "preempt", s.is(carp.Master))
	await(t, "ucarp gives way", func() bool { return !holds(t, b)() })

	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	sniffer, err := a.Sniff(hatest.Advert)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := sniffer.Wait(ctx, 2, hatest.Advert); err != nil { // ucarp has heard them
		t.Fatal(err)
	}
	if err := a.DelAddr(s.vip); err != nil {
		t.Fatal(err)
	}
	said := time.Now()
	s.orders <- carp.Release{}
	took := await(t, "ucarp obeys the bow-out", holds(t, b)).Sub(said)
	t.Logf("ucarp took over %v after the bow-out", took)
	if took > 1400*time.Millisecond {
		t.Errorf("ucarp took over %v after the bow-out", took)
	}
	await(t, "ucarp is heard", func() bool { return s.now().Peer.Advert.Skew == 100 && s.now().State == carp.Backup })
	s.orders <- carp.Allow{Preempt: true}
	await(t, "failback", s.is(carp.Master))
	await(t, "ucarp gives way again", func() bool { return !holds(t, b)() })

	s.stop() // crashed
	if err := a.DelAddr(s.vip); err != nil {
		t.Fatal(err)
	}
	await(t, "ucarp takes over from the dead", holds(t, b))
	if err := peer.Kill(); err != nil {
		t.Fatal(err)
	}
}

// A partition heals: both are masters. kvmha answers the worse one's advert in the very step that heard it, ucarp obeys the answer as any advert,
// and what it says when it yields begins no conversation.
func TestUCARPYieldsToAnAnswer(t *testing.T) {
	t.Parallel()
	testenv.Need(t, testenv.Netns, "ip", "ucarp")
	lab := hatest.Start(t, "a", "b")
	a, b := lab.Node("a"), lab.Node("b")
	s := run(t, a, 0, password)
	await(t, "kvmha is master", s.is(carp.Master))
	if err := b.Cut(); err != nil {
		t.Fatal(err)
	}
	ucarp(t, b, 100, password)
	await(t, "ucarp is master on its side", holds(t, b))
	before := s.now()
	if err := b.Join(); err != nil {
		t.Fatal(err)
	}
	await(t, "ucarp gives way", func() bool { return !holds(t, b)() })
	took := s.now()
	await(t, "three adverts of ours more", func() bool { return s.now().Sent >= took.Sent+3 })
	if f := s.now(); f.State != carp.Master || f.Since != before.Since {
		t.Errorf("%+v", f)
	}
	answers := 0
	var last string
	for _, l := range s.lines() {
		at, what, _ := strings.Cut(l, " ")
		if what == "announce against "+b.Addr.String() {
			if last != at+" send advert 1/0" {
				t.Errorf("%q follows %q, not an answer", l, last)
			}
			answers++
		}
		last = l
	}
	if answers < 1 || answers > 3 {
		t.Errorf("%d answers: %v", answers, s.lines())
	}
}

// ucarp is preferred: kvmha stands by, takes over when it is killed, at the very time that CARP says, and gives way when it is back.
func TestKVMHABacksUCARP(t *testing.T) {
	t.Parallel()
	testenv.Need(t, testenv.Netns, "ip", "ucarp")
	lab := hatest.Start(t, "a", "b")
	a, b := lab.Node("a"), lab.Node("b")
	peer := ucarp(t, b, 0, password)
	await(t, "ucarp is master", holds(t, b))
	s := run(t, a, 100, password)
	await(t, "three adverts heard", func() bool { return s.now().Received >= 3 })
	if f := s.now(); f.State != carp.Backup || f.Peer.From != b.Addr || f.Peer.MAC != carp.UCARPMAC(vhid) {
		t.Fatalf("%+v", f)
	}
	if err := peer.Kill(); err != nil {
		t.Fatal(err)
	}
	if err := b.DelAddr(s.vip); err != nil { // ucarp leaves it
		t.Fatal(err)
	}
	await(t, "takeover", s.is(carp.Master))
	f := s.now()
	if took := f.Since.Sub(f.Heard); took < 3390625*time.Microsecond || took > 5*time.Second { // when to the millisecond, the tables of the machine say
		t.Errorf("master %v after the last advert, want 3.39 s", took)
	}
	ucarp(t, b, 0, password)
	await(t, "failback", s.is(carp.Backup))
	await(t, "ucarp holds it", holds(t, b))
	await(t, "kvmha lets it go", func() bool { return !holds(t, a)() })
}

// Case 9 of facts 3: the passwords differ. kvmha starts beside a ucarp that is master: it says so, and there is no second master.
func TestAnotherPasswordMakesNoSecondMaster(t *testing.T) {
	t.Parallel()
	testenv.Need(t, testenv.Netns, "ip", "ucarp")
	lab := hatest.Start(t, "a", "b")
	a, b := lab.Node("a"), lab.Node("b")
	ucarp(t, b, 100, "toto")
	await(t, "ucarp is master", holds(t, b))
	s := run(t, a, 0, password)
	await(t, "the verdict", func() bool { return s.now().Misconfigured })
	if f := s.now(); f.Sent != 0 || f.Rejected[carp.BadDigest] < 3 || f.Received != 0 {
		t.Errorf("%+v", f)
	}
	if holds(t, a)() || !holds(t, b)() {
		t.Error("the address is not where it was")
	}
}

// Case 10: one frame of the preferred ucarp's is captured and sent again, as it was and changed, by somebody without the key. Changed ones are
// dropped. As it was it holds a standby back for as long as it is repeated, as with ucarp, and is reported; it makes nobody master.
func TestReplay(t *testing.T) {
	t.Parallel()
	testenv.Need(t, testenv.Netns, "ip", "ucarp")
	lab := hatest.Start(t, "a", "b")
	a, b := lab.Node("a"), lab.Node("b")
	peer := ucarp(t, b, 0, password)
	s := run(t, a, 100, password)
	await(t, "adverts heard", func() bool { return s.now().Received >= 2 })
	raw := carp.NewFrame(s.now().Peer.Advert, carp.UCARPMAC(vhid), b.Addr, carp.Group4)
	var stranger *link.CARPSocket
	if err := lab.Client.Do(func() (err error) { stranger, err = link.OpenCARP(lab.Client.Interface); return err }); err != nil {
		t.Fatal(err)
	}
	defer stranger.Close()
	send := func(f carp.Frame) {
		t.Helper()
		if err := stranger.Send(f.Append(nil)); err != nil {
			t.Fatal(err)
		}
	}
	gone, worse := raw, raw
	gone.Advert.Base, gone.Advert.Skew = 255, 255
	worse.Advert.Skew = 250
	send(gone)
	send(worse)
	await(t, "both are counted", func() bool { return s.now().Rejected[carp.Altered] == 2 })
	if st := s.now().State; st != carp.Backup {
		t.Fatalf("a changed advert makes it %v", st)
	}
	if err := peer.Kill(); err != nil {
		t.Fatal(err)
	}
	dead := time.Now()
	for n := uint64(1); time.Since(dead) < 5*time.Second; n++ { // longer than the dead time
		send(raw)
		await(t, "the replay is counted", func() bool { return s.now().Rejected[carp.Replayed] >= n })
		if st := s.now().State; st != carp.Backup {
			t.Fatalf("it is %v", st)
		}
		time.Sleep(500 * time.Millisecond) // the attacker's interval
	}
	await(t, "takeover when the replay ends", s.is(carp.Master))
	if f := s.now(); f.Since.Sub(f.Heard) < 3390625*time.Microsecond {
		t.Errorf("master %v after the last replay", f.Since.Sub(f.Heard))
	}
}
