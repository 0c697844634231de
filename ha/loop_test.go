package ha

import (
	"context"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"kvmctl/ha/carp"
	"kvmctl/ha/failover"
)

// still gives an agent whose loop the test turns by hand, with one group that stands by.
func still(t *testing.T, n *modelNode, g Group) (*Agent, *group, *notes) {
	t.Helper()
	j := &notes{}
	a := New(Options{Spec: Spec{Node: "n", Groups: []Group{g}}, Clock: n, Network: n, Journal: j})
	ctx, cancel := context.WithCancel(t.Context())
	t.Cleanup(func() { cancel(); a.beside.Wait() })
	if err := a.add(ctx, g, n.Now()); err != nil {
		t.Fatal(err)
	}
	a.settle(n.Now())
	want(t, "at first", j.take(), "standby by fit")
	return a, a.groups[0], j
}

// advertOf makes a frame of another master of the group.
func advertOf(t *testing.T, g Group, counter uint64, base, skew uint8) heard {
	t.Helper()
	auth, err := carp.NewAuth(g.Password.Reveal(), g.VHID, g.Addresses)
	if err != nil {
		t.Fatal(err)
	}
	ad := carp.Advert{VHID: g.VHID, Base: base, Skew: skew, Counter: counter}
	auth.Sign(&ad)
	f := carp.NewFrame(ad, carp.MAC{2, 0, 0, 0, 0, 9}, netip.MustParseAddr("10.77.0.9"), carp.Group4)
	return heard{g.Interface, f.Append(nil)}
}

// A loop that is late must not miss a master whose advert lies unread (carp.Machine.Step).
func TestWhatWasHeardComesBeforeWhatIsDue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := (&wire{}).add(1)
		spec := testGroup(100)
		a, g, j := still(t, n, spec)
		a.receive(n.Now(), advertOf(t, spec, 7, 1, 0))
		a.settle(n.Now())
		dead := spec.carpConfig(n.station.IPv4).Dead()
		time.Sleep(dead - 100*time.Millisecond)
		a.frames <- advertOf(t, spec, 8, 1, 0)
		time.Sleep(200 * time.Millisecond)
		a.runDue(n.Now())
		a.settle(n.Now())
		want(t, "with an advert unread", j.take())
		if s := g.carp.Facts().State; s != carp.Backup {
			t.Errorf("CARP is %s", s)
		}
	})
}

// An advert that somebody captured says nothing of who serves: neither changed nor sent again as it was does it answer a hand-over.
func TestACapturedAdvertIsNoSignOfLife(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := (&wire{}).add(1)
		spec := testGroup(100)
		a, g, _ := still(t, n, spec)
		a.receive(n.Now(), advertOf(t, spec, 7, 1, 0))
		a.settle(n.Now())
		heardAt := func() time.Duration {
			r, ok := g.fo.Handover(bootAge)
			if !ok {
				t.Fatal("the group moves")
			}
			return r.Heard
		}
		first := heardAt()
		time.Sleep(time.Second)
		for _, f := range []heard{advertOf(t, spec, 7, 1, 0), advertOf(t, spec, 7, 1, 50)} {
			a.receive(n.Now(), f)
			a.settle(n.Now())
			if got := heardAt(); got != first {
				t.Errorf("a captured advert counted as one of now")
			}
		}
		a.receive(n.Now(), advertOf(t, spec, 8, 1, 0))
		a.settle(n.Now())
		if got := heardAt(); got == first {
			t.Errorf("a new advert did not count")
		}
	})
}

// The end of a step of the group that a reload has replaced is not that of the new one's step with the same number.
func TestAStepOfTheGroupBeforeEndsNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := (&wire{}).add(1)
		spec := testGroup(100)
		a, g, j := still(t, n, spec)
		a.push(g, failover.Elected{By: failover.BySilence}) // the first step is a probe
		a.settle(n.Now())
		want(t, "elected", j.take(), "promoting by elected")
		old := newWorker(a.results, actGrace)
		a.stepEnded(n.Now(), result{group: spec.Name, by: old, id: 1, err: errTaken})
		a.settle(n.Now())
		want(t, "when a step of the one before ends", j.take())
		a.stepEnded(n.Now(), <-a.results)
		a.settle(n.Now())
		want(t, "when its own ends", j.take(), "active by promoted")
	})
}
