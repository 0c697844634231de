package lint

import (
	"fmt"
	"slices"

	"kvmctl/ha/drbd/conf"
	"kvmctl/internal/nearest"
)

// groups tells what kvmha.toml has of DRBD that drbd.conf has not, or another group has.
func (l *linter) groups() {
	var names []string
	for _, r := range l.in.Here.Resources {
		names = append(names, r.Name.Text)
	}
	devices, below := l.devices()
	for _, g := range l.in.Groups {
		for _, name := range g.Resources {
			i := slices.Index(names, name)
			if i < 0 {
				better := "kvmha drbd template " + name
				if near, ok := nearest.Find(name, names); ok {
					better = fmt.Sprintf("resource = %q", near)
				}
				l.say(Danger, g.At, fmt.Sprintf("group %q has resource %s, and drbd.conf has not", g.Name, name), "the group could never become active", better)
				continue
			}
			if r := l.in.Here.Resources[i]; l.in.Host != "" && !slices.ContainsFunc(r.Hosts, func(h *conf.Host) bool { return len(h.Names) == 0 || h.Called(l.in.Host) }) {
				l.all = append(l.all, Finding{Danger, g.At, r.Name.At, fmt.Sprintf("group %q has resource %s, which does not name %s", g.Name, name, l.in.Host),
					"drbdadm passes over it here: the group could never become active", "on " + l.in.Host})
			}
		}
		for _, m := range g.Mounts {
			name := device(m.Device)
			of, replicated := devices[name]
			disk, isBelow := below[name]
			what := fmt.Sprintf("group %q mounts %s on %s", g.Name, m.Device, m.Dir)
			switch {
			case !replicated && isBelow:
				l.say(Danger, g.At, what, "the disk below "+disk+": what is written there passes DRBD by, and the peer never has it", "the device of "+disk)
			case !replicated:
				l.say(Danger, g.At, what, "no resource has that device here: after a take-over the other node has other data, and nobody keeps two nodes from writing", l.deviceOf(g))
			case !slices.Contains(g.Resources, of[len(resourceOf):]):
				l.say(Danger, g.At, what, "the device of "+of+", which is not the group's: it is primary when somebody else says so", fmt.Sprintf("a [[group.%s.drbd]] with resource = %q", g.Name, of[len(resourceOf):]))
			}
		}
	}
}

// orphans tells of resources that no group has.
func (l *linter) orphans() {
	if !slices.ContainsFunc(l.in.Groups, func(g Group) bool { return g.Storage }) {
		return
	}
	var left places
	for _, r := range l.in.Here.Resources {
		if !slices.ContainsFunc(l.in.Groups, func(g Group) bool { return slices.Contains(g.Resources, r.Name.Text) }) {
			left = append(left, r)
		}
	}
	if len(left) > 0 {
		l.say(Note, left.at(), "no group has "+left.String(), "the agent neither watches nor promotes what is no group's", fmt.Sprintf("a [[group.<name>.drbd]] with resource = %q", left[0].Name.Text))
	}
}

// deviceOf says what a group of one resource could mount; "" where that is not clear.
func (l *linter) deviceOf(g Group) string {
	if len(g.Resources) != 1 {
		return ""
	}
	for _, r := range l.in.Here.Resources {
		for _, h := range r.Hosts {
			if r.Name.Text != g.Resources[0] || l.in.Host != "" && !h.Called(l.in.Host) {
				continue
			}
			if all := r.VolumesOn(h); len(all) == 1 {
				if all[0].Device.Text != "" {
					return fmt.Sprintf("device = %q", all[0].Device.Text)
				}
				if all[0].Minor >= 0 {
					return fmt.Sprintf("device = \"/dev/drbd%d\"", all[0].Minor)
				}
			}
		}
	}
	return ""
}
