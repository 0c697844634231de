package hatest_test

import (
	"context"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"kvmctl/ha/hatest"
	"kvmctl/internal/testenv"
)

func within(t *testing.T, d time.Duration) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), d)
	t.Cleanup(cancel)
	return ctx
}

func TestAClientSeesWhoAnswersAndEveryoneWhoHolds(t *testing.T) {
	t.Parallel()
	testenv.Need(t, testenv.Netns, "ip")
	for n, name := range []string{"IPv4", "IPv6"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			lab := hatest.Start(t, "a", "b")
			a, b := lab.Node("a"), lab.Node("b")
			v4, v6 := hatest.Shared(0)
			vip := []netip.Addr{v4, v6}[n]
			p := netip.PrefixFrom(vip, vip.BitLen())
			holders := lab.Holders(vip)
			probe, err := lab.Probe(vip)
			if err != nil {
				t.Fatal(err)
			}
			ctx := within(t, 20*time.Second)
			event := time.Now()
			if err := a.AddAddr(p); err != nil {
				t.Fatal(err)
			}
			if _, err := probe.From(ctx, "a", event); err != nil {
				t.Fatal(err)
			}
			if err := hatest.Until(ctx, func() bool { return strings.Join(holders.Now(), " ") == "a" }); err != nil {
				t.Fatalf("holders %v", holders.Now())
			}
			if err := b.AddAddr(p); err != nil {
				t.Fatal(err)
			}
			if err := hatest.Until(ctx, func() bool { return holders.Dual() > 50*time.Millisecond }); err != nil {
				t.Fatalf("two hold it, and the watch says %v", holders.Dual())
			}
			if err := a.Crash(); err != nil {
				t.Fatal(err)
			}
			if err := hatest.Until(ctx, func() bool { return strings.Join(holders.Now(), " ") == "b" }); err != nil {
				t.Fatalf("holders %v", holders.Now())
			}
			if out, err := lab.Client.Command(ctx, "ip", "neigh", "flush", "dev", "eth0").CombinedOutput(); err != nil {
				t.Fatalf("%v: %s", err, out) // nobody announced anything: it has a's MAC
			}
			dual := holders.Dual()
			event = time.Now()
			if _, err := probe.From(ctx, "b", event); err != nil {
				t.Fatal(err)
			}
			if err := holders.Stop(); err != nil || holders.Dual() != dual {
				t.Errorf("%v with two holders, was %v; error %v", holders.Dual(), dual, err)
			}
			probe.Stop()
		})
	}
}

func TestCables(t *testing.T) {
	t.Parallel()
	testenv.Need(t, testenv.Netns, "ip")
	lab := hatest.Start(t, "a")
	a := lab.Node("a")
	ctx := within(t, 20*time.Second)
	carrier := func() string {
		out, err := a.Command(ctx, "ip", "-o", "link", "show", "eth0").Output()
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(string(out), "NO-CARRIER") {
			return "down"
		}
		return "up"
	}
	probe, err := lab.Probe(a.Addr)
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range []struct {
		name    string
		act     func() error
		carrier string
		answers bool
	}{
		{"at first", func() error { return nil }, "up", true},
		{"cut", a.Cut, "up", false},
		{"joined", a.Join, "up", true},
		{"unplugged", a.Unplug, "down", false},
		{"plugged", a.Plug, "up", true},
	} {
		if err := s.act(); err != nil {
			t.Fatal(s.name, err)
		}
		after := time.Now()
		if err := hatest.Until(ctx, func() bool { return carrier() == s.carrier }); err != nil {
			t.Fatalf("%s: carrier %s", s.name, carrier())
		}
		if s.answers {
			if _, err := probe.From(ctx, "a", after); err != nil {
				t.Fatal(s.name, err)
			}
		} else if took, err := probe.From(within(t, 100*time.Millisecond), "a", after); err == nil {
			t.Errorf("%s: an answer after %v", s.name, took)
		}
	}
}

