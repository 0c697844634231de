package confsync

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
)

// maxFiles bounds a tree.
const maxFiles = 1 << 20

var errTooMany = fmt.Errorf("more than %d files", maxFiles)

// excluded reports whether a path below a directory is left alone; what lies below an excluded directory is not asked.
func excluded(patterns []string, rel string) bool {
	for _, p := range patterns {
		name := rel
		if !strings.Contains(p, "/") {
			name = path.Base(rel)
		}
		if ok, err := path.Match(strings.Trim(p, "/"), name); ok && err == nil {
			return true
		}
	}
	return false
}

// entries lists what lies below root, excluded ones apart. A root that is a file is one entry, and one that is not there none.
func entries(root string, exclude []string) (kept map[string]fs.FileInfo, apart []string, err error) {
	kept = map[string]fs.FileInfo{}
	root = filepath.Clean(root)
	err = filepath.WalkDir(root, func(at string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel := "."
		if at != root {
			rel = at[len(root)+1:] // Join has cleaned it
		}
		if rel != "." && excluded(exclude, filepath.ToSlash(rel)) {
			if apart = append(apart, rel); d.IsDir() {
				return filepath.SkipDir
			}
			return nil
		}
		if len(kept) >= maxFiles {
			return errTooMany
		}
		info, err := d.Info()
		if err == nil {
			kept[rel] = info
		}
		return err
	})
	if errors.Is(err, fs.ErrNotExist) {
		return kept, nil, nil
	}
	if err != nil {
		return nil, nil, fmt.Errorf("list %s: %w", root, err)
	}
	return kept, apart, nil
}

// compare counts what differs, as rsync sees it: kind, size, time of change, mode.
func compare(old, next map[string]fs.FileInfo) (c Changes) {
	for name, a := range old {
		b, there := next[name]
		if !a.IsDir() {
			c.Old++
		}
		switch {
		case !there && !a.IsDir():
			c.Deleted++
		case !there: // its files count
		case a.Mode() != b.Mode() || !sameOwner(a, b) || !a.IsDir() && (a.Size() != b.Size() || !a.ModTime().Equal(b.ModTime())):
			c.Changed++
		}
	}
	for name, b := range next {
		if b.IsDir() {
			continue
		}
		c.New++
		if _, there := old[name]; !there {
			c.Added++
		}
	}
	return c
}

// refresh makes the excluded ones of a tree that is to be at p those that are there now.
func refresh(p, next string, exclude []string) error {
	if len(exclude) == 0 {
		return nil
	}
	_, here, err := entries(filepath.Clean(p), exclude)
	if err != nil {
		return err
	}
	came, there, err := entries(next, exclude)
	if err != nil {
		return err
	}
	if err := onlyBelow(p, came, here); err != nil {
		return err
	}
	for _, name := range there {
		if err := os.RemoveAll(filepath.Join(next, name)); err != nil {
			return fmt.Errorf("remove an excluded file: %w", err)
		}
	}
	return carry(filepath.Clean(p), next, here)
}

// carry puts the excluded ones of a directory into the one that will take its place: as the same files, which their daemon may have open.
func carry(from, to string, apart []string) error {
	for _, top := range apart {
		if err := filepath.WalkDir(filepath.Join(from, top), func(at string, d fs.DirEntry, err error) error {
			if err != nil {
				return err
			}
			rel, err := filepath.Rel(from, at)
			if err != nil {
				return err
			}
			dst := filepath.Join(to, rel)
			if !d.IsDir() {
				err := os.Link(at, dst)
				if errors.Is(err, fs.ErrNotExist) { // its directory is not on the source any more
					return nil
				}
				return err
			}
			info, err := d.Info()
			if err != nil {
				return err
			}
			if err := os.Mkdir(dst, info.Mode().Perm()); err != nil {
				if errors.Is(err, fs.ErrNotExist) {
					return filepath.SkipDir
				}
				return err
			}
			return own(dst, info)
		}); err != nil {
			return fmt.Errorf("keep the excluded %s: %w", top, err)
		}
	}
	return nil
}
