package ha

import (
	"context"
	"net/netip"
	"slices"
	"time"

	"kvmctl/ha/carp"
	"kvmctl/ha/link"
)

// Where unicast peers are is asked once in an advert's interval, within these bounds.
const (
	resolveAtMost  = time.Second
	resolveAtLeast = 200 * time.Millisecond
)

// peersWanted is which unicast peers have to be known, and how often they are asked for.
type peersWanted struct {
	all   []link.Neighbour
	every time.Duration
}

// peers is where the unicast peers are, as the kernel said last.
type peers struct {
	macs  map[link.Neighbour]carp.MAC
	until time.Time // then they are not believed any more
}

// at gives the MAC that an advert to a peer goes to: everybody's, until the peer's own is known. The peers listen below IP, and need no neighbour
// for it.
func (p peers) at(now time.Time, to link.Neighbour) carp.MAC {
	if mac, known := p.macs[to]; known && now.Before(p.until) {
		return mac
	}
	return broadcast
}

// post has f done by the main loop, unless ctx ends before.
func (a *Agent) post(ctx context.Context, f func(now time.Time)) {
	select {
	case a.news <- f:
	case <-ctx.Done():
	}
}

// wantPeers says which peers the groups have now.
func (a *Agent) wantPeers() {
	w := peersWanted{every: resolveAtMost}
	for _, g := range a.groups {
		for _, p := range g.spec.Unicast {
			if to := (link.Neighbour{Interface: g.iface(), Addr: p}); !slices.Contains(w.all, to) {
				w.all = append(w.all, to)
			}
			w.every = max(resolveAtLeast, min(w.every, g.spec.carpConfig(netip.Addr{}).Interval(g.spec.Skew)))
		}
	}
	select {
	case <-a.peersWanted: // of before, not taken yet
	default:
	}
	a.peersWanted <- w // it has room for one, and nobody else fills it
}

// followPeers asks for the unicast peers as long as there are any.
func (a *Agent) followPeers(ctx context.Context) {
	var w peersWanted
	for {
		var again <-chan time.Time
		if len(w.all) > 0 {
			found, err := a.Network.Resolve(ctx, w.all, w.every/4)
			a.post(ctx, func(now time.Time) {
				// What was not confirmed for two intervals is not believed: a peer whose MAC changes misses two adverts, and is master after three.
				a.peers = peers{found, now.Add(2 * w.every)}
				a.degrade("search for the unicast peers", err)
			})
			again = time.After(w.every * 3 / 4)
		}
		select {
		case <-ctx.Done():
			return
		case w = <-a.peersWanted:
		case <-again:
		}
	}
}
