package confsync

import (
	"path/filepath"
	"strings"
	"time"
)

// The times of a change: files are mostly written several at once, and who writes for ever must not keep what it wrote from the others.
const (
	quiet    = 300 * time.Millisecond // nothing more has changed for so long
	patience = 3 * time.Second        // since the first change
)

// burst is a run of changes that are told as one.
type burst struct{ first, last time.Time }

// add takes a change.
func (b *burst) add(now time.Time) {
	if b.last = now; b.first.IsZero() {
		b.first = now
	}
}

// until gives when the burst is to be told; zero: there is none.
func (b *burst) until() time.Time {
	if b.first.IsZero() {
		return time.Time{}
	}
	if most := b.first.Add(patience); most.Before(b.last.Add(quiet)) {
		return most
	}
	return b.last.Add(quiet)
}

// touches reports whether what happened to a file, or directory, is of a job's files.
func (j Job) touches(file string) bool {
	for _, p := range j.Paths {
		clean := filepath.Clean(p)
		rel, below := strings.CutPrefix(file, clean+"/")
		if file == clean || below && directory(p) && !j.apart(rel) {
			return true
		}
	}
	return false
}

// apart reports whether a path below a directory is excluded, or lies below one that is.
func (j Job) apart(rel string) bool {
	for at := rel; at != "."; at = filepath.Dir(at) {
		if excluded(j.Exclude, at) {
			return true
		}
	}
	return false
}
