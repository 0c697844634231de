package hostcmd

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"sync"

	"kvmctl/vm"
	"kvmctl/vm/image"
)

// carryOut deletes, and gives what is kept. vm.toml goes first, to a name of its own beside it: from then on there is no such guest,
// and a delete that was killed anywhere after finds there what it has to finish. The caller holds the guest's lock.
func (p *deletePlan) carryOut(l vm.Layout, name string) (kept []string, err error) {
	etc, lib := l.GuestEtcDir(name), l.GuestLibDir(name)
	if present(l.GuestToml(name)) {
		if err := os.Rename(l.GuestToml(name), l.GuestTomlDeleted(name)); err != nil {
			return nil, err
		}
		if err := syncDir(etc); err != nil {
			return nil, err
		}
	}
	for _, path := range p.images {
		if err := remove(path); err != nil {
			return nil, err
		}
	}
	if p.seed != "" {
		if err := remove(p.seed); err != nil {
			return nil, err
		}
	}
	for _, path := range append(l.OldABILocks(name), l.VNCWish(name), l.History(name), l.HistoryOld(name), l.ConsoleLog(name), l.ConsoleLogOld(name),
		l.HooksDue(name), l.LastStart(name), l.ABILock(name), l.SavedState(name), l.SavedState(name)+".part") {
		if err := remove(path); err != nil {
			return nil, err
		}
	}
	if err := os.RemoveAll(l.SnapshotDir(name)); err != nil {
		return nil, err
	}
	if present(lib) {
		if _, err := image.CleanTemp(lib); err != nil {
			return nil, err
		}
	}
	for _, dir := range []string{lib, etc} {
		if err := removeTemporary(dir); err != nil {
			return nil, err
		}
	}
	if err := remove(l.GuestTomlDeleted(name)); err != nil {
		return nil, err
	}
	for _, dir := range []string{lib, etc} {
		_ = os.Remove(dir) // only if it is empty
	}
	for _, path := range p.disks {
		if present(path) {
			kept = append(kept, path)
		}
	}
	for _, dir := range []string{lib, etc} {
		left, err := filesBelow(dir)
		if err != nil {
			return nil, err
		}
		kept = append(kept, left...)
	}
	slices.Sort(kept)
	kept = slices.Compact(kept)
	return kept, remove(l.GuestLock(name)) // last: we hold it
}

// remove deletes a file; one that is gone already is no error.
func remove(path string) error {
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

func syncDir(path string) error {
	d, err := os.Open(path)
	if err != nil {
		return err
	}
	defer d.Close()
	if err := d.Sync(); err != nil {
		return fmt.Errorf("sync directory: %w", err)
	}
	return nil
}

// temporary is how package atomicfile calls what it has not finished.
var temporary = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`^\.tmp-[0-9]+$`) })

func removeTemporary(dir string) error {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, e := range entries {
		if e.Type().IsRegular() && temporary().MatchString(e.Name()) {
			if err := remove(filepath.Join(dir, e.Name())); err != nil {
				return err
			}
		}
	}
	return nil
}

// filesBelow gives everything below dir but directories, following no link.
func filesBelow(dir string) ([]string, error) {
	var files []string
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err == nil && !d.IsDir() {
			files = append(files, path)
		}
		return err
	})
	return files, err
}
