package explain

import (
	"slices"

	"kvmctl/ha"
)

// limits tells what the file cannot rule out.
func (n *notes) limits(g *ha.Group) {
	heal, alone := "within two adverts", ""
	if p := n.beats(g); p != nil {
		n.add(Promise, "", "%s. %s takes over later than that.", n.kept(), p.Name)
		heal, alone = "with the first heartbeats", "As long as heartbeats do not decide: "
	} else {
		n.outlives(g)
	}
	if len(g.Storage.Resources) == 0 {
		n.add(Limit, "", "In a full partition (both nodes run, neither hears the other) both answer for the addresses, each to those who reach it: nothing in this file could decide. "+
			"When it heals, one lets go %s, and the other tells all neighbours.", heal)
	}
	n.add(Limit, "", alone+"CARP signs neither base nor skew, and nobody checks for repetitions: whoever can send on %s's network and has caught one advert can move the addresses, or have "+
		"both nodes answer, without the password. Keep strangers off that network.", g.Interface)
	if !g.Probe {
		n.add(Limit, "probe = true", "Nobody asks whether a stranger has an address before it is taken.")
	}
	switch g.Peer {
	case ha.PeerUCARP:
		n.add(Limit, "", "The peer's addresses have no lifetime: when its ucarp is killed or hangs, it keeps them, and from this node's takeover on both nodes answer until somebody removes them there.")
		n.add(Limit, "", "ucarp says no goodbye: when it is stopped, this node takes over as late as after a crash. It sends no advert while a script of its own runs.")
	case ha.PeerBSD:
		n.add(Limit, "", "A BSD peer counts its troubles for all its vhids together: one failing link there may move every group.")
	}
	if slices.Contains(g.Order, ha.StageAddress) && !slices.Contains(g.Order, ha.StageChecks) && decided(g) {
		n.add(Limit, `order = ["units", "checks", "address", "announce", "hooks"]`, "order has no \"checks\": the address is taken before anybody looked whether the service answers.")
	}
}

// kept tells how long the addresses outlive the agent.
func (n *notes) kept() string {
	after := "after " + seconds(n.life.worst)
	if n.life.quiet != n.life.worst {
		after = "after " + seconds(n.life.quiet) + ", or " + seconds(n.life.worst) + " when something else adds an address meanwhile"
	}
	return "When the agent here is killed or hangs, the kernel takes the addresses away by itself " + after
}

// outlives tells whether a peer that goes by CARP may have the addresses before they are gone here.
func (n *notes) outlives(g *ha.Group) {
	kept := n.kept()
	quiet, worst, lost := dual(g, n.life.quiet, 0), dual(g, n.life.worst, 0), dual(g, n.life.worst, 1)
	unknown := ""
	if g.PeerSkew == nil {
		unknown = " (counted with the smallest skew that the peer may have)"
	}
	switch {
	case quiet > 0:
		n.add(Limit, "base = 1", "%s. The peer may take over before that: both nodes may have them for up to %s%s.", kept, seconds(worst), unknown)
	case worst > 0:
		n.add(Limit, "", "%s. In the latter case both nodes may have them for up to %s%s.", kept, seconds(worst), unknown)
	case lost > 0:
		n.add(Promise, "", "%s. The peer takes over later than that. Only if the last advert was lost on the way, too, may both nodes have them, for up to %s%s.", kept, seconds(lost), unknown)
	default:
		n.add(Promise, "", "%s. The peer takes over later than that, even if the last advert was lost on the way.", kept)
	}
}

// tasks tells what somebody has to see to.
func (n *notes) tasks(g *ha.Group) {
	for i := range g.Units {
		u := &g.Units[i]
		by, looked := n.facts.AtBoot[u.Name]
		switch fix := disable(u); {
		case fix == "" || len(by) > 0:
		case looked:
			n.add(Task, fix, "%s is not started at boot here, as it should be; see to the same on the other node.", u.Name)
		default:
			n.add(Task, fix, "%s must not be started at boot, on either node: kvmha starts it.", u.Name)
		}
	}
	n.add(Task, "", "The other node needs the same vhid, base, addresses and password, and another skew.")
	if g.VirtualMAC {
		n.add(Task, "", "Switches and hypervisors must let this node send from CARP's MAC addresses; a guest of kvmctl needs `carp = [%d]` below its [[nic]] in vm.toml.", g.VHID)
	}
}
