package ha

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"kvmctl/ha/carp"
	"kvmctl/ha/failover"
	"kvmctl/ha/link"
)

// heard is a frame from a port.
type heard struct {
	iface string
	frame []byte
}

// receive gives a frame to the groups of its interface that it concerns.
func (a *Agent) receive(now time.Time, f heard) {
	for _, g := range a.groups {
		if g.iface() != f.iface {
			continue
		}
		in, mine := g.filter.Input(f.frame)
		if !mine {
			continue
		}
		before, at := g.carp.Facts(), len(a.queue)
		a.stepCARP(g, now, in)
		r, ok := in.(carp.Received)
		if ok && !g.beaten && !r.Claim.Advert.BowOut() && g.carp.Facts().Fresh > before.Fresh { // a captured advert says nothing of who serves now
			a.queue = slices.Insert(a.queue, at, event{g, failover.PeerActive{By: r.Claim.From.String()}}) // known before what follows from it
		}
	}
}

// receiveAll gives the groups what has come in by now. It ends although somebody floods the wire.
func (a *Agent) receiveAll(now time.Time) {
	for range framesWaiting {
		select {
		case f := <-a.frames:
			a.receive(now, f)
		case b := <-a.heartbeat.heard:
			a.beatHeard(now, b)
		default:
			return
		}
	}
}

// direct passes a directive of the failover machine to CARP.
func (a *Agent) direct(g *group, now time.Time, f failover.Effect) {
	switch f := f.(type) {
	case failover.Allow:
		g.wants = f.Preempt
		a.stepCARP(g, now, carp.Allow{Preempt: f.Preempt})
	case failover.Silence:
		g.wants = false
		if f.BowOut {
			g.release(now)
		}
		a.stepCARP(g, now, carp.Silence{BowOut: f.BowOut})
	case failover.Ready:
		a.stepCARP(g, now, carp.Ready{})
	case failover.Release:
		g.release(now)
		a.stepCARP(g, now, carp.Release{})
	default:
		a.Log.Error("an effect that nobody carries out", "group", g.spec.Name, "effect", f.String())
	}
}

// stepCARP lets a group's CARP machine decide. Its adverts go out before anything else happens.
func (a *Agent) stepCARP(g *group, now time.Time, in carp.Input) {
	todo := []carp.Input{in}
	for len(todo) > 0 {
		effects := g.carp.Step(now, todo[0])
		todo = todo[1:]
		for _, e := range effects {
			if s, ok := e.(carp.Send); ok {
				err := a.send(g, now, s.Advert)
				a.degrade("adverts of "+g.spec.Name, err)
				todo = append(todo, carp.SendResult{Failed: err != nil})
				continue
			}
			a.carried(g, now, e)
		}
	}
}

// carried carries out what CARP decided, but for its adverts.
func (a *Agent) carried(g *group, now time.Time, e carp.Effect) {
	log := a.Log.With("group", g.spec.Name)
	switch e := e.(type) {
	case carp.Changed:
		log.Debug("carp", "from", e.From, "to", e.To, "cause", e.Why, "by", e.By)
	case carp.Elected:
		in := failover.Elected{By: failover.BySilence}
		switch {
		case e.Silently:
			in.By = failover.ByPreempt
		case e.Cause == carp.ByBowOut:
			in.By = failover.ByBowOut
		}
		a.push(g, in)
	case carp.Deposed:
		a.push(g, failover.Deposed{By: e.By.String(), Cause: string(e.Cause)})
	case carp.Announce:
		if g.held {
			a.announce(g, now)
		}
	case carp.Misconfigured:
		if g.beaten { // whoever it is, the peer is known by better
			log.Warn("packets not obeyed", "report", e.String())
			return
		}
		a.push(g, failover.Misconfigured{Why: e.String()})
	case carp.Configured:
		a.push(g, failover.Misconfigured{})
	case carp.Report:
		log.Warn("packets not obeyed", "report", e.String())
	case carp.Hampered:
		log.Warn("adverts", "state", e.String())
	default:
		log.Error("an effect of CARP that nobody carries out", "effect", e.String())
	}
}

// Errors of send.
var (
	errNoPort   = errors.New("its interface is not there")
	errNoSource = errors.New("the interface has no address to send from")
)

// broadcast is everybody's MAC.
var broadcast = carp.MAC{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}

// send signs an advert and sends it wherever the group's adverts go.
func (a *Agent) send(g *group, now time.Time, ad carp.Advert) error {
	p := a.ports[g.iface()]
	if p == nil {
		return fmt.Errorf("send an advert of %s on %s: %w", g.spec.Name, g.iface(), errNoPort)
	}
	g.filter.Auth.Sign(&ad)
	to := g.targets()
	if len(to) == 0 {
		return fmt.Errorf("send an advert of %s on %s: %w", g.spec.Name, g.iface(), errNoSource)
	}
	var errs []error
	for _, dst := range to {
		src := g.station.IPv4
		if dst.Is6() {
			src = g.station.IPv6
		}
		f := carp.NewFrame(ad, g.mac(), src, dst)
		if !dst.IsMulticast() {
			f.DstMAC = a.peers.at(now, link.Neighbour{Interface: g.iface(), Addr: dst})
		}
		errs = append(errs, p.Send(f.Append(nil)))
	}
	return errors.Join(errs...)
}

// mac is what adverts are sent from. Peers of other makes expect what they send themselves; between two of ours it is the card's own, which no
// hypervisor drops.
func (g *group) mac() carp.MAC {
	switch {
	case g.spec.VirtualMAC || g.spec.Peer == PeerBSD:
		return carp.VirtualMAC(g.spec.VHID)
	case g.spec.Peer == PeerUCARP:
		return carp.UCARPMAC(g.spec.VHID)
	}
	return g.station.MAC
}

// targets is where adverts go: to the peers, or to the groups of the families that the group has addresses of (FreeBSD's carp_send_ad).
func (g *group) targets() (all []netip.Addr) {
	if len(g.spec.Unicast) > 0 {
		for _, p := range g.spec.Unicast {
			if p.Is4() && g.station.IPv4.IsValid() || p.Is6() && g.station.IPv6.IsValid() {
				all = append(all, p)
			}
		}
		return all
	}
	var v4, v6 bool
	for _, addr := range g.spec.Addresses {
		v4, v6 = v4 || addr.Is4(), v6 || addr.Is6()
	}
	if v4 && g.station.IPv4.IsValid() {
		all = append(all, carp.Group4)
	}
	if v6 && g.station.IPv6.IsValid() && (g.spec.Peer == PeerBSD || len(all) == 0) {
		all = append(all, carp.Group6)
	}
	return all
}
