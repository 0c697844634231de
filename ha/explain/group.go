package explain

import (
	"fmt"
	"slices"
	"time"

	"kvmctl/ha"
)

// peerName is how a sentence calls the other side.
func peerName(g *ha.Group) string {
	return map[ha.Peer]string{ha.PeerUCARP: "a ucarp", ha.PeerBSD: "a FreeBSD or OpenBSD", ha.PeerKVMHA: "a kvmha"}[g.Peer]
}

// found tells what on this node does not go with the file.
func (n *notes) found(g *ha.Group) {
	if there, looked := n.facts.Interfaces[g.Interface]; looked && !there {
		n.add(Warning, "ip link", "there is no interface %s now: the group waits until it appears", g.Interface)
	}
	for i := range g.Units {
		u := &g.Units[i]
		if n.facts.Missing[u.Name] {
			n.add(Warning, "", "%s is not installed: the group could never become active here", u.Name)
		}
		if by := n.facts.AtBoot[u.Name]; len(by) > 0 {
			n.add(Warning, disable(u), "%s is also started at boot (%s): both nodes would run it", u.Name, list(by))
		}
	}
}

func disable(u *ha.Unit) string {
	switch u.Kind {
	case ha.UnitSystemd:
		return "systemctl disable " + u.Name
	case ha.UnitSysV:
		return "update-rc.d " + u.Name + " disable"
	}
	return ""
}

// moves tells who is active when, and how soon it changes.
func (n *notes) moves(g *ha.Group) {
	addresses := make([]string, len(g.Addresses))
	for i, a := range g.Addresses {
		addresses[i] = a.String()
	}
	n.add(Promise, "", "This node shares %s on %s with %s peer (vhid %d, an advert every %s).", list(addresses), g.Interface, peerName(g), g.VHID, seconds(interval(g.Base, g.Skew)))
	n.preference(g)
	if p := n.beats(g); p != nil {
		n.heartbeats(g, p)
	} else {
		n.adverts(g)
	}
	n.add(Promise, "", "After %d moves within %s the group stays where it is and says so; a node that gave it away stays away for %s, twice as long each further time, %s at most.",
		g.Damping.Moves, seconds(g.Damping.Window), seconds(g.Damping.Min), seconds(g.Damping.Max))
	if g.IgnoreCarrier {
		n.add(Limit, "ignore_carrier = false", "The link's carrier is ignored: a node whose cable is cut goes on as if it served.")
	} else {
		n.add(Promise, "", "When the link loses its carrier for %s, this node lets go, and contends again when it had one for %s.",
			seconds(g.CarrierDownDelay), seconds(g.CarrierUpDelay))
	}
}

// adverts tells how soon CARP notices.
func (n *notes) adverts(g *ha.Group) {
	here, there := "", ""
	least, most := noticeHere(g)
	if g.PeerSkew == nil {
		here = ", which was sent up to one of the peer's intervals before; its skew is unknown here"
	}
	rule := fmt.Sprintf("%d × %d s + %d/256 s", g.DeadRatio, g.Base, g.Skew)
	if g.Base == 0 {
		rule = fmt.Sprintf("%d × %d/256 s", g.DeadRatio, g.Skew)
	}
	n.add(Promise, "", "When the peer dies, this node notices %s later: %s after the last advert%s. Then its part of the work begins.", span(least, most), rule, here)
	least, most = noticeThere(g)
	switch {
	case g.Peer == ha.PeerUCARP && g.PeerSkew == nil:
		there = "; ucarp acts up to 2.1 s later than its timer, and its skew is unknown here"
	case g.Peer == ha.PeerUCARP:
		there = "; ucarp acts up to 2.1 s later than its timer"
	case g.PeerSkew == nil:
		there = "; its skew is unknown here"
	}
	n.add(Promise, "", "When this node dies, the peer notices %s later%s.", span(least, most), there)
	bye := "at once"
	if g.Peer == ha.PeerUCARP {
		bye = "within 0.9 s"
	}
	n.add(Promise, "", "A planned hand-over and a stop of the agent say goodbye to the peer, which takes over %s.", bye)
}

