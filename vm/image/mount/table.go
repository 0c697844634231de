package mount

import "kvmctl/internal/mountinfo"

// mountsOf counts the mounts of a source on a directory.
func mountsOf(table []mountinfo.Entry, source, dir string) int {
	n := 0
	for _, e := range table {
		if e.Source == source && e.Point == dir {
			n++
		}
	}
	return n
}
