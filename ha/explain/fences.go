package explain

import (
	"net"
	"net/netip"
	"net/url"
	"path"
	"slices"
	"strings"

	"kvmctl/ha"
	"kvmctl/ha/peer"
	"kvmctl/ha/right"
)

// onBoard are fence agents that speak with a controller on the board of what they end: without power it is silent, too.
var onBoard = []string{"fence_ipmi", "fence_idrac", "fence_drac", "fence_ilo", "fence_imm", "fence_rsa", "fence_rsb", "fence_redfish", "fence_cisco_ucs", "fence_hpblade", "fence_bladecenter"}

// misplaced warns of who is to answer and cannot, or is not asked.
func (n *notes) misplaced(g *ha.Group) {
	p, ok := n.pair(g)
	if !ok {
		return
	}
	if p.by.Who == right.ByArbiter {
		n.arbiterPlace(p)
	}
	switch f := p.fence; {
	case f == nil:
	case !slices.Contains(p.alone(p.nodes[0], false).Ask, right.Fence) && f.Kind != ha.FenceManual:
		n.add(Warning, `alone = "fence", or no fence`, "fence %s is never asked: with alone = %q a fence decides nothing, for the other node may have gone on alone before it was ended", f.Name, p.by.String())
	case p.by.Who != right.ByFence: // a person decides under every key
	case f.Kind == ha.FenceManual:
		n.add(Warning, `a fence of type "exec" or "kvmctl", or alone = "arbiter"`, "fence %s is a person: when %s is lost nobody goes on here until one types kvmha confirm-dead %s %s", f.Name, p.nodes[1], g.Name, p.nodes[1])
	case f.Kind == ha.FenceExec && slices.ContainsFunc(onBoard, func(begin string) bool { return strings.HasPrefix(path.Base(f.Agent), begin) }):
		n.add(Warning, `a switched socket (PDU) of another supply, or alone = "arbiter"`, "fence %s (%s) is a part of the machine that it ends: when %s loses its power it is silent, and nobody goes on here", f.Name, path.Base(f.Agent), p.nodes[1])
	case f.Kind == ha.FenceKVMCTL:
		n.add(Limit, "", "%s is a guest of this node: when this one dies, both do, and no fence of %s's answers.", p.nodes[1], p.nodes[1])
	}
}

// arbiterPlace warns of an arbiter that dies with a node.
func (n *notes) arbiterPlace(p pair) {
	var member []netip.Addr
	for _, one := range n.spec.Peers {
		if one.Role == peer.Member {
			member = addresses(one.Addresses)
		}
	}
	const elsewhere = "an arbiter on a third machine"
	for _, one := range n.spec.Peers {
		if one.Role != peer.Arbiter {
			continue
		}
		for _, at := range addresses(one.Addresses) {
			for _, host := range []struct {
				name string
				at   []netip.Addr
			}{{p.nodes[0], n.facts.Own}, {p.nodes[1], member}} {
				if slices.Contains(host.at, at) {
					n.add(Warning, elsewhere, "the arbiter %s is on %s (%s): it dies with that node, and then the other one waits", one.Name, host.name, at)
				}
			}
		}
		for _, f := range n.spec.Fences {
			if f.Kind == ha.FenceKVMCTL && f.VM == one.Name {
				n.add(Warning, elsewhere, "the arbiter %s is a guest of this node: it dies with it, and then %s waits", one.Name, p.nodes[1])
			}
		}
	}
	var here []string
	for _, e := range n.spec.Etcd.Endpoints {
		u, err := url.Parse(e)
		if err != nil {
			continue
		}
		host := u.Hostname()
		at, err := netip.ParseAddr(host)
		if host == "localhost" || err == nil && (at.IsLoopback() || slices.Contains(n.facts.Own, at) || slices.Contains(member, at)) {
			here = append(here, net.JoinHostPort(host, u.Port()))
		}
	}
	if all := len(n.spec.Etcd.Endpoints); len(here)*2 > all {
		n.add(Warning, "an etcd most of which is on other machines", "%s of the etcd's %d endpoints are on %s or %s: with them most of it may die, and then the node that is left waits", list(here), all, p.nodes[0], p.nodes[1])
	}
}

func addresses(all []netip.AddrPort) (out []netip.Addr) {
	for _, a := range all {
		out = append(out, a.Addr().Unmap())
	}
	return out
}
