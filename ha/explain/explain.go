package explain

import (
	"fmt"
	"net/netip"
	"slices"

	"kvmctl/ha"
	"kvmctl/ha/check"
	"kvmctl/ha/confsync"
)

// Kind is what a Sentence is.
type Kind int

// The kinds, in the order in which they are told.
const (
	Warning Kind = iota // something found on this node that does not go with the file
	Promise             // what the file promises
	Limit               // what it cannot rule out
	Task                // what somebody has to see to, once
)

func (k Kind) String() string { return [...]string{"warning", "promise", "limit", "task"}[k] }

// MarshalText gives the kind's name.
func (k Kind) MarshalText() ([]byte, error) { return []byte(k.String()), nil }

// Sentence is one thing that the file means.
type Sentence struct {
	Group string `json:"group,omitempty"` // "": the node as a whole
	Kind  Kind   `json:"kind"`
	Text  string `json:"text"`
	Fix   string `json:"fix,omitempty"` // what can be typed
}

// Facts are what was found on this node. A nil map: nobody looked.
type Facts struct {
	Interfaces map[string]bool               // name → it is there, for those that the file names
	AtBoot     map[string][]string           // unit → what starts it at boot, as ha/unit tells; empty: nothing does
	Missing    map[string]bool               // unit → it is not installed
	Tick       bool                          // kvmha-tick runs
	Paired     map[string]bool               // [peer.<name>] → its key is known here
	SIDs       map[string]Compared           // group/check, of each of type sid → what it says now
	Own        []netip.Addr                  // this node's addresses
	Unsafe     []error                       // why the agent refuses the storage of the file here
	Private    map[string][]confsync.Private // sync → what it would copy although it belongs to one node
}

// Compared is what a check says that was asked once.
type Compared struct {
	Verdict check.Verdict
	Reason  string // empty for check.Pass
}

// Explain gives the sentences: those of the node as a whole, then those of each group in the file's order, each time in the order of the kinds.
func Explain(spec ha.Spec, facts Facts) []Sentence {
	n := &notes{spec: spec, facts: facts, life: lifetime(spec, facts.Tick)}
	n.node()
	all := n.take("")
	for i := range spec.Groups {
		g := &spec.Groups[i]
		n.found(g)
		n.misplaced(g)
		n.moves(g)
		n.storage(g)
		n.service(g)
		n.syncs(g)
		n.limits(g)
		n.tasks(g)
		all = append(all, n.take(g.Name)...)
	}
	return all
}

// notes gathers the sentences of one group, or of the node.
type notes struct {
	spec  ha.Spec
	facts Facts
	life  life
	list  []Sentence
}

func (n *notes) add(k Kind, fix, format string, args ...any) {
	n.list = append(n.list, Sentence{Kind: k, Text: fmt.Sprintf(format, args...), Fix: fix})
}

func (n *notes) take(group string) []Sentence {
	list := n.list
	n.list = nil
	for i := range list {
		list[i].Group = group
	}
	slices.SortStableFunc(list, func(a, b Sentence) int { return int(a.Kind - b.Kind) })
	return list
}
