package lint

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"kvmctl/ha/drbd/conf"
	"kvmctl/internal/nearest"
)

// host is a name and where it is said.
type host struct {
	name      string
	at        []conf.Position // by resource
	resources []string
}

func (l *linter) named() (all []*host) {
	for _, r := range l.in.Here.Resources {
		for _, h := range r.Hosts {
			for _, n := range h.Names {
				i := slices.IndexFunc(all, func(k *host) bool { return k.name == n.Text })
				if i < 0 {
					i = len(all)
					all = append(all, &host{name: n.Text})
				}
				if !slices.Contains(all[i].resources, r.Name.Text) {
					all[i].at, all[i].resources = append(all[i].at, n.At), append(all[i].resources, r.Name.Text)
				}
			}
		}
	}
	return all
}

// hosts tells of names that fit nobody.
func (l *linter) hosts() {
	if c := l.in.Here; len(c.Resources) == 0 && len(c.Files) > 0 {
		l.say(Note, conf.Position{File: c.Files[0].Name}, "no resource", "drbdadm has nothing to bring up: an include that matches no file is no error", "kvmha drbd template")
	}
	all := l.named()
	const many = 200 // names; more are not compared with each other
	told := map[string]bool{}
	for i, a := range all[:min(len(all), many)] {
		for _, b := range all[i+1 : min(len(all), many)] {
			if together(a, b) || !slip(a.name, b.name) {
				continue
			}
			told[a.name], told[b.name] = true, true
			wrong, right := b, a // of the two, the one that nobody is called
			if b.name == l.in.Host || b.name == l.in.PeerHost {
				wrong, right = a, b
			}
			better := "on " + right.name
			if right.name != l.in.Host && right.name != l.in.PeerHost {
				better = "the name that uname -n gives there, in each of them"
			}
			l.all = append(l.all, Finding{Warning, wrong.at[0], right.at[0],
				fmt.Sprintf("host %q in %s, but %q in %s", wrong.name, listed(wrong.resources), right.name, listed(right.resources)),
				"two spellings of one host? drbdadm passes over a resource that does not name its node, and the resource never connects", better})
		}
	}
	for _, h := range all {
		if len(h.resources) == 1 && len(l.in.Here.Resources) > 2 && !told[h.name] {
			l.say(Note, h.at[0], fmt.Sprintf("host %q is in resource %s alone", h.name, h.resources[0]), "a name that is nowhere else may be a slip", "")
		}
	}
	for _, name := range []string{l.in.Host, l.in.PeerHost} {
		if name != "" && len(all) > 0 && !slices.ContainsFunc(all, func(h *host) bool { return h.name == name }) && !told[name] {
			l.say(Warning, all[0].at[0], fmt.Sprintf("no resource names %s", name), "drbdadm passes over every resource there", "on "+name)
		}
	}
	for _, r := range l.in.Here.Resources {
		if len(r.Hosts) == 1 {
			l.say(Warning, r.Name.At, "resource "+r.Name.Text+" has one host", "it has nobody to replicate to", "a second on section")
		}
	}
}

func together(a, b *host) bool {
	return slices.ContainsFunc(a.resources, func(r string) bool { return slices.Contains(b.resources, r) })
}

// slip reports that two names differ like a typing error, not by a number.
func slip(a, b string) bool {
	letters := func(s string) string {
		return strings.Map(func(r rune) rune {
			if r >= '0' && r <= '9' {
				return -1
			}
			return r
		}, s)
	}
	_, near := nearest.Find(a, []string{b})
	return near && letters(a) != letters(b)
}

// twice tells what two volumes or resources of one host share.
func (l *linter) twice() {
	type use struct {
		at   conf.Position
		what string // the resource
	}
	used := map[string]use{}
	again := func(s Severity, key, what, why, better string, at conf.Position, by string) {
		first, ok := used[key]
		switch {
		case !ok:
			used[key] = use{at, by}
		case first.at != at: // not inherited
			l.all = append(l.all, Finding{s, at, first.at, fmt.Sprintf("%s in %s and in %s", what, first.what, by), why, better})
		}
	}
	for _, r := range l.in.Here.Resources {
		for _, h := range r.Hosts {
			for _, name := range h.Names {
				on := name.Text + "\x00"
				if a := h.Address; a.Port != 0 {
					again(Warning, on+a.String(), "address "+a.String()+" of "+name.Text, "two resources cannot listen on one port", "a port for each resource", a.At, r.Name.Text)
				}
				for _, v := range r.VolumesOn(h) {
					by := r.Name.Text
					if !v.Implicit {
						by += " volume " + strconv.Itoa(v.Number)
					}
					if v.Minor >= 0 {
						again(Warning, on+"minor"+strconv.Itoa(v.Minor), fmt.Sprintf("minor %d of %s", v.Minor, name.Text), "drbdadm refuses the file", "a minor for each volume", v.MinorAt, by)
					}
					if v.Disk.Text != "" && v.Disk.Text != "none" {
						again(Danger, on+"disk"+v.Disk.Text, "disk "+v.Disk.Text+" of "+name.Text, "two devices write over each other, and drbdadm does not notice", "a disk for each volume", v.Disk.At, by)
					}
					if v.MetaDisk.Text != "" && v.MetaDisk.Text != "internal" {
						again(Danger, on+"meta"+v.MetaDisk.Text+" "+v.MetaIndex.Text, strings.TrimSpace("meta-disk "+v.MetaDisk.Text+" "+v.MetaIndex.Text)+" of "+name.Text, "two devices write over each other's records", "a meta-disk, or an index of it, for each volume", v.MetaDisk.At, by)
					}
				}
			}
		}
	}
}

// differ compares with the peer.
func (l *linter) differ() {
	if l.in.Peer == nil {
		return
	}
	type key struct{ what, here, there string }
	groups := map[key]int{} // to findings: what is common to many resources is told once
	for _, d := range conf.Diff(l.in.Here, l.in.Peer) {
		what := strings.TrimSpace(d.About + ": " + d.What)
		if d.What == "" {
			what = d.About
		}
		k := key{d.What, d.Here.At.String() + d.Here.Text, d.There.Text}
		if d.Here.Text == "" {
			k = key{d.What, "", d.There.At.String() + d.There.Text}
		}
		if i, ok := groups[k]; ok && d.What != "" {
			if !strings.HasSuffix(l.all[i].What, ", and elsewhere") {
				l.all[i].What += ", and elsewhere"
			}
			continue
		}
		said := func(v conf.Value) string {
			if v.Text == "" {
				return "nothing"
			}
			return v.Text
		}
		f := Finding{Severity: Warning, Position: d.Here.At, Other: d.There.At, Why: "the two nodes do not mean the same: they may not connect, or one decides what the other does not expect", Better: "the same on both nodes"}
		switch {
		case d.What != "":
			f.What = what + " is " + said(d.Here) + " here, " + said(d.There) + " at the peer"
		case d.HereOnly:
			f.What = what + " is here, not at the peer"
		default:
			f.What = what + " is at the peer, not here"
		}
		groups[k] = len(l.all)
		l.all = append(l.all, f)
	}
}
