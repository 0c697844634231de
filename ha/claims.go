package ha

import (
	"context"
	"io"
	"maps"
	"net/netip"
	"slices"
	"time"

	"kvmctl/ha/failover"
)

// claim says that somebody else on an interface's network has said that an address is his.
type claim struct {
	iface string
	addr  netip.Addr
}

// claimsWanted is whose claims are listened for: the addresses that are held, by interface.
type claimsWanted map[string]map[netip.Addr]claimed

// claimed is what is to be known of an address that is held.
type claimed struct {
	from string        // the interface that asks who has it: the parent of a virtual MAC's
	dead time.Duration // in which CARP says who keeps it
}

// claimAgain is how often an address that somebody else answers for is looked at again: the alert lasts as long as he does.
const claimAgain = time.Minute

// wantClaims says which addresses are held now.
func (a *Agent) wantClaims() {
	w := claimsWanted{}
	for _, g := range a.groups {
		if !g.held {
			continue
		}
		if w[g.home] == nil {
			w[g.home] = map[netip.Addr]claimed{}
		}
		for _, addr := range g.spec.Addresses {
			w[g.home][addr] = claimed{g.iface(), g.spec.carpConfig(netip.Addr{}).Dead()}
		}
	}
	select {
	case <-a.claimsWanted: // of before, not taken yet
	default:
	}
	a.claimsWanted <- w // it has room for one, and nobody else fills it
}

// claimWatch listens for claims. Its goroutine owns it.
type claimWatch struct {
	a       *Agent
	wanted  claimsWanted
	sockets map[string]io.Closer
	heard   chan claim
	due     map[claim]time.Time // when a claim that was heard is to be asked about
}

// followClaims listens as long as addresses are held. A claim is not believed at once: while a partition heals, or a node is relieved, both have
// the address for a moment, and CARP ends that. Whoever still answers after a dead interval is a stranger, or does not hear us.
func (a *Agent) followClaims(ctx context.Context) {
	w := &claimWatch{a: a, sockets: map[string]io.Closer{}, heard: make(chan claim, newsWaiting), due: map[claim]time.Time{}}
	defer w.want(ctx, nil)
	for {
		var next <-chan time.Time
		if len(w.due) > 0 {
			next = time.After(slices.MinFunc(slices.Collect(maps.Values(w.due)), time.Time.Compare).Sub(a.Clock.Now()))
		}
		select {
		case <-ctx.Done():
			return
		case wanted := <-a.claimsWanted:
			w.want(ctx, wanted)
		case c := <-w.heard:
			if of, held := w.wanted[c.iface][c.addr]; held && w.due[c].IsZero() {
				w.due[c] = w.a.Clock.Now().Add(of.dead)
			}
		case <-next:
			w.ask(ctx)
		}
	}
}

// want opens and closes sockets as the addresses that are held have it.
func (w *claimWatch) want(ctx context.Context, wanted claimsWanted) {
	for iface, s := range w.sockets {
		if !maps.Equal(w.wanted[iface], wanted[iface]) {
			_ = s.Close() // of a socket that was only read
			delete(w.sockets, iface)
		}
	}
	for iface, addrs := range wanted {
		if w.sockets[iface] != nil {
			continue
		}
		s, err := w.a.Network.Claims(iface, slices.Collect(maps.Keys(addrs)), func(addr netip.Addr) {
			select {
			case w.heard <- claim{iface, addr}:
			default: // a flood of claims: those that wait say as much
			}
		})
		w.a.post(ctx, func(time.Time) { w.a.degrade("claims to addresses on "+iface, err) })
		if err == nil {
			w.sockets[iface] = s
		}
	}
	w.wanted = wanted
	maps.DeleteFunc(w.due, func(c claim, _ time.Time) bool { _, held := wanted[c.iface][c.addr]; return !held })
}

// ask asks who has the addresses whose time has come.
func (w *claimWatch) ask(ctx context.Context) {
	for c, at := range w.due {
		if at.After(w.a.Clock.Now()) {
			continue
		}
		owner, err := w.a.Network.Probe(ctx, w.wanted[c.iface][c.addr].from, c.addr, probeWait)
		if err != nil || owner == "" {
			delete(w.due, c)
			continue
		}
		w.due[c] = w.a.Clock.Now().Add(claimAgain)
		w.a.post(ctx, func(time.Time) {
			if g := w.a.holder(c.iface, c.addr); g != nil && g.held {
				w.a.push(g, failover.AddressTaken{Addr: c.addr, By: owner})
			}
		})
	}
}
