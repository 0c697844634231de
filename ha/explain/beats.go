package explain

import (
	"slices"

	"kvmctl/ha"
	"kvmctl/ha/beat"
	"kvmctl/ha/peer"
)

// beats gives the peer whose heartbeats decide for a group, once the two are paired; nil: CARP does. It is the file's only member.
func (n *notes) beats(g *ha.Group) *peer.Node {
	if g.Peer != ha.PeerKVMHA || len(n.spec.Channel.Listen) == 0 {
		return nil
	}
	members := slices.DeleteFunc(slices.Clone(n.spec.Peers), func(p peer.Node) bool { return p.Role != peer.Member })
	if len(members) != 1 {
		return nil
	}
	return &members[0]
}

// heartbeats tells how soon they notice.
func (n *notes) heartbeats(g *ha.Group, p *peer.Node) {
	may := ""
	if len(g.Storage.Resources) > 0 {
		may = ", where it may go on alone with the storage,"
	}

	n.add(Promise, "", "Once this node and %s are paired, signed heartbeats decide who serves, one every %s on each path (%d of them). Until then CARP does, in about three times its interval.",
		p.Name, seconds(beat.Interval), len(p.Addresses))
	n.add(Promise, "", "When one of the two dies or is cut off on every path, the other one takes over%s %s after its last heartbeat, or %s where kvmha-tick runs on the dead one: "+
		"so long a kernel may keep the addresses of an agent that says no more. Then its part of the work begins.", may, seconds(beat.Dead+beat.LeaseBound+n.life.longer), seconds(beat.Dead+beat.LeaseBoundTick+n.life.longer))
	n.add(Promise, "", "Nobody waits so long when an agent that died is started again: it deletes those addresses first and then says so, and they are served again within "+
		"0.35 s of that. That a machine is gone, no host tells an agent yet.")
	n.add(Promise, "", "The active node hands the group over as planned when no frame comes in on its link while %s is heard on another path, and when a gateway of that link is "+
		"silent here, three questions long, and answers %s.", p.Name, p.Name)
	n.add(Promise, "", "A planned hand-over, a stop of the agent and a failure hand the group to %s in milliseconds, beside the time that units take; it comes back if it is declined there.", p.Name)
	n.add(Promise, "", "While heartbeats decide, no CARP packet changes who serves, forged or replayed.")
	if len(p.Addresses) == 1 {
		n.add(Limit, "a second address in [peer."+p.Name+"]", "Heartbeats have one path: when it alone is cut, both nodes take each other for dead.")
	}
}
