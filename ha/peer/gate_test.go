package peer

import (
	"fmt"
	"net/netip"
	"testing"
	"time"
)

func TestTheGate(t *testing.T) {
	start := time.Unix(0, 0)
	node, other := netip.MustParseAddr("10.0.0.1"), netip.MustParseAddr("10.0.0.9")
	fresh := func() *gate {
		g := &gate{}
		g.use([]netip.Addr{node})
		return g
	}
	count := func(g *gate, at time.Time, n int, from func(i int) netip.Addr, release bool) (in int) {
		for i := range n {
			if o, ok := g.admit(at, from(i)); ok {
				if in++; release {
					g.release(o)
				}
			}
		}
		return in
	}
	one := func(a netip.Addr) func(int) netip.Addr { return func(int) netip.Addr { return a } }
	many := func(i int) netip.Addr { return netip.MustParseAddr(fmt.Sprintf("10.1.%d.%d", i/250, i%250)) }
	t.Run("one stranger that does not leave", func(t *testing.T) {
		if got := count(fresh(), start, 1000, one(other), false); got != perStranger {
			t.Errorf("%d admitted", got)
		}
	})
	t.Run("many strangers that do not leave", func(t *testing.T) {
		g := fresh()
		if got := count(g, start, 1000, many, false); got != strangers || len(g.from) != strangers {
			t.Errorf("%d admitted, %d kept", got, len(g.from))
		}
		if got := count(g, start, 3, one(node), false); got != 3 {
			t.Errorf("a node meanwhile: %d of 3", got)
		}
	})
	t.Run("many strangers that leave at once", func(t *testing.T) {
		g := fresh()
		got := 0
		for ms := range 10_000 { // 1000 a second, for 10 s
			got += count(g, start.Add(time.Duration(ms)*time.Millisecond), 1, func(int) netip.Addr { return many(ms) }, true)
		}
		if got != strangerRate*11-1 || len(g.from) != 0 || g.total != 0 {
			t.Errorf("%d admitted, %d kept", got, len(g.from))
		}
	})
	t.Run("one /64 is one stranger", func(t *testing.T) {
		got := count(fresh(), start, 1000, func(i int) netip.Addr { return netip.MustParseAddr(fmt.Sprintf("fd00::%x", i)) }, false)
		if got != perStranger {
			t.Errorf("%d admitted", got)
		}
	})
	t.Run("a node that goes mad", func(t *testing.T) {
		if got := count(fresh(), start, 1000, one(node), false); got != perNode {
			t.Errorf("%d admitted", got)
		}
		if got := count(fresh(), start, 1000, one(node), true); got != nodeRate {
			t.Errorf("%d admitted", got)
		}
	})
	t.Run("an IPv4 address in an IPv6 socket is the same one", func(t *testing.T) {
		if o, ok := fresh().admit(start, netip.MustParseAddr("::ffff:10.0.0.1")); !ok || !o.node {
			t.Errorf("%+v, %v", o, ok)
		}
	})
}
