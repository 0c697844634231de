package mount

import (
	"slices"

	"kvmctl/internal/mountinfo"
)

// number is a device's major and minor number.
type number struct{ major, minor uint32 }

func device(e mountinfo.Entry) number { return number{e.Major, e.Minor} }

// top is the mount that a path lookup of dir ends at: of those mounted there, the one that no other of them covers.
func top(table []mountinfo.Entry, dir string) (mountinfo.Entry, bool) {
	here := make(map[uint64]mountinfo.Entry)
	for _, e := range table {
		if e.Point == dir {
			here[e.ID] = e
		}
	}
	covered := make(map[uint64]bool)
	for _, e := range here {
		if e.Parent != e.ID {
			covered[e.Parent] = true
		}
	}
	for id, e := range here {
		if !covered[id] {
			return e, true
		}
	}
	return mountinfo.Entry{}, false
}

// of gives the mounts of a device.
func of(table []mountinfo.Entry, dev number) []mountinfo.Entry {
	return slices.DeleteFunc(slices.Clone(table), func(e mountinfo.Entry) bool { return device(e) != dev })
}

// undo gives the mounts of a device and all that is mounted on them, in the order in which they can be unmounted by their paths: what lies
// on a mount before it, and of two on the same mount the one that came last before the one that it may hide.
func undo(table []mountinfo.Entry, dev number) []mountinfo.Entry {
	on := make(map[uint64][]mountinfo.Entry)
	for _, e := range table {
		if e.Parent != e.ID {
			on[e.Parent] = append(on[e.Parent], e)
		}
	}
	var order []mountinfo.Entry
	seen := make(map[uint64]bool)
	var visit func(e mountinfo.Entry)
	visit = func(e mountinfo.Entry) {
		if seen[e.ID] { // the table was read while it changed
			return
		}
		seen[e.ID] = true
		above := on[e.ID]
		slices.SortFunc(above, func(a, b mountinfo.Entry) int { return int(int64(b.ID) - int64(a.ID)) })
		for _, a := range above {
			visit(a)
		}
		order = append(order, e)
	}
	ours := of(table, dev)
	slices.SortFunc(ours, func(a, b mountinfo.Entry) int { return int(int64(b.ID) - int64(a.ID)) })
	for _, e := range ours {
		visit(e)
	}
	return order
}
