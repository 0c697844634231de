package link_test

import (
	"context"
	"errors"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"kvmctl/ha/carp"
	"kvmctl/ha/hatest"
	"kvmctl/ha/link"
	"kvmctl/internal/testenv"
)

func openPort(t *testing.T, n *hatest.Node) *link.Port {
	t.Helper()
	p := on(t, n, func() (*link.Port, error) { return link.OpenPort("eth0") })
	t.Cleanup(func() { p.Close() })
	return p
}

func TestAProbeIsAnsweredByWhoHasTheAddress(t *testing.T) {
	t.Parallel()
	testenv.Need(t, testenv.Netns)
	lab := hatest.Start(t, "a", "b")
	a, b := lab.Node("a"), lab.Node("b")
	p := openPort(t, a)
	v4, v6 := hatest.Shared(0)
	for _, addr := range []netip.Addr{v4, v6} {
		begin := time.Now()
		if mac, taken, err := p.Probe(t.Context(), addr, 300*time.Millisecond); taken || err != nil {
			t.Errorf("nobody has %s: %v, error %v", addr, mac, err)
		}
		if took := time.Since(begin); took < 250*time.Millisecond || took > 2*time.Second {
			t.Errorf("it took %v, want 0.3 s", took)
		}
		if err := b.AddAddr(netip.PrefixFrom(addr, addr.BitLen())); err != nil {
			t.Fatal(err)
		}
		eventually(t, "b answers", func() bool { // to IPv6 as soon as its kernel has joined the group
			mac, taken, err := p.Probe(t.Context(), addr, 300*time.Millisecond)
			if err != nil || taken && mac.String() != b.MAC.String() {
				t.Errorf("%s: %v, %v, error %v, want %v", addr, mac, taken, err, b.MAC)
			}
			return taken
		})
		if _, taken, err := p.Probe(t.Context(), addr, 100*time.Millisecond, link.MAC(b.MAC)); taken || err != nil {
			t.Errorf("one of ours: %v, error %v", taken, err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if _, _, err := p.Probe(ctx, addr, patience); !errors.Is(err, context.Canceled) {
			t.Errorf("called off: error %v", err)
		}
	}
	if out, err := a.Command(t.Context(), "ip", "link", "set", "eth0", "down").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if _, _, err := p.Probe(t.Context(), v4, patience); !errors.Is(err, link.ErrDown) {
		t.Errorf("on an interface that is down: error %v", err)
	}
}

func TestAnAnnouncementMovesTheClientAtOnce(t *testing.T) {
	t.Parallel()
	testenv.Need(t, testenv.Netns)
	for n, name := range []string{"IPv4", "IPv6"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			lab := hatest.Start(t, "a", "b")
			a, b := lab.Node("a"), lab.Node("b")
			v4, v6 := hatest.Shared(0)
			addr := []netip.Addr{v4, v6}[n]
			ours := netip.PrefixFrom(addr, addr.BitLen())
			p := openPort(t, b)
			if err := a.AddAddr(ours); err != nil {
				t.Fatal(err)
			}
			probe, err := lab.Probe(addr)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := probe.From(within(t, patience), "a", time.Now()); err != nil {
				t.Fatal(err)
			}
			if err := errors.Join(a.DelAddr(ours), b.AddAddr(ours)); err != nil {
				t.Fatal(err)
			}
			event := time.Now()
			if took, err := probe.From(within(t, 300*time.Millisecond), "b", event); err == nil {
				t.Fatalf("the client moved by itself after %v: this shows nothing", took)
			}
			event = time.Now()
			if err := p.Announce(p.MAC(), addr, false); err != nil {
				t.Fatal(err)
			}
			took, err := probe.From(within(t, patience), "b", event)
			if err != nil || took > time.Second {
				t.Errorf("moved after %v, error %v", took, err)
			}
			t.Logf("moved after %v", took)
		})
	}
}

func openCARP(t *testing.T, n *hatest.Node) *link.CARPSocket {
	t.Helper()
	c := on(t, n, func() (*link.CARPSocket, error) { return link.OpenCARP("eth0") })
	t.Cleanup(func() { c.Close() })
	return c
}

