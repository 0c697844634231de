package confsync

import (
	"fmt"
	"io/fs"
	"path/filepath"
)

// OddError says that the source has sent what it has no reason to.
type OddError struct{ Path, What string }

func (e *OddError) Error() string { return fmt.Sprintf("%s is %s on the source", e.Path, e.What) }

// Hint says where to look.
func (e *OddError) Hint() string {
	return "look at it on the source; the old files are still in place here"
}

// expected refuses what came for a path and is not of its kind, or is no directory, file or link at all: a source that was taken over chooses
// itself what it sends.
func expected(p string, came map[string]fs.FileInfo) error {
	root, ok := came["."]
	if !ok || root.IsDir() != directory(p) || !root.IsDir() && !root.Mode().IsRegular() {
		return &KindError{p}
	}
	for name, info := range came {
		if kind := info.Mode().Type(); kind&^(fs.ModeDir|fs.ModeSymlink) != 0 {
			return &OddError{filepath.Join(p, name), "a device, a pipe or a socket"}
		}
	}
	return nil
}

// onlyBelow refuses a link that came in place of a directory in which excluded files are here: they would be put where it leads.
func onlyBelow(p string, came map[string]fs.FileInfo, apart []string) error {
	for _, name := range apart {
		for at := filepath.Dir(name); at != "."; at = filepath.Dir(at) {
			if info, there := came[at]; there && !info.IsDir() {
				return &OddError{filepath.Join(p, at), "no directory any more"}
			}
		}
	}
	return nil
}