func TestTheEndOfALabIsTheEndOfItsPrograms(t *testing.T) {
	t.Parallel()
	testenv.Need(t, testenv.Netns)
	lab, err := hatest.New(t.TempDir(), "a")
	if err != nil {
		t.Fatal(err)
	}
	p, err := lab.Node("a").Start("sh", "sh", "-c", "trap '' TERM; setsid sleep 1000 & echo $!; wait")
	if err != nil {
		t.Fatal(err)
	}
	if err := hatest.Until(within(t, 10*time.Second), func() bool { return strings.HasSuffix(p.Output(), "\n") }); err != nil {
		t.Fatal(err)
	}
	if err := lab.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat("/proc/" + strings.TrimSpace(p.Output()) + "/ns/net"); err == nil {
		t.Errorf("process %s still runs", p.Output())
	}
	if err := lab.Node("a").Do(func() error { return nil }); err == nil {
		t.Error("a closed lab works on")
	}
}

func TestUCARPAgainstUCARP(t *testing.T) {
	t.Parallel()
	testenv.Need(t, testenv.Netns, "ip", "ucarp")
	lab := hatest.Start(t, "a", "b")
	vip, _ := hatest.Shared(0)
	holders := lab.Holders(vip)
	probe, err := lab.Probe(vip)
	if err != nil {
		t.Fatal(err)
	}
	for i, n := range lab.Nodes() {
		if _, err := n.UCARP(hatest.UCARP{VHID: 42, Addr: vip, Password: "tpri", Skew: 100 * i, Preempt: true}); err != nil {
			t.Fatal(err)
		}
	}
	ctx := within(t, 30*time.Second)
	if err := hatest.Until(ctx, func() bool { return strings.Join(holders.Now(), " ") == "a" }); err != nil {
		t.Fatalf("holders %v", holders.Now())
	}
	frames, err := lab.Node("a").Sniff(hatest.Advert)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := frames.Wait(ctx, 1, hatest.Advert); err != nil { // its script runs before the first one
		t.Fatal(err)
	}
	event := time.Now()
	if err := lab.Node("a").Crash(); err != nil {
		t.Fatal(err)
	}
	took, err := probe.From(ctx, "b", event)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("taken over after %v, outage %v, %v on both", took, probe.Stop().Outage(event, event.Add(took)), holders.Dual())
	if took < 2*time.Second || took > 8*time.Second { // facts: 3.5–5.4 s
		t.Errorf("ucarp took over after %v", took)
	}
	// 36 bytes from the vhid's MAC in ucarp's form, vhid 42, base 1, skew 0 (facts 1.1)
	f := frames.Stop()[0]
	if f.Src.String() != "00:00:5e:00:00:2a" || f.To.String() != "224.0.0.18" || f.TTL != 255 || len(f.Payload) != 36 ||
		string(f.Payload[:4]) != "\x21\x2a\x00\x07" || f.From != lab.Node("a").Addr {
		t.Errorf("its advert: %v", f)
	}
}

func TestKeepalivedAgainstKeepalived(t *testing.T) {
	t.Parallel()
	testenv.Need(t, testenv.Netns, "ip", "keepalived")
	lab := hatest.Start(t, "a", "b")
	vip, _ := hatest.Shared(0)
	holders := lab.Holders(vip)
	for i, n := range lab.Nodes() {
		if _, err := n.Keepalived(hatest.Keepalived{VRID: 51, Addrs: []netip.Addr{vip}, Priority: 150 - 50*i, Interval: 100 * time.Millisecond}); err != nil {
			t.Fatal(err)
		}
	}
	ctx := within(t, 30*time.Second)
	if err := hatest.Until(ctx, func() bool { return strings.Join(holders.Now(), " ") == "a" }); err != nil {
		t.Fatalf("holders %v", holders.Now())
	}
	if err := lab.Node("a").Crash(); err != nil {
		t.Fatal(err)
	}
	if err := hatest.Until(ctx, func() bool { return strings.Join(holders.Now(), " ") == "b" }); err != nil {
		t.Fatalf("holders %v", holders.Now())
	}
}