func receive(t *testing.T, c *link.CARPSocket, d time.Duration) (carp.Frame, error) {
	t.Helper()
	buf := make([]byte, 2048)
	n, err := c.Receive(within(t, d), buf)
	if err != nil {
		return carp.Frame{}, err
	}
	f, err := carp.ParseFrame(buf[:n])
	if err != nil {
		t.Fatal(err)
	}
	return f, nil
}

func TestAdvertsOfUCARPComeIn(t *testing.T) {
	t.Parallel()
	testenv.Need(t, testenv.Netns, "ucarp", "ip")
	lab := hatest.Start(t, "a", "b")
	a, b := lab.Node("a"), lab.Node("b")
	c := openCARP(t, a)
	vip, _ := hatest.Shared(0)
	if _, err := b.UCARP(hatest.UCARP{VHID: 42, Addr: vip, Password: "tpri", Skew: 3}); err != nil {
		t.Fatal(err)
	}
	f, err := receive(t, c, patience)
	if err != nil {
		t.Fatal(err)
	}
	if f.SrcMAC != carp.UCARPMAC(42) || f.Src != b.Addr || f.Dst != carp.Group4 || f.TTL != 255 || f.Advert.VHID != 42 || f.Advert.Skew != 3 {
		t.Errorf("%+v", f)
	}
}

func TestFramesGoOutAndComeIn(t *testing.T) {
	t.Parallel()
	testenv.Need(t, testenv.Netns)
	lab := hatest.Start(t, "a", "b")
	a, b := lab.Node("a"), lab.Node("b")
	from, to := openCARP(t, a), openCARP(t, b)
	if from.MAC().String() != a.MAC.String() {
		t.Errorf("MAC %v, want %v", from.MAC(), a.MAC)
	}
	advert := carp.Advert{VHID: 42, Base: 1, Counter: 7}
	for _, f := range []carp.Frame{
		carp.NewFrame(advert, carp.VirtualMAC(42), a.Addr, carp.Group4),
		carp.NewFrame(advert, carp.UCARPMAC(42), a.Addr, carp.Group4),
		carp.NewFrame(advert, carp.VirtualMAC(42), a.Addr6, carp.Group6),
	} {
		frame := f.Append(nil)
		if err := from.Send(frame); err != nil {
			t.Fatal(err)
		}
		got, err := receive(t, to, patience)
		if err != nil || string(got.Append(nil)) != string(frame) {
			t.Errorf("%+v, error %v, want %+v", got, err, f)
		}
	}
	// Its own frames do not come back: the next that it hears is the other's.
	if err := to.Send(carp.NewFrame(carp.Advert{VHID: 9, Base: 1}, carp.VirtualMAC(9), b.Addr, carp.Group4).Append(nil)); err != nil {
		t.Fatal(err)
	}
	if got, err := receive(t, from, patience); err != nil || got.Advert.VHID != 9 {
		t.Errorf("%+v, error %v, want the other's", got, err)
	}
	// A socket that is handed over keeps what has come meanwhile.
	f, err := to.File()
	if err != nil {
		t.Fatal(err)
	}
	if err := from.Send(carp.NewFrame(carp.Advert{VHID: 10, Base: 1}, carp.VirtualMAC(10), a.Addr, carp.Group4).Append(nil)); err != nil {
		t.Fatal(err)
	}
	to.Close()
	next := on(t, b, func() (*link.CARPSocket, error) { return link.AdoptCARP(f, "eth0") })
	t.Cleanup(func() { next.Close() })
	if got, err := receive(t, next, patience); err != nil || got.Advert.VHID != 10 {
		t.Errorf("%+v, error %v, want what was sent in between", got, err)
	}
	// Nobody waits when the interface is down, and it goes on afterwards.
	set := func(state string) {
		t.Helper()
		if out, err := a.Command(t.Context(), "ip", "link", "set", "eth0", state).CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
	}
	frame := carp.NewFrame(carp.Advert{VHID: 11, Base: 1}, carp.VirtualMAC(11), a.Addr, carp.Group4).Append(nil)
	set("down")
	if err := from.Send(frame); !errors.Is(err, link.ErrDown) {
		t.Errorf("down: error %v", err)
	}
	if _, err := receive(t, from, patience); !errors.Is(err, link.ErrDown) {
		t.Errorf("down: error %v", err)
	}
	set("up")
	eventually(t, "frames pass again", func() bool { // the bridge needs a moment
		if err := from.Send(frame); err != nil {
			t.Errorf("up again: error %v", err)
		}
		got, err := receive(t, next, 20*time.Millisecond)
		return err == nil && got.Advert.VHID == 11
	})
	for err == nil { // all that were sent meanwhile
		_, err = receive(t, next, 50*time.Millisecond)
	}
	if _, err := receive(t, next, 20*time.Millisecond); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("silence: error %v", err)
	}
}

