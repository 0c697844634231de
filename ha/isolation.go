package ha

import (
	"context"
	"fmt"
	"net/netip"
	"time"

	"kvmctl/ha/failover"
	"kvmctl/ha/link"
)

// hearing is what one interface brings: whether this node can be deaf on it (FAILOVER.md, safety 7). A master that is not heard any more and a
// cable that brings nothing look the same to CARP; so before the dead interval is over, a node that hears no frame asks its gateways. The peer's
// silence proves nothing, so without a gateway on that network nobody can be asked, and nobody is found deaf.
type hearing struct {
	dead   time.Duration // the shortest dead interval of its groups
	frames uint64
	heard  time.Time // when frames grew last; zero: it was not looked at yet
	deaf   bool

	counted uint64    // as frames, but whether or not there is a gateway
	grew    time.Time // when counted grew last
	quiet   bool
}

// The parts of a dead interval: after one without a frame the gateways are asked, and have another to answer, so that it is known before CARP
// elects anybody.
const (
	quietPart   = 3
	hearAtMost  = 500 * time.Millisecond
	hearAtLeast = 50 * time.Millisecond
)

// wantHearing says which interfaces the groups live on now.
func (a *Agent) wantHearing() {
	w := map[string]time.Duration{}
	for _, g := range a.groups {
		dead := g.spec.carpConfig(netip.Addr{}).Dead()
		if before, there := w[g.iface()]; !there || dead < before {
			w[g.iface()] = dead
		}
	}
	select {
	case <-a.hearingWanted: // of before, not taken yet
	default:
	}
	a.hearingWanted <- w // it has room for one, and nobody else fills it
}

// listen looks whether the interfaces bring anything, as long as ctx lasts.
func (a *Agent) listen(ctx context.Context) {
	all := map[string]*hearing{}
	every := hearAtMost
	for {
		select {
		case <-ctx.Done():
			return
		case w := <-a.hearingWanted:
			every = hearAtMost
			before := all
			all = map[string]*hearing{}
			for iface, dead := range w {
				if all[iface] = before[iface]; all[iface] == nil {
					all[iface] = &hearing{}
				}
				all[iface].dead = dead
				every = max(hearAtLeast, min(every, dead/(2*quietPart)))
			}
			a.tellDeaf(ctx, all) // groups that are new do not know yet
		case <-time.After(every):
		}
		for iface, h := range all {
			if deaf, why := a.deaf(ctx, iface, h); deaf != h.deaf {
				h.deaf = deaf
				a.post(ctx, func(time.Time) { a.isolated(iface, failover.Isolated{On: deaf, Why: why}) })
			}
			if quiet := a.hearsNothing(iface, h); quiet != h.quiet {
				h.quiet = quiet
				a.post(ctx, func(time.Time) { a.quiet[iface] = quiet })
			}
		}
	}
}

// tellDeaf repeats what is so already.
func (a *Agent) tellDeaf(ctx context.Context, all map[string]*hearing) {
	for iface, h := range all {
		if h.deaf {
			a.post(ctx, func(time.Time) { a.isolated(iface, failover.Isolated{On: true, Why: "no frame comes in"}) })
		}
	}
}

// isolated tells the groups of an interface.
func (a *Agent) isolated(iface string, in failover.Isolated) {
	for _, g := range a.groups {
		if g.iface() == iface {
			g.asked = in
			a.tellIsolated(g)
		}
	}
}

// tellIsolated tells a group's machine whether its link brings nothing, by whoever says so.
func (a *Agent) tellIsolated(g *group) {
	in := g.asked
	if g.beaten && a.pulse != nil && !in.On {
		in = a.beatIsolated(g, a.Clock.Now())
	}
	if in.On != g.deaf {
		g.deaf = in.On
		a.push(g, in)
	}
}

// hearsNothing reports whether no frame has come in for so long that heartbeats may say who is deaf.
func (a *Agent) hearsNothing(iface string, h *hearing) bool {
	frames, _, err := a.Network.Hears(iface)
	now := a.Clock.Now()
	if err != nil || h.grew.IsZero() || frames != h.counted {
		h.counted, h.grew = frames, now
	}
	return now.Sub(h.grew) >= h.dead/quietPart
}

// deaf judges one interface, and asks its gateways when it has been quiet for long enough. What cannot be looked at is not deaf.
func (a *Agent) deaf(ctx context.Context, iface string, h *hearing) (deaf bool, why string) {
	grown := func() ([]netip.Addr, bool) {
		frames, gateways, err := a.Network.Hears(iface)
		now := a.Clock.Now()
		if err != nil || h.heard.IsZero() || frames != h.frames || len(gateways) == 0 {
			h.frames, h.heard = frames, now
			return nil, true
		}
		return gateways, now.Sub(h.heard) < h.dead/quietPart
	}
	gateways, heard := grown()
	if heard {
		return false, ""
	}
	var ask []link.Neighbour
	for _, g := range gateways {
		ask = append(ask, link.Neighbour{Interface: iface, Addr: g})
	}
	found, err := a.Network.Resolve(ctx, ask, min(h.dead/quietPart, time.Second))
	if err != nil || len(found) > 0 {
		return false, ""
	}
	if _, heard := grown(); heard {
		return false, ""
	}
	return true, fmt.Sprintf("no frame for %v, and no answer from the gateway %s", a.Clock.Now().Sub(h.heard).Round(100*time.Millisecond), gateways[0])
}
