package confsync

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"time"
)

// What else lies beside a directory while it is copied.
const (
	arrived = "came"  // what rsync has brought: all directories, and the files that differ
	spare   = "spare" // a tree that is needed no more; most of its files are those in place, so the next one is made of it
)

// sameTree reports whether a directory is on the source what it is here: listed are all names there, came is what rsync has brought.
func sameTree(old, came map[string]fs.FileInfo, listed map[string]bool) bool {
	for name, c := range came {
		o, is := old[name]
		if !is || !c.IsDir() || c.Mode() != o.Mode() || !sameOwner(c, o) {
			return false
		}
	}
	for name := range old {
		if !listed[name] {
			return false
		}
	}
	return len(listed) == len(old)
}

// told reports whether what is listed is there, in what came or in what is here, and each below a directory that came.
func told(p string, old, came map[string]fs.FileInfo, listed map[string]bool) error {
	for name := range listed {
		_, is := came[name]
		o, was := old[name]
		parent, there := came[filepath.Dir(name)]
		if !is && (!was || o.IsDir()) || !there || !parent.IsDir() {
			return fmt.Errorf("pull %s: %q is on the source, and did not come", p, cut(name))
		}
	}
	return nil
}

// assemble makes the staged tree of a directory: what came is moved into it, and what is equal is a hard link to the file in place. No file is written,
// and none gets another owner, mode or time: they are those in place. have is what the spare tree has.
func assemble(p string, old, came, have map[string]fs.FileInfo, listed map[string]bool) (err error) {
	clean, from, next := filepath.Clean(p), placeOf(p, arrived), placeOf(p, staged)
	if err := base(placeOf(p, spare), next); err != nil {
		return err
	}
	have = maps.Clone(have)
	for name, info := range have {
		c, moved := came[name]
		o, was := old[name]
		keep := moved && c.IsDir() && info.IsDir() || !moved && listed[name] && was && !info.IsDir() && os.SameFile(o, info)
		if keep {
			continue
		}
		delete(have, name)
		if err := os.RemoveAll(filepath.Join(next, name)); err != nil {
			return fmt.Errorf("clear the spare tree: %w", err)
		}
	}
	all := maps.Clone(listed)
	for name := range came {
		all[name] = true
	}
	var dirs []string
	for _, name := range slices.Sorted(maps.Keys(all)) { // a directory comes before what is in it
		c, moved := came[name]
		_, kept := have[name]
		at := filepath.Join(next, name)
		switch {
		case moved && c.IsDir():
			dirs = append(dirs, name)
			if !kept && name != "." {
				err = os.Mkdir(at, 0o700)
			}
		case moved:
			err = os.Rename(filepath.Join(from, name), at)
		case !kept:
			err = os.Link(filepath.Join(clean, name), at)
		}
		if err != nil {
			return fmt.Errorf("stage %s: %w", filepath.Join(p, name), err)
		}
	}
	for _, name := range slices.Backward(dirs) { // what is done in a directory changes its time
		at := filepath.Join(next, name)
		if err := errors.Join(own(at, came[name]), os.Chtimes(at, time.Time{}, came[name].ModTime())); err != nil {
			return fmt.Errorf("stage %s: %w", filepath.Join(p, name), err)
		}
	}
	return nil
}

// base begins a tree, with the spare one where there is one.
func base(spare, next string) error {
	if inode(spare) != 0 {
		if err := os.Rename(spare, next); err != nil {
			return fmt.Errorf("take the spare tree: %w", err)
		}
		if err := os.Chmod(next, 0o700); err != nil {
			return fmt.Errorf("take the spare tree: %w", err)
		}
		return nil
	}
	if err := os.Mkdir(next, 0o700); err != nil {
		return fmt.Errorf("begin a tree: %w", err)
	}
	return nil
}

// discard removes a tree beside a path, or keeps it as the spare one.
func discard(side, name string) error {
	at, keep := filepath.Join(side, name), filepath.Join(side, spare)
	if info, err := os.Lstat(at); err == nil && info.IsDir() && inode(keep) == 0 {
		if err := os.Rename(at, keep); err != nil {
			return fmt.Errorf("keep a spare tree: %w", err)
		}
		return nil
	}
	if err := os.RemoveAll(at); err != nil {
		return fmt.Errorf("remove %s: %w", at, err)
	}
	return nil
}
