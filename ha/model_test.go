package ha

import (
	"context"
	"errors"
	"io"
	"net/netip"
	"slices"
	"sync"
	"syscall"
	"time"

	"kvmctl/ha/carp"
	"kvmctl/ha/link"
)

// wire is a model of an Ethernet between nodes: every frame reaches every other port at once, unless somebody has cut it.
type wire struct {
	mu    sync.Mutex
	cut   bool
	nodes []*modelNode
}

// modelNode is a model of one node's network and clocks. Its kernel keeps leases as long as they last.
type modelNode struct {
	wire    *wire
	start   time.Time
	station Station
	ports   []*modelPort

	mu     sync.Mutex
	book   link.Book
	kernel map[netip.Addr]time.Time // until when; of what the kernel has
	frozen time.Duration            // how long the machine stood still unseen by CLOCK_BOOTTIME
	wall   time.Duration            // what somebody set the wall clock forward by
	blind  error                    // of a look at the interface
	hangs  time.Duration            // of the loop, at its next turn
	gone   bool                     // the interface is another one at the next refresh
	news   func(link.Event)         // to whoever watches
}

type modelPort struct {
	node    *modelNode
	deliver func([]byte)
}

func (w *wire) add(n byte) *modelNode {
	m := &modelNode{wire: w, start: time.Now(), kernel: map[netip.Addr]time.Time{}}
	ip := netip.AddrFrom4([4]byte{10, 77, 0, n})
	m.station = Station{Index: 2, MAC: carp.MAC{2, 0, 0, 0, 0, n}, IPv4: ip, All: []netip.Addr{ip}, Carrier: true}
	w.nodes = append(w.nodes, m)
	return m
}

func (w *wire) setCut(cut bool) { w.mu.Lock(); defer w.mu.Unlock(); w.cut = cut }

// holders gives who has an address now.
func (w *wire) holders(addr netip.Addr) (all []byte) {
	for _, n := range w.nodes {
		n.mu.Lock()
		if until, ok := n.kernel[addr]; ok && time.Now().Before(until) {
			all = append(all, n.station.MAC[5])
		}
		n.mu.Unlock()
	}
	return all
}

func (n *modelNode) Now() time.Time           { return sinceBoot(time.Since(n.start) + time.Hour) }
func (n *modelNode) Monotonic() time.Duration { return time.Since(n.start) }

func (n *modelNode) Look() Reading {
	n.mu.Lock()
	defer n.mu.Unlock()
	rtc := time.Now().Add(n.frozen).Truncate(time.Second)
	return Reading{Boot: n.Now(), RTC: rtc, Wall: time.Now().Add(n.wall)}
}

// set changes the clocks.
func (n *modelNode) set(frozen, wall time.Duration) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.frozen, n.wall = n.frozen+frozen, n.wall+wall
}

func (n *modelNode) Open(_ string, deliver func([]byte)) (Port, error) {
	n.wire.mu.Lock()
	defer n.wire.mu.Unlock()
	p := &modelPort{n, deliver}
	n.ports = append(n.ports, p)
	return p, nil
}

func (p *modelPort) Send(frame []byte) error {
	p.node.wire.mu.Lock()
	defer p.node.wire.mu.Unlock()
	if p.node.wire.cut {
		return nil
	}
	for _, other := range p.node.wire.nodes {
		if other != p.node {
			for _, q := range other.ports {
				q.deliver(frame)
			}
		}
	}
	return nil
}

func (p *modelPort) Close() error {
	p.node.wire.mu.Lock()
	defer p.node.wire.mu.Unlock()
	p.node.ports = slices.DeleteFunc(p.node.ports, func(q *modelPort) bool { return q == p })
	return nil
}

func (n *modelNode) Station(string) (Station, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.station, n.blind
}

// look has the agent look at the interface, which fails with err; nil: it does not.
func (n *modelNode) look(err error) {
	n.mu.Lock()
	n.blind = err
	news := n.news
	n.mu.Unlock()
	news(link.State{Interface: "eth0", Index: 2, Up: true, Carrier: true})
}

