package peer

import (
	"net/netip"
	"time"
)

// The bounds of those who have not proved yet who they are.
const (
	handshakeWait  = 5 * time.Second // from the connection to the proof
	drainWait      = time.Second     // for it to read that it is refused
	handshakeBytes = 16 << 10        // that a handshake may send; an honest one sends 2 KiB
	strangers      = 16              // handshakes at a time from addresses that belong to no node
	perStranger    = 2               // of them from one address (IPv6: one /64)
	perNode        = 8               // handshakes at a time from one address of a node
	strangerRate   = 20              // handshakes a second from all strangers together
	nodeRate       = 50              // handshakes a second from one address of a node
)

// gate decides whether a handshake may begin. Its zero value admits nobody; it keeps one entry an address under way or of a node, so what it holds
// is bounded.
type gate struct {
	known map[netip.Addr]*bucket // the nodes' addresses
	other bucket                 // everybody else's
	from  map[netip.Addr]int     // handshakes under way
	total int                    // of them, strangers'
}

// bucket lets a rate through, and a second's worth at once.
type bucket struct {
	rate float64
	left float64
	at   time.Time
}

func (b *bucket) take(now time.Time) bool {
	if !b.at.IsZero() {
		b.left += now.Sub(b.at).Seconds() * b.rate
	}
	b.at, b.left = now, min(b.left, b.rate)
	if b.left < 1 {
		return false
	}
	b.left--
	return true
}

// use takes over the nodes' addresses; those that stay keep what they have used.
func (g *gate) use(addrs []netip.Addr) {
	known := map[netip.Addr]*bucket{}
	for _, a := range addrs {
		a = a.Unmap().WithZone("")
		if known[a] = g.known[a]; known[a] == nil {
			known[a] = &bucket{rate: nodeRate, left: nodeRate}
		}
	}
	g.known = known
	if g.from == nil {
		g.from, g.other = map[netip.Addr]int{}, bucket{rate: strangerRate, left: strangerRate}
	}
}

// admit asks for a handshake; one that may begin has to be ended by release with the same origin.
func (g *gate) admit(now time.Time, from netip.Addr) (o origin, ok bool) {
	from = from.Unmap().WithZone("")
	if b := g.known[from]; b != nil {
		o = origin{from, true}
		if g.from[from] >= perNode || !b.take(now) {
			return o, false
		}
	} else {
		if from.Is6() {
			from = netip.PrefixFrom(from, 64).Masked().Addr()
		}
		o = origin{from, false}
		if g.total >= strangers || g.from[from] >= perStranger || !g.other.take(now) {
			return o, false
		}
		g.total++
	}
	g.from[from]++
	return o, true
}

func (g *gate) release(o origin) {
	if g.from[o.addr]--; g.from[o.addr] <= 0 {
		delete(g.from, o.addr)
	}
	if !o.node {
		g.total--
	}
}

// origin is where a handshake comes from, as the gate counts it.
type origin struct {
	addr netip.Addr
	node bool
}
