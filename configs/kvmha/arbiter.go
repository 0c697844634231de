package kvmha

import (
	"cmp"
	"fmt"
	"maps"
	"slices"

	"kvmctl/configs/strict"
	"kvmctl/ha/arbiter"
	"kvmctl/ha/peer"
)

// arbiter gives the groups whose records this node keeps, in the order of the file.
func (l *loader) arbiter(raw map[string]rawArbiterGroup, file *rawFile) (all []arbiter.Group) {
	at := map[string]int{}
	for name := range raw {
		at[name] = l.Offset(strict.Join("arbiter.group", name))
	}
	for _, name := range slices.SortedFunc(maps.Keys(raw), func(a, b string) int { return cmp.Compare(at[a], at[b]) }) {
		path, members := strict.Join("arbiter.group", name), raw[name].Members
		if why := badGroupName(name); why != "" {
			l.Key(path, fmt.Sprintf("bad group name %q: %s", name, why), "")
		}
		if _, own := file.Groups[name]; own && !l.inEtcd() {
			l.Key(path, fmt.Sprintf("group %q is this node's own: its arbiter has to be a third node", name), "or an etcd, by [arbiter.etcd]")
		}
		if !l.need(path, "members", members != nil, fmt.Sprintf("arbiter of group %q: it has no members", name), `members = ["varda1", "varda2"]`) || l.Bad[path+".members"] {
			continue
		}
		if len(members) != 2 {
			l.Value(path+".members", fmt.Sprintf("a group has 2 members, got %d", len(members)), "")
		}
		for i, m := range members {
			p := strict.Element(path+".members", i)
			switch other, ok := file.Peers[m]; {
			case slices.Contains(members[:i], m):
				l.Value(p, fmt.Sprintf("%s is a member twice", strict.Quote(m)), "")
			case file.Node != nil && m == *file.Node && l.inEtcd(): // it asks by itself
			case !ok && file.Node != nil && m == *file.Node:
				l.Value(p, fmt.Sprintf("%s is this node itself: an arbiter is a third node", strict.Quote(m)), "or an etcd, by [arbiter.etcd]")
			case !ok:
				fix := "add a [peer.<name>] with its addresses"
				if file.Node == nil && l.inEtcd() {
					fix += ", or node = " + strict.Quote(m) + " if it is this one"
				}
				l.Value(p, fmt.Sprintf("%s is no node of this file", strict.Quote(m)), fix)
			case other.Role != nil && *other.Role == string(peer.Arbiter):
				l.Value(p, fmt.Sprintf("%s is an arbiter, and so no member", strict.Quote(m)), "")
			}
		}
		all = append(all, arbiter.Group{Name: name, Members: members})
	}
	return all
}