func (n *modelNode) Take(iface string, addr netip.Addr) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	life := link.TermsFor(1).Lifetime
	n.kernel[addr] = time.Now().Add(life)
	n.book.Add(link.Held{Interface: iface, Index: 2, Addr: addr, Born: 1, Since: n.Now(), Lifetime: life})
	return nil
}

func (n *modelNode) Drop(_ string, addr netip.Addr) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.book.Drop(2, addr)
	delete(n.kernel, addr)
	return nil
}

// hang has the loop stand still at its next turn: CLOCK_BOOTTIME goes on.
func (n *modelNode) hang(d time.Duration) { n.mu.Lock(); defer n.mu.Unlock(); n.hangs = d }

func (n *modelNode) Turn() ([]link.Lost, error) {
	n.mu.Lock()
	hangs := n.hangs
	n.hangs = 0
	n.mu.Unlock()
	time.Sleep(hangs)
	n.mu.Lock()
	defer n.mu.Unlock()
	next := n.book.Next()
	if next.IsZero() || n.Now().Before(next) {
		return nil, nil
	}
	held, terms, lost := n.book.Plan(n.Now())
	var answers []link.Answer
	gone := n.gone || errors.Is(n.blind, syscall.ENODEV)
	n.gone = false
	for _, h := range held {
		if n.kernel[h.Addr] = time.Now().Add(terms.Lifetime); gone {
			delete(n.kernel, h.Addr)
		}
		answers = append(answers, link.Answer{Index: h.Index, Addr: h.Addr, Born: h.Born, NoLink: gone})
	}
	more, _ := n.book.Answered(n.Now(), n.Now(), terms, answers)
	return append(lost, more...), nil
}

func (n *modelNode) Next() time.Time    { n.mu.Lock(); defer n.mu.Unlock(); return n.book.Next() }
func (n *modelNode) Held() []link.Held  { n.mu.Lock(); defer n.mu.Unlock(); return n.book.Held() }
func (n *modelNode) Adopt(...link.Held) {}

func (n *modelNode) Find(addrs ...netip.Addr) (all []link.Present, err error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, a := range addrs {
		if until, ok := n.kernel[a]; ok && time.Now().Before(until) {
			all = append(all, link.Present{Interface: "eth0", Index: 2, Prefix: netip.PrefixFrom(a, a.BitLen()), Leased: true})
		}
	}
	return all, nil
}

func (n *modelNode) VirtualMAC(iface string, _ uint8) (string, error) { return iface, nil }
func (n *modelNode) DropVirtualMAC(uint8) error                       { return nil }

func (n *modelNode) Leftovers(...netip.Addr) ([]link.Present, error) { return nil, nil }

func (n *modelNode) Probe(ctx context.Context, _ string, addr netip.Addr, wait time.Duration) (string, error) {
	n.wire.mu.Lock()
	cut := n.wire.cut
	n.wire.mu.Unlock()
	for _, who := range n.wire.holders(addr) {
		if !cut && who != n.station.MAC[5] {
			return "somebody", nil
		}
	}
	select {
	case <-time.After(wait):
		return "", nil
	case <-ctx.Done():
		return "", ctx.Err()
	}
}

// Resolve finds nobody: adverts to a peer go to everybody, then.
func (n *modelNode) Resolve(context.Context, []link.Neighbour, time.Duration) (map[link.Neighbour]carp.MAC, error) {
	return nil, nil
}

// Hears knows no gateway.
func (n *modelNode) Hears(string) (uint64, []netip.Addr, error) { return 0, nil, nil }

// Claims hears nobody.
func (n *modelNode) Claims(string, []netip.Addr, func(netip.Addr)) (io.Closer, error) {
	return io.NopCloser(nil), nil
}

func (n *modelNode) Announce(string, netip.Addr) error { return nil }

func (n *modelNode) Watch(ctx context.Context, news func(link.Event)) error {
	n.mu.Lock()
	n.news = news
	n.mu.Unlock()
	<-ctx.Done()
	return nil
}