func (n *notes) preference(g *ha.Group) {
	switch {
	case g.PeerSkew == nil:
		n.add(Limit, "peer_skew = …", "Which node is preferred depends on the peer's skew, which this file does not know; here it is %d, and the smaller one is preferred. "+
			"With equal ones both would be master for a while whenever they start together.", g.Skew)
	case g.Skew < *g.PeerSkew:
		n.add(Promise, "", "This node is the preferred one (skew %d; the peer has %d).", g.Skew, *g.PeerSkew)
	default:
		n.add(Promise, "", "The peer is the preferred node (skew %d; here it is %d).", *g.PeerSkew, g.Skew)
	}
	switch {
	case g.Preempt && (g.PeerSkew == nil || g.Skew < *g.PeerSkew):
		n.add(Promise, "", "It takes the group over from a less preferred peer when it has been fit for %s; the peer serves until this node's units and checks are well.",
			seconds(g.PreemptDelay))
	case g.Preempt:
		n.add(Limit, "", "preempt has no effect here: the peer is the preferred one.")
	default:
		n.add(Promise, "", "While the peer serves, this node does not take the group over: a node that comes back stands by.")
	}
}

// service tells what is done for what the group is there for.
func (n *notes) service(g *ha.Group) {
	if len(g.Units) > 0 {
		names := make([]string, len(g.Units))
		var longest time.Duration
		for i, u := range g.Units {
			names[i] = u.Name
			longest += u.StartTimeout
		}
		before := "the address is taken when they run"
		if slices.Contains(g.Order, ha.StageChecks) && decided(g) {
			before = "the address is taken when they run and the checks are green"
		}
		n.add(Promise, "", "Only the active node runs %s; %s (at most %s for the starts, else the group is given back).", list(names), before, seconds(longest))
		for i := range g.Units {
			if u := &g.Units[i]; (u.Kind == ha.UnitCommand || u.Kind == ha.UnitUCARP) && len(u.Status) == 0 {
				fix := ""
				if u.Kind == ha.UnitCommand {
					fix = "status = […]"
				}
				n.add(Limit, fix, "Nobody can ask %s whether it runs: the agent goes by what it did last.", u.Name)
			}
		}
	}
	for i := range g.Checks {
		c := &g.Checks[i]
		least, most := redAfter(c)
		where := ""
		if c.ActiveOnly {
			where = " on the active node"
		}
		if c.Type == ha.CheckSID {
			n.sid(g, c)
			continue
		}
		if c.Type == ha.CheckSystemd || c.Type == ha.CheckProcess {
			n.add(Promise, "", "The check %q%s %s, within 0.3 s.", c.Name, where, look(c))
			continue
		}
		n.add(Promise, "", "The check %q%s %s. It fails %s after the failure (%d in a row, every %s, at most %s each).",
			c.Name, where, look(c), span(least, most), c.Fall, seconds(c.Interval), seconds(c.Timeout))
	}
	n.onFailure(g)
}

// decided reports whether a check moves the group.
func decided(g *ha.Group) bool {
	return slices.ContainsFunc(g.Checks, func(c ha.Check) bool { return !c.Type.TellsOnly() })
}

func (n *notes) onFailure(g *ha.Group) {
	if !decided(g) {
		n.add(Limit, "add a [[group."+g.Name+".check]]", "Nothing looks whether the service answers: the group moves only when a node, its agent or its link fails.")
		return
	}
	restarts := ""
	if g.Restarts > 0 && len(g.Units) > 0 {
		restarts = fmt.Sprintf("the units are restarted here, up to %d× in %s; then ", g.Restarts, seconds(g.RestartWindow))
	}
	what := "the group is handed over"
	if g.OnFailure == ha.FailureStay {
		what = "the group stays and serves what still works"
	}
	remind := "an alert says so once, without a reminder"
	if g.Remind > 0 {
		remind = "an alert says so, every " + seconds(g.Remind) + " while it lasts"
	}
	n.add(Promise, "", "When a check fails on the active node, %s%s; %s.", restarts, what, remind)
	if g.OnFailure != ha.FailureStay && n.beats(g) == nil {
		better := "" // heartbeats tell
		if g.Peer == ha.PeerKVMHA {
			better = "[peer.<name>], and kvmha pair"
		}
		n.add(Limit, better, "CARP does not tell whether %s peer is alive while it stands by, nor whether its service is well: a hand-over may go to a node that is worse, or to nobody.", peerName(g))
	}
}
