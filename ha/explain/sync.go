package explain

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"kvmctl/ha"
	"kvmctl/ha/confsync"
)

// whenCopied tells when a standby copies.
func whenCopied(j confsync.Job) string {
	var all []string
	if j.Every > 0 {
		all = append(all, "every "+seconds(j.Every))
	}
	if j.At.Set {
		all = append(all, "each day at "+j.At.String()+" local time (or as soon as it can, if it missed that)")
	}
	if j.OnChange {
		all = append(all, "within seconds after a change that the other node tells of")
	}
	if len(all) == 0 {
		return "when kvmha sync " + j.Name + " is typed"
	}
	return strings.Join(all, " and ")
}

// syncs tells what a standby copies for a group.
func (n *notes) syncs(g *ha.Group) {
	for _, j := range n.spec.Syncs {
		if j.Group != g.Name {
			continue
		}
		n.private(j)
		when := whenCopied(j)
		n.add(Promise, "", "While this node does not serve, it copies %s from the node that does, %s (sync %q).", list(j.Paths), when, j.Name)
		if len(j.Validate) > 0 {
			n.add(Promise, "", "What sync %q brings is used only if %s accepts it; else the old files stay, and an alert has its words. Nor is it used if more files would go than max_delete allows.",
				j.Name, strings.Join(j.Validate, " "))
		} else {
			n.add(Limit, `validate = ["/usr/bin/named-checkconf", "-z"]`, "Nobody judges what sync %q brings: a mistake on the active node is copied.", j.Name)
		}
		if u := j.Unit(); u != "" {
			n.add(Promise, "", "Then it has systemd reload %s, or restart it if it cannot be; one that does not run is left alone.", u)
		} else if len(j.Reload) > 0 {
			n.add(Promise, "", "Then it runs %s.", strings.Join(j.Reload, " "))
		}
	}
}

// private warns of what belongs to one node and would be copied.
func (n *notes) private(j confsync.Job) {
	exclude, last := slices.Clone(j.Exclude), -1
	for _, p := range n.facts.Private[j.Name] {
		others, fix := "", ""
		if p.More > 0 {
			others = fmt.Sprintf(" and %d more like it", p.More)
		}
		if p.Exclude == "" {
			fix = ": take it out of paths"
		} else {
			exclude, last = append(exclude, p.Exclude), len(n.list)
		}
		n.add(Warning, "", "Sync %q would copy %s%s (%s), which belongs to one node%s.", j.Name, p.Path, others, p.What, fix)
	}
	if last >= 0 {
		n.list[last].Fix = "exclude = " + tomlList(exclude)
	}
}

// tomlList writes a list as a TOML file has it.
func tomlList(words []string) string {
	for i, w := range words {
		words[i] = strconv.Quote(w)
	}
	return "[" + strings.Join(words, ", ") + "]"
}
