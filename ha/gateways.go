package ha

import (
	"context"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"time"

	"kvmctl/ha/beat"
	"kvmctl/ha/failover"
	"kvmctl/ha/link"
)

// How gateways are asked. One that is silent for everybody has failed the other node's question, too, before gatewayFall of ours: so no node is
// told to go because of a gateway that is dead.
const (
	gatewayEvery = time.Second
	gatewayWait  = gatewayEvery / 2 // for an answer
	gatewayFall  = 3                // questions without one
)

// gateway is what the questions to the gateways of an interface have come to.
type gateway struct {
	addr  netip.Addr // of the first of them; invalid: there is none, or nobody could ask
	tries int        // without an answer of any, one after the other; no more than gatewayFall are counted
}

func (g gateway) answers() bool { return g.addr.IsValid() && g.tries == 0 }
func (g gateway) silent() bool  { return g.addr.IsValid() && g.tries >= gatewayFall }

// next is what one more question has come to.
func (g gateway) next(first netip.Addr, answered bool) gateway {
	switch {
	case answered:
		return gateway{addr: first}
	case g.addr != first: // its own first question
		return gateway{first, 1}
	}
	return gateway{first, min(g.tries+1, gatewayFall)}
}

// wantGateways says on which interfaces the gateways are asked now: nobody but a peer with heartbeats can be told of them.
func (a *Agent) wantGateways() {
	var w []string
	for _, g := range a.groups {
		if a.pulse != nil && g.elector != nil && !slices.Contains(w, g.iface()) {
			w = append(w, g.iface())
		}
	}
	select {
	case <-a.gatewaysWanted: // of before, not taken yet
	default:
	}
	a.gatewaysWanted <- w // it has room for one, and nobody else fills it
}

// followGateways asks the gateways as long as ctx lasts.
func (a *Agent) followGateways(ctx context.Context) {
	var ifaces []string
	all := map[string]gateway{}
	for {
		var again <-chan time.Time
		if len(ifaces) > 0 {
			again = time.After(gatewayEvery - gatewayWait)
		}
		select {
		case <-ctx.Done():
			return
		case ifaces = <-a.gatewaysWanted:
		case <-again:
		}
		now := a.askGateways(ctx, ifaces, all)
		if ctx.Err() == nil && !maps.Equal(now, all) {
			all = now
			a.post(ctx, func(time.Time) { a.gateways = now })
		}
	}
}

// askGateways asks those of all interfaces once. What cannot be asked is neither silent nor there.
func (a *Agent) askGateways(ctx context.Context, ifaces []string, before map[string]gateway) map[string]gateway {
	of := map[string][]link.Neighbour{}
	var ask []link.Neighbour
	for _, iface := range ifaces {
		_, found, err := a.Network.Hears(iface)
		if err != nil {
			continue
		}
		for _, at := range found {
			of[iface] = append(of[iface], link.Neighbour{Interface: iface, Addr: at})
		}
		ask = append(ask, of[iface]...)
	}
	now := map[string]gateway{}
	if len(ask) == 0 {
		return now
	}
	found, err := a.Network.Resolve(ctx, ask, gatewayWait)
	for iface, all := range of {
		answered := slices.ContainsFunc(all, func(n link.Neighbour) bool { _, is := found[n]; return is })
		if answered || err == nil {
			now[iface] = before[iface].next(all[0].Addr, answered)
		}
	}
	return now
}

// toldGateways is what status says of them.
func toldGateways(all map[string]gateway) (told []BeatGateway) {
	for _, iface := range slices.Sorted(maps.Keys(all)) {
		told = append(told, BeatGateway{iface, all[iface].addr, all[iface].answers()})
	}
	return told
}

// beatIsolated judges a group's link by what the peer says of its own (FAILOVER.md, safety 7): no frame comes in here while the peer is alive on
// another path, or the gateway is silent here and answers there. The latter lasts over a moment in which the peer does not say so, as when its
// agent is replaced: to come and go with every restart there would be worse.
func (a *Agent) beatIsolated(g *group, now time.Time) failover.Isolated {
	if a.quiet[g.iface()] && a.pulse.session.Deaf(now, a.pulse.on(g)) {
		return failover.Isolated{On: true, Why: "no frame comes in, and " + a.pulse.name + " is alive on another path"}
	}
	p := a.pulse.session.Peer(now, beat.GroupOf(g.spec.Name))
	if !p.Alive || !p.Present {
		return failover.Isolated{}
	}
	if p.Group.Gateway {
		g.reached = now
	}
	said := p.Group.Gateway || g.deaf && !g.reached.IsZero() && now.Sub(g.reached) < gatewayFall*gatewayEvery
	if gw := a.gateways[g.iface()]; said && gw.silent() {
		return failover.Isolated{On: true, Why: fmt.Sprintf("the gateway %s does not answer, and %s has an answer from its own", gw.addr, a.pulse.name)}
	}
	return failover.Isolated{}
}
