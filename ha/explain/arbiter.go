package explain

import (
	"slices"
	"strings"

	"kvmctl/ha"
	"kvmctl/ha/arbiter"
	"kvmctl/ha/peer"
	"kvmctl/ha/right"
)

// arbiters tells what this node is to others as their arbiter, what others are to it, and what stops when one dies.
func (n *notes) arbiters() {
	for _, g := range n.spec.Arbiter {
		if n.spec.Etcd.Named() {
			n.inEtcd(g)
		} else {
			n.inFiles(g)
		}
	}
	for _, p := range n.spec.Peers {
		if p.Role == peer.Arbiter && len(n.spec.Groups) > 0 && !slices.ContainsFunc(n.spec.Groups, func(g ha.Group) bool { return g.Storage.Alone == string(right.ByArbiter) }) {
			n.add(Limit, "", "%s is an arbiter. No group of this file asks it: groups of addresses and units choose service, and no storage has alone = \"arbiter\". When it dies, nothing of them stops.", p.Name)
		}
	}
}

func (n *notes) inFiles(g arbiter.Group) {
	both := list(g.Members)
	n.add(Promise, "", "This node is the arbiter of group %s: %s may go on alone when the other one cannot be asked, one of them at a time, and its answer is on the disk before it is given.", g.Name, both)
	n.add(Limit, "", "When this node dies, %s go on as they are, and a group of addresses alone asks no arbiter. But then neither may go on alone: if one of the two dies, too, or they lose each other, "+
		"what has to be on one node only waits for this node or for a person.", both)
	n.add(Limit, "", "A copy of this node's disk that is put back is an old record. It is found out, and refused, when a member knows of a later number; so restore no image of it without kvmha arbiter create.")
	n.add(Task, "kvmha arbiter create "+g.Name, "The record of group %s is made once, by hand.", g.Name)
	n.add(Task, "kvmha pair", "This node and %s have to know each other's keys, and it stands on neither of their hosts, power or switches.", both)
}

func (n *notes) inEtcd(g arbiter.Group) {
	both, at := list(g.Members), n.spec.Etcd
	n.add(Promise, "", "The record of group %s is in the etcd at %s: %s may go on alone when the other one cannot be asked, one of them at a time, and an answer is kept by most of its members before it is given.",
		g.Name, list(at.Endpoints), both)
	if slices.Contains(g.Members, n.spec.Node) {
		n.add(Promise, "", "This node asks the etcd by itself; the other member of group %s needs the same [arbiter.etcd], or an arbiter that has it.", g.Name)
	} else {
		n.add(Task, "kvmha pair", "This node asks the etcd for %s, and they ask this node: they have to know each other's keys. When it dies, neither may go on alone; another node with the same [arbiter.etcd] beside it asks as well.", both)
	}
	n.add(Limit, "", "While most of the etcd, or the way to it, is away, %s go on as they are, but neither may go on alone: a timeout is never a yes.", both)
	if len(at.Endpoints) == 1 {
		n.add(Limit, "", "One endpoint of etcd is named: if it dies, the others of its cluster are not asked. An etcd of one member alone is one machine that may die.")
	}
	n.add(Limit, "", "A backup of the etcd that is put back is an old record. It is found out, and refused, when a member knows of a later number; so restore none without kvmha arbiter create %s.", g.Name)
	if slices.ContainsFunc(at.Endpoints, func(e string) bool { return strings.HasPrefix(e, "http:") }) {
		n.add(Limit, "", "The way to the etcd on this node is not encrypted: every user of this node who reaches its port can change the record.")
	} else {
		n.add(Limit, "", "Whoever may write to the etcd below %s can change the record: give its certificates to nobody else. A wall clock that is wrong by more than a certificate allows is a refusal, not an answer.", at.Prefix)
	}
	n.add(Task, "kvmha arbiter create "+g.Name, "The record of group %s is made once, by hand, on one node that has this [arbiter.etcd].", g.Name)
	n.add(Task, "", "Most of the etcd stands neither on the hosts of %s nor on the power or switches of one of them.", both)
}
