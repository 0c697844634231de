// Package lint says what is dangerous, wrong or merely odd about the DRBD of a node: in drbd.conf here and at the peer, in what is mounted
// or begun at boot behind the agent's back. Lint is pure; Gather reads the facts.
package lint

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"kvmctl/ha/drbd/conf"
)

// Severity of a finding.
type Severity string

// The severities, the worst first.
const (
	Danger  Severity = "danger"  // data can be lost: the agent refuses to start
	Warning Severity = "warning" // it will not do what was meant, or not when it is needed
	Note    Severity = "note"
)

var rank = map[Severity]int{Danger: 0, Warning: 1, Note: 2}

// Finding is one thing to mend.
type Finding struct {
	Severity Severity      `json:"severity"`
	Position conf.Position `json:"position"`
	Other    conf.Position `json:"other,omitzero"` // the second place, where there are two
	What     string        `json:"what"`
	Why      string        `json:"why"`
	Better   string        `json:"better"`
}

func (f Finding) String() string {
	s := fmt.Sprintf("%s: %s: %s", f.Position, f.Severity, f.What)
	if !f.Other.IsZero() {
		s += " (" + f.Other.String() + ")"
	}
	return s
}

// Input is what Lint judges.
type Input struct {
	Here, Peer     *conf.Config // Peer: nil where it is not known
	Host, PeerHost string       // as uname -n has them; "" where not known
	Facts
	Groups []Group
}

// Facts are what a machine's files say beside drbd.conf.
type Facts struct {
	DRBD      int       // major version of the loaded kernel module; 0: none is loaded
	Mounts    []Mount   // of fstab and of mount units
	AtBoot    []Link    // what begins with the machine
	Watchdogs []Setting // RuntimeWatchdogSec of systemd, the one that counts last
	Helper    Setting   // what the kernel calls for a handler; empty: not known

	Programs map[string]Program // GatherPrograms of Commands; nil: nobody looked
	Self     string             // the path of the kvmha that looks; "": it is not on this machine
}

// Mount is a line of fstab(5) or a systemd.mount(5).
type Mount struct {
	What, Where string
	Options     []string
	Unit        string // of systemd; "" in fstab
	At          conf.Position
}

// Link has the system begin a unit at boot.
type Link struct {
	Unit string // with its type; a script of /etc/init.d is a service
	At   conf.Position
}

// Setting is a line of a configuration file.
type Setting struct {
	Value string
	At    conf.Position
}

// Group is a group of kvmha.toml.
type Group struct {
	Name      string
	At        conf.Position // the file
	Units     []string      // of systemd or /etc/init.d
	Storage   bool          // it has DRBD resources or file systems
	Resources []string
	Mounts    []GroupMount
}

// GroupMount is a file system that the agent mounts.
type GroupMount struct{ Device, Dir string }

// most bounds the findings of one rule.
const most = 50

// Lint judges, the worst first; of equals, in the order of the rules and of the files.
func Lint(in Input) []Finding {
	l := &linter{in: in, said: map[Finding]bool{}}
	for _, rule := range []func(){l.refused, l.policies, l.storage, l.secrets, l.startup, l.rates, l.slips, l.hosts, l.twice, l.mounts, l.groups, l.orphans, l.programs, l.units, l.watchdog, l.differ} {
		before := len(l.all)
		rule()
		l.all = append(l.all[:before], cut(l.all[before:])...)
	}
	worstFirst(l.all)
	return l.all
}

func worstFirst(all []Finding) {
	slices.SortStableFunc(all, func(a, b Finding) int { return cmp.Compare(rank[a.Severity], rank[b.Severity]) })
}

// cut keeps the findings of one rule to the bound, the worst first, so that none is hidden behind many that matter less.
func cut(all []Finding) []Finding {
	worstFirst(all)
	if len(all) <= most {
		return all
	}
	first := all[most-1]
	return append(all[:most-1:most-1], Finding{Severity: first.Severity, Position: first.Position, What: fmt.Sprintf("%d more of this rule", len(all)-most+1)})
}

type linter struct {
	in   Input
	all  []Finding
	said map[Finding]bool
}

func (l *linter) say(s Severity, at conf.Position, what, why, better string) {
	f := Finding{Severity: s, Position: at, What: what, Why: why, Better: better}
	if !l.said[f] {
		l.said[f] = true
		l.all = append(l.all, f)
	}
}

// refused tells what drbdadm would not take, in both configurations.
func (l *linter) refused() {
	for _, c := range []*conf.Config{l.in.Here, l.in.Peer} {
		if c == nil {
			continue
		}
		for _, p := range c.Problems {
			better := ""
			if p.Near != "" {
				better = p.Near
			}
			l.say(Warning, p.At, p.Why, "drbdadm refuses the file for it, or knows what we do not", better)
		}
	}
}

// places are the resources that lack something, told as one finding.
type places []*conf.Resource

func (p places) at() conf.Position { return p[0].Name.At }

func (p places) String() string {
	var names []string
	for _, r := range p {
		names = append(names, r.Name.Text)
	}
	return listed(names)
}

// listed joins names, the first five.
func listed(names []string) string {
	if len(names) > 5 {
		return strings.Join(names[:5], ", ") + fmt.Sprintf(" and %d more", len(names)-5)
	}
	return strings.Join(names, ", ")
}

// options calls f for each option that counts somewhere: of the resources, of what they have from common, of connections, hosts and volumes.
func (l *linter) options(f func(conf.Option)) {
	seen := map[conf.Position]bool{}
	each := func(list []conf.Option) {
		for _, o := range list {
			if last, _ := conf.Last(list, o.Section, o.Name); last.At == o.At && !seen[o.At] {
				seen[o.At] = true
				f(o)
			}
		}
	}
	for _, r := range l.in.Here.Resources {
		each(slices.Concat(l.in.Here.Common, r.Options))
		for _, h := range r.Hosts {
			each(h.Options)
			for _, v := range r.VolumesOn(h) {
				each(v.Options)
			}
		}
		for _, k := range r.Connections {
			each(k.Options)
			for _, v := range k.Volumes {
				each(v.Options)
			}
		}
	}
	if len(l.in.Here.Resources) == 0 {
		each(l.in.Here.Common)
	}
}

// lacking gives the resources for which nothing holds.
func (l *linter) lacking(s conf.Section, name string) (p places) {
	for _, r := range l.in.Here.Resources {
		if _, ok := l.in.Here.Option(r, s, name); !ok {
			p = append(p, r)
		}
	}
	return p
}

// nine reports that the configuration is one of DRBD 9; sure: not by its looks.
func (l *linter) nine() (yes, sure bool) {
	if l.in.DRBD != 0 {
		return l.in.DRBD >= 9, true
	}
	for _, r := range l.in.Here.Resources {
		if len(r.Connections) > 0 {
			return true, true
		}
		for _, h := range r.Hosts {
			if h.NodeID.Text != "" {
				return true, true
			}
		}
	}
	return false, false
}
