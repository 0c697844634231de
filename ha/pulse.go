package ha

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"kvmctl/ha/beat"
	"kvmctl/ha/carp"
	"kvmctl/ha/failover"
	"kvmctl/ha/link"
)

// pulse is the peer's heartbeat, and this node's for it, as the loop has them.
type pulse struct {
	name    string
	sockets *beatSockets
	session *beat.Session
	key     int          // the one that the peer used last
	locals  []netip.Addr // by which each path leaves
	tick    bool
	next    time.Time    // of ours
	said    []beat.Group // in the last one
}

// beatRoles are the wire's words for the machine's.
var beatRoles = map[failover.Role]beat.Role{
	failover.Starting: beat.Starting, failover.Waiting: beat.Waiting, failover.Standby: beat.Standby, failover.Promoting: beat.Promoting,
	failover.Active: beat.Active, failover.Demoting: beat.Demoting, failover.Stuck: beat.Stuck,
}

// beatElections are the machine's words for the elector's.
var beatElections = map[beat.Cause]failover.Election{
	beat.HandedOver: failover.ByHandOver, beat.Declined: failover.ByDeclined, beat.Lot: failover.ByLot, beat.Unfit: failover.ByUnfit,
	beat.Silence: failover.ByPeerQuiet,
}

// useBeats begins with a peer; nil: there is none, and CARP decides.
func (a *Agent) useBeats(s *beatSockets, now time.Time) {
	defer a.wantGateways()
	if s == nil {
		a.pulse = nil
		for _, g := range a.groups {
			a.leaveBeats(g, now)
		}
		return
	}
	a.pulse = &pulse{name: s.peer.name, sockets: s, session: beat.NewSession(s.peer.own, beat.BootOf(a.BootID), len(s.peer.paths)), next: now}
	for _, g := range a.groups {
		if g.elector != nil {
			g.elector.Listen(now)
		}
	}
}

// beatHeard takes a heartbeat. The first one on a path that was silent is answered at once: after a partition both may have the addresses until
// each knows that the other hears it.
func (a *Agent) beatHeard(now time.Time, h heardBeat) {
	p := a.pulse
	if p == nil || p.sockets != h.of {
		return
	}
	silent := h.number >= 0 && !p.session.PathHeard(now, h.number)
	if !p.session.Receive(now, h.d, h.number) {
		return
	}
	if p.key = h.key; silent {
		p.next = now
	}
}

// judgeBeats lets the electors decide.
func (a *Agent) judgeBeats(now time.Time) {
	if a.pulse == nil {
		return
	}
	for _, g := range slices.Clone(a.groups) {
		if g.elector == nil {
			continue
		}
		p := a.beatPeerOf(now, g)
		a.tellStorage(now, g, p)
		if !g.beaten {
			if !p.Alive || !p.Present {
				continue // CARP decides, as with a peer that has no heartbeat
			}
			a.enterBeats(g, now)
		}
		for range 2 { // a change of role has an answer for the next datagram
			before := g.role()
			a.obey(g, now, p, g.elector.Step(now, before, p))
			a.settle(now)
			if g.role() == before {
				break
			}
		}
		a.tellIsolated(g)
		a.meet(g, now)
	}
	a.settle(now)
}

// meet announces the addresses once more when the link brings the peer's heartbeats again. While it was cut the peer may have had them, and what
// was announced after it let go of them, by word of another path, came to nobody beyond the cut.
func (a *Agent) meet(g *group, now time.Time) {
	near := slices.ContainsFunc(a.pulse.on(g), func(path int) bool { return a.pulse.session.PathHeard(now, path) })
	if near && !g.near && g.held {
		a.announce(g, now)
	}
	g.near = near
}

// beatPeerOf gives what is known of the peer and of a group there. How many addresses it holds is not: as many as this node would, at most.
func (a *Agent) beatPeerOf(now time.Time, g *group) beat.Peer {
	addresses := 0
	for _, x := range a.groups {
		addresses += len(x.spec.Addresses)
	}
	p := a.pulse.session.Peer(now, beat.GroupOf(g.spec.Name))
	p.Longer = link.TermsFor(addresses).Lifetime - link.TermsFor(1).Lifetime
	p.Behind = g.fo.Sole()
	return p
}

func (g *group) role() beat.Role { return beatRoles[g.fo.Status().Role] }

// obey tells a group's machine what its elector says.
func (a *Agent) obey(g *group, now time.Time, p beat.Peer, v beat.Verdict) {
	if v.Serving {
		a.push(g, failover.PeerActive{By: a.pulse.name})
	}
	told := failover.Peer{Worse: !v.Fit && (v.Silent || p.Alive && p.Group.Role != beat.Active), Why: unfit(p, v.Silent), Fit: v.Fit}
	told.Passing = told.Worse && !v.Silent && p.Present && slices.Contains([]beat.Role{beat.Starting, beat.Promoting, beat.Demoting}, p.Group.Role)
	if told != g.told {
		g.told = told
		a.push(g, told)
	}
	switch {
	case v.Elected != nil:
		a.push(g, failover.Elected{By: beatElections[*v.Elected]})
	case v.Deposed != "":
		a.stepCARP(g, now, carp.Silence{})
		a.stepCARP(g, now, carp.Allow{})
		a.push(g, failover.Deposed{By: a.pulse.name, Cause: v.Deposed})
	case v.Wanted:
		a.push(g, failover.Wanted{By: a.pulse.name})
	case v.Again && g.held:
		a.announce(g, now)
	}
}

