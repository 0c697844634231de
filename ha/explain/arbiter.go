package explain

import "kvmctl/ha/peer"

// arbiters tells what this node is to others as their arbiter, what others are to it, and what stops when one dies.
func (n *notes) arbiters() {
	for _, g := range n.spec.Arbiter {
		both := list(g.Members)
		n.add(Promise, "", "This node is the arbiter of group %s: %s may go on alone when the other one cannot be asked, one of them at a time, and its answer is on the disk before it is given.", g.Name, both)
		n.add(Limit, "", "When this node dies, %s go on as they are, and a group of addresses alone asks no arbiter. But then neither may go on alone: if one of the two dies, too, or they lose each other, "+
			"what has to be on one node only waits for this node or for a person.", both)
		n.add(Limit, "", "A copy of this node's disk that is put back is an old record. It is found out, and refused, when a member knows of a later number; so restore no image of it without kvmha arbiter create.")
		n.add(Task, "kvmha arbiter create "+g.Name, "The record of group %s is made once, by hand.", g.Name)
		n.add(Task, "kvmha pair", "This node and %s have to know each other's keys, and it stands on neither of their hosts, power or switches.", both)
	}
	for _, p := range n.spec.Peers {
		if p.Role == peer.Arbiter && len(n.spec.Groups) > 0 {
			n.add(Limit, "", "%s is an arbiter. No group of this version asks it: groups of addresses and units choose service. When it dies, nothing of them stops.", p.Name)
		}
	}
}