func TestWatch(t *testing.T) {
	t.Parallel()
	testenv.Need(t, testenv.Netns, "ip")
	lab := hatest.Start(t, "a")
	a := lab.Node("a")
	w := on(t, a, link.Watch)
	t.Cleanup(func() { w.Close() })
	wait := func(what string, match func(link.Event) bool) {
		t.Helper()
		timeout := time.After(patience)
		for {
			select {
			case e, ok := <-w.Events:
				if !ok {
					t.Fatal(w.Err())
				}
				if match(e) {
					return
				}
			case <-timeout:
				t.Fatalf("no event: %s", what)
			}
		}
	}
	state := func(carrier, gone bool) func(link.Event) bool {
		return func(e link.Event) bool {
			s, ok := e.(link.State)
			return ok && s.Interface == "eth0" && s.Carrier == carrier && s.Gone == gone
		}
	}
	run := func(argv ...string) {
		t.Helper()
		if out, err := a.Command(t.Context(), argv...).CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
	}
	wait("as it is", state(true, false))
	if err := a.Unplug(); err != nil {
		t.Fatal(err)
	}
	wait("the cable is out", state(false, false))
	if err := a.Plug(); err != nil {
		t.Fatal(err)
	}
	wait("the cable is in", state(true, false))
	v4, v6 := hatest.Shared(0)
	l := leases(t, a)
	for _, addr := range []netip.Addr{v4, v6} {
		p := netip.PrefixFrom(addr, addr.BitLen())
		run("ip", "addr", "add", p.String(), "dev", "eth0")
		wait("added", func(e link.Event) bool {
			x, ok := e.(link.AddressAdded)
			return ok && x.Prefix == p && x.Interface == "eth0" && !x.Leased
		})
		run("ip", "addr", "del", p.String(), "dev", "eth0")
		wait("removed", func(e link.Event) bool { x, ok := e.(link.AddressRemoved); return ok && x.Prefix == p })
		// A refresh is no event, the end is.
		if err := l.Take(t.Context(), "eth0", addr); err != nil {
			t.Fatal(err)
		}
		eventually(t, "it was refreshed", func() bool {
			if _, err := l.Turn(time.Second); err != nil {
				t.Error(err)
			}
			return l.Held()[0].Since.After(l.Held()[0].Since.Add(-time.Second)) && boottime().Sub(l.Held()[0].Since) < 100*time.Millisecond
		})
		added := 0
		wait("ended", func(e link.Event) bool {
			if x, ok := e.(link.AddressAdded); ok && x.Prefix == p {
				added++
			}
			x, ok := e.(link.AddressRemoved)
			return ok && x.Prefix == p && x.Leased
		})
		if added != 1 {
			t.Errorf("%s was added %d times, want once", p, added)
		}
		if _, err := l.Turn(0); err != nil {
			t.Error(err)
		}
	}
	run("ip", "link", "set", "eth0", "down")
	run("ip", "link", "set", "eth0", "name", "lan0")
	wait("its name is gone", state(false, true))
	run("ip", "link", "del", "lan0")
	wait("gone", func(e link.Event) bool { s, ok := e.(link.State); return ok && s.Interface == "lan0" && s.Gone })
	if err := w.Close(); err != nil {
		t.Error(err)
	}
}