// unfit says why the peer would be no better.
func unfit(p beat.Peer, silent bool) string {
	switch {
	case silent:
		return "it is silent on every path"
	case !p.Present:
		return "it does not have the group"
	case p.Group.Role == beat.Standby || p.Group.Role == beat.Active:
		return ""
	}
	why := "it is " + p.Group.Role.String()
	for r := failover.ReasonStopping; r <= failover.ReasonRight; r++ {
		if p.Group.Reasons&(1<<r) != 0 {
			why += " (" + r.String() + ")"
		}
	}
	return why
}

// enterBeats lets heartbeats decide: no advert changes the group's role from here on.
func (a *Agent) enterBeats(g *group, now time.Time) {
	a.Log.Info("the heartbeat decides", "group", g.spec.Name, "peer", a.pulse.name)
	g.beaten = true
	a.stepCARP(g, now, carp.Reload{Config: g.carpConfig(g.station.source(g.spec))})
	a.push(g, failover.Misconfigured{})
}

// leaveBeats gives the decision back to CARP.
func (a *Agent) leaveBeats(g *group, now time.Time) {
	if !g.beaten {
		return
	}
	a.Log.Info("CARP decides", "group", g.spec.Name)
	g.beaten, g.deaf, g.told = false, false, failover.Peer{}
	g.elector = beat.NewElector(uint8(g.spec.Skew), now)
	a.push(g, failover.Peer{})
	a.tellIsolated(g)
	a.stepCARP(g, now, carp.Reload{Config: g.carpConfig(g.station.source(g.spec))})
	a.settle(now)
}

// resumeBeats goes on where the program before was.
func (a *Agent) resumeBeats(g *group) {
	if a.Resume == nil || g.elector == nil {
		return
	}
	for _, h := range a.Resume.Groups {
		g.beaten = g.beaten || h.Spec.Name == g.spec.Name && h.Heartbeat
	}
}

// release says in every heartbeat, until it is answered, that the group is let go of.
func (g *group) release(now time.Time) {
	if g.beaten {
		g.elector.Release(now)
	}
}

// on gives the paths that leave by a group's interface.
func (p *pulse) on(g *group) (all []int) {
	for i, at := range p.locals {
		if at.IsValid() && (slices.Contains(g.station.All, at) || at == g.station.IPv4 || at == g.station.IPv6) {
			all = append(all, i)
		}
	}
	return all
}

// reports gives the groups' part of a heartbeat.
func (a *Agent) reports() (all []beat.Group) {
	for _, g := range a.groups {
		if g.elector == nil || len(all) == beat.MaxGroups {
			continue
		}
		s := g.fo.Status()
		var reasons uint16
		if s.Role == failover.Waiting {
			reasons = 1 << s.Reason
		}
		r := g.elector.Report(beat.GroupOf(g.spec.Name), beatRoles[s.Role], reasons, g.wants)
		r.Gateway = a.gateways[g.iface()].answers()
		all = append(all, r)
	}
	return all
}

// sendBeats sends what is due: at its time, and at once when something has changed. Nothing waits for it.
func (a *Agent) sendBeats(now time.Time) {
	p := a.pulse
	if p == nil {
		return
	}
	said := a.reports()
	if now.Before(p.next) && slices.Equal(said, p.said) {
		return
	}
	p.said = said
	if p.next = p.next.Add(beat.Interval); !p.next.After(now) {
		p.next = now.Add(beat.Interval)
	}
	var errs []error
	for i := range p.sockets.peer.paths {
		d := p.session.Compose(now, i)
		d.Tick, d.Restarting, d.Groups = p.tick, a.end != nil, said
		errs = append(errs, p.sockets.send(i, p.key, d))
	}
	if errs = slices.DeleteFunc(errs, func(err error) bool { return err == nil }); len(errs) == len(p.sockets.peer.paths) {
		a.degrade("heartbeats", fmt.Errorf("no heartbeat can be sent: %w", errors.Join(errs...)))
		return
	}
	a.degrade("heartbeats", nil)
}

// nextBeat is when heartbeats want the loop's turn.
func (a *Agent) nextBeat(now time.Time) time.Time {
	if a.pulse == nil {
		return time.Time{}
	}
	at := a.pulse.next
	for _, g := range a.groups {
		if g.beaten {
			at = earlier(at, g.elector.Next(a.beatPeerOf(now, g)))
		}
	}
	return at
}
