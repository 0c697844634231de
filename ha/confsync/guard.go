package confsync

import (
	"fmt"
	"io/fs"
	"strings"
)

// Changes counts the files of one run.
type Changes struct {
	Old     int `json:"old"` // files here before
	New     int `json:"new"` // files there
	Added   int `json:"added"`
	Changed int `json:"changed"`
	Deleted int `json:"deleted"`
}

// None reports whether both sides are equal.
func (c Changes) None() bool { return c.Added+c.Changed+c.Deleted == 0 }

func (c Changes) plus(o Changes) Changes {
	return Changes{c.Old + o.Old, c.New + o.New, c.Added + o.Added, c.Changed + o.Changed, c.Deleted + o.Deleted}
}

// ShrinkError says that the source has so little that it is rather broken than changed.
type ShrinkError struct {
	Path    string
	Changes Changes
	Limit   string // max_delete
}

func (e *ShrinkError) Error() string {
	if e.Changes.New == 0 {
		return fmt.Sprintf("%s is empty on the source, and has %d files here", e.Path, e.Changes.Old)
	}
	return fmt.Sprintf("%d of the %d files in %s would be deleted: max_delete is %s", e.Changes.Deleted, e.Changes.Old, e.Path, e.Limit)
}

// Hint says what to look at.
func (e *ShrinkError) Hint() string {
	return "look whether the source is complete; if it is, raise max_delete for this one run"
}

// guard refuses an empty tree over a full one, and a run that takes away more than the job lets it: of the files of this path, or of all that were
// looked at. Where a part of them may go, one may always go.
func guard(job Job, path string, c, all Changes) error {
	gone, limit := c.Deleted, max(min(job.MaxDelete, 1), c.Old*job.MaxDelete/100)
	if job.ByCount {
		gone, limit = all.Deleted, job.MaxDelete
	}
	if c.Old > 0 && c.New == 0 || gone > limit {
		return &ShrinkError{path, c, job.maxDelete()}
	}
	return nil
}

// full reports whether a tree holds anything but directories and empty files: a disk that is full leaves those.
func full(tree map[string]fs.FileInfo) bool {
	for _, info := range tree {
		if !info.IsDir() && info.Size() > 0 {
			return true
		}
	}
	return false
}

// InvalidError carries the words of the command that refused the new files.
type InvalidError struct {
	Argv []string
	Said string
}

func (e *InvalidError) Error() string {
	return fmt.Sprintf("the new files are refused by %s: %s", strings.Join(e.Argv, " "), e.Said)
}

// Hint says where to repair.
func (e *InvalidError) Hint() string {
	return "repair them on the source; the old ones are still in place here"
}