func TestTooManyEventsAreARescan(t *testing.T) {
	t.Parallel()
	testenv.Need(t, testenv.Netns, "ip")
	a := hatest.Start(t, "a").Node("a")
	w := on(t, a, link.Watch)
	t.Cleanup(func() { w.Close() })
	// Nobody reads while some 20,000 events come.
	var batch strings.Builder
	for range 10_000 {
		batch.WriteString("addr add 10.79.0.1/32 dev eth0\naddr del 10.79.0.1/32 dev eth0\n")
	}
	batch.WriteString("link set eth0 down\n")
	c := a.Command(t.Context(), "ip", "-force", "-batch", "-")
	c.Stdin = strings.NewReader(batch.String())
	if out, err := c.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	timeout := time.After(patience)
	rescan := false
	for {
		select {
		case e, ok := <-w.Events:
			if !ok {
				t.Fatal(w.Err())
			}
			if _, is := e.(link.Rescan); is {
				rescan = true
			}
			if s, is := e.(link.State); is && rescan && s.Interface == "eth0" && !s.Up {
				return
			}
		case <-timeout:
			t.Fatalf("no state of eth0 after the flood; rescan %v", rescan)
		}
	}
}

func TestVMAC(t *testing.T) {
	t.Parallel()
	testenv.Need(t, testenv.Netns, "ip")
	lab := hatest.Start(t, "a", "b")
	a := lab.Node("a")
	ctx := t.Context()
	ignore := func() string {
		return on(t, a, func() (string, error) {
			b, err := os.ReadFile("/proc/sys/net/ipv4/conf/eth0/arp_ignore")
			c, errAnnounce := os.ReadFile("/proc/sys/net/ipv4/conf/eth0/arp_announce")
			return strings.TrimSpace(string(b)) + " " + strings.TrimSpace(string(c)), errors.Join(err, errAnnounce)
		})
	}
	ensure := func(vhid uint8) string {
		return on(t, a, func() (string, error) { return link.EnsureVMAC(ctx, "eth0", vhid) })
	}
	for range 2 {
		if name := ensure(42); name != "kvha42" {
			t.Errorf("name %q", name)
		}
	}
	ensure(43)
	l := leases(t, a)
	v4, v6 := hatest.Shared(0)
	stop := keep(l)
	p := openPort(t, lab.Node("b"))
	for _, addr := range []netip.Addr{v4, v6} {
		if err := l.Take(ctx, "kvha42", addr); err != nil {
			t.Fatal(err)
		}
		// Everybody who asks hears the virtual MAC, and only that; the client gets its answers.
		eventually(t, "somebody answers", func() bool {
			mac, taken, err := p.Probe(ctx, addr, 300*time.Millisecond)
			if err != nil || taken && mac != carp.VirtualMAC(42) {
				t.Errorf("%s is at %v, %v, error %v", addr, mac, taken, err)
			}
			return taken
		})
		if mac, taken, err := p.Probe(ctx, addr, 300*time.Millisecond, carp.VirtualMAC(42)); err != nil || taken {
			t.Errorf("%s is at %v, too, error %v", addr, mac, err)
		}
		probe, err := lab.Probe(addr)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := probe.From(within(t, patience), "a", time.Now()); err != nil {
			t.Error(err)
		}
		probe.Stop()
	}
	if lost := stop(); len(lost) > 0 {
		t.Errorf("lost %v", lost)
	}
	if got := ignore(); got != "1 2" {
		t.Errorf("arp_ignore and arp_announce of eth0 are %s", got)
	}
	for i, vhid := range []uint8{42, 43, 43} {
		if err := a.Do(func() error { return link.RemoveVMAC(ctx, vhid) }); err != nil {
			t.Fatal(err)
		}
		if got, want := ignore(), []string{"1 2", "0 0", "0 0"}[i]; got != want {
			t.Errorf("after the end of %d arp_ignore and arp_announce of eth0 are %s, want %s", vhid, got, want)
		}
	}
	if own := on(t, a, func() ([]link.VMAC, error) { return link.OwnVMACs(ctx) }); len(own) > 0 {
		t.Errorf("left: %v", own)
	}
	// What has the name and is not ours stays.
	if out, err := a.Command(ctx, "ip", "link", "add", "kvha42", "link", "eth0", "type", "macvlan").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if err := a.Do(func() error { _, err := link.EnsureVMAC(ctx, "eth0", 42); return err }); !errors.Is(err, os.ErrExist) {
		t.Errorf("over another's: error %v", err)
	}
	if err := a.Do(func() error { return link.RemoveVMAC(ctx, 42) }); err != nil {
		t.Error(err)
	}
	if err := a.Do(func() error { _, err := link.Lookup("kvha42"); return err }); err != nil {
		t.Errorf("another's was removed: %v", err)
	}
}
