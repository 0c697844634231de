package mount

import (
	"path/filepath"
	"strings"

	"kvmctl/internal/mountinfo"
)

// remaining gives the mounts of a device in another namespace that do not go by themselves when the mount main of the own namespace goes. An
// unmount below a shared mount happens below all of its peers and their slaves as well (mount_namespaces(7)), which most units of systemd
// with a namespace of their own are. all are the tables of every namespace: groups of slaves may lie between the two.
func remaining(own []mountinfo.Entry, main mountinfo.Entry, other []mountinfo.Entry, dev number, all map[uint64][]mountinfo.Entry) []mountinfo.Entry {
	ours := of(other, dev)
	parent, ok := byID(own, main.Parent)
	if main.ID == 0 || !ok || parent.Shared == 0 {
		return ours
	}
	reached := reach(parent.Shared, all)
	var left []mountinfo.Entry
	for _, e := range ours {
		p, ok := byID(other, e.Parent)
		goes := ok && (reached[p.Shared] || reached[p.Master]) && device(p) == device(parent) && place(p, e) == place(parent, main)
		if !goes {
			left = append(left, e)
		}
	}
	return left
}

// reach gives the peer groups that what happens in group reaches.
func reach(group uint64, all map[uint64][]mountinfo.Entry) map[uint64]bool {
	reached := map[uint64]bool{group: true}
	for grown := true; grown; {
		grown = false
		for _, table := range all {
			for _, e := range table {
				if e.Shared != 0 && e.Master != 0 && reached[e.Master] && !reached[e.Shared] {
					reached[e.Shared], grown = true, true
				}
			}
		}
	}
	return reached
}

func byID(table []mountinfo.Entry, id uint64) (mountinfo.Entry, bool) {
	for _, e := range table {
		if e.ID == id {
			return e, true
		}
	}
	return mountinfo.Entry{}, false
}

// place is where in its parent's file system a mount lies.
func place(parent, e mountinfo.Entry) string {
	return filepath.Join(parent.Root, strings.TrimPrefix(e.Point, parent.Point))
}

// overlays gives the overlays of a table that have a layer within one of the directories.
func overlays(table []mountinfo.Entry, dirs []string) []mountinfo.Entry {
	var all []mountinfo.Entry
	for _, e := range table {
		if e.Type == "overlay" && layered(e.Super, dirs) {
			all = append(all, e)
		}
	}
	return all
}

// layered reports whether one of an overlay's layers is within one of the directories (overlayfs: lowerdir=a:b, upperdir=, workdir=).
func layered(super string, dirs []string) bool {
	for o := range strings.SplitSeq(super, ",") {
		key, value, _ := strings.Cut(o, "=")
		switch strings.TrimSuffix(key, "+") {
		case "lowerdir", "upperdir", "workdir", "datadir":
		default:
			continue
		}
		for layer := range strings.SplitSeq(value, ":") {
			for _, dir := range dirs {
				if inside(mountinfo.Unescape(layer), dir) {
					return true
				}
			}
		}
	}
	return false
}

// inside reports whether path is dir or lies below it.
func inside(path, dir string) bool {
	rest, ok := strings.CutPrefix(path, dir)
	return ok && (rest == "" || rest[0] == '/' || dir == "/")
}
