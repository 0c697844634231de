package ha

import (
	"context"
	"net/netip"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// notes keeps the records of a node.
type notes struct {
	mu  sync.Mutex
	all []Record
}

func (n *notes) Record(r Record) { n.mu.Lock(); defer n.mu.Unlock(); n.all = append(n.all, r) }

func (n *notes) take() (all []string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, r := range n.all {
		all = append(all, r.To+" by "+r.Event)
	}
	n.all = nil
	return all
}

var shared = netip.MustParseAddr("10.77.0.240")

func testGroup(skew int) Group {
	g := DefaultGroup("web")
	g.Interface, g.VHID, g.Addresses, g.Password, g.Skew = "eth0", 42, []netip.Addr{shared}, NewSecret("tpri"), skew
	g.Preempt, g.PreemptDelay = skew == 0, 0
	return g
}

// run starts an agent on a model node; what comes back stops it and gives its error.
func run(t *testing.T, n *modelNode, g Group) (*notes, func() error) {
	t.Helper()
	j := &notes{}
	a := New(Options{Spec: Spec{Node: "n", Groups: []Group{g}}, Clock: n, Network: n, Journal: j})
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- a.Run(ctx) }()
	return j, func() error { cancel(); return <-ended }
}

func want(t *testing.T, when string, got []string, all ...string) {
	t.Helper()
	if len(got) != len(all) {
		t.Errorf("%s: %q, want %q", when, got, all)
		return
	}
	for i := range got {
		if got[i] != all[i] {
			t.Errorf("%s: %q, want %q", when, got, all)
			return
		}
	}
}

func TestADayOfTwoAgents(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &wire{}
		na, nb := w.add(1), w.add(2)
		a, stopA := run(t, na, testGroup(0))
		b, stopB := run(t, nb, testGroup(100))
		time.Sleep(5 * time.Second)
		want(t, "at first, a", a.take(), "standby by fit", "promoting by elected", "active by promoted")
		want(t, "at first, b", b.take(), "standby by fit")

		// Case 4: clocks that are set, on both nodes, make nobody move.
		for i := range 23 {
			time.Sleep(time.Hour)
			na.set(0, time.Duration(1-2*(i%2))*time.Hour)
			nb.set(0, time.Duration(2*(i%2)-1)*time.Hour)
		}
		want(t, "after a day with clocks set by an hour, a", a.take())
		want(t, "after a day with clocks set by an hour, b", b.take())
		if got := w.holders(shared); len(got) != 1 || got[0] != 1 {
			t.Errorf("held by %v", got)
		}

		w.setCut(true)
		time.Sleep(3500 * time.Millisecond) // 3 adverts and skew 100
		want(t, "parted, a", a.take())
		want(t, "parted, b", b.take(), "promoting by elected", "active by promoted")
		w.setCut(false)
		time.Sleep(1500 * time.Millisecond)
		want(t, "healed, a", a.take())
		want(t, "healed, b", b.take(), "demoting by deposed", "standby by released")

		if err := stopA(); err != nil {
			t.Error(err)
		}
		want(t, "stopped, a", a.take(), "demoting by blocked", "waiting by blocked")
		time.Sleep(200 * time.Millisecond)
		want(t, "after the bow-out, b", b.take(), "promoting by elected", "active by promoted")
		if got := w.holders(shared); len(got) != 1 || got[0] != 2 {
			t.Errorf("held by %v", got)
		}
		if err := stopB(); err != nil {
			t.Error(err)
		}
	})
}

// A guest whose QEMU stood still sees no gap but in the RTC (lease.md, first row; FAILOVER.md, "clock").
func TestAGuestThatStoodStillLetsGo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &wire{}
		n := w.add(1)
		j, stop := run(t, n, testGroup(0))
		time.Sleep(5 * time.Second)
		j.take()
		n.set(30*time.Second, 0)
		time.Sleep(2 * time.Second)
		if got := w.holders(shared); len(got) != 0 {
			t.Errorf("still held by %v", got)
		}
		if got := j.take(); len(got) == 0 || got[0] != "demoting by frozen" {
			t.Errorf("it did %q", got)
		}
		time.Sleep(5 * time.Second)
		if got := w.holders(shared); len(got) != 1 {
			t.Errorf("alone, and not active again: %q", j.take())
		}
		if err := stop(); err != nil {
			t.Error(err)
		}
	})
}
