// Package atomicfile replaces files so that a reader, or a machine after a power cut, finds the old content or the new, never a part.
package atomicfile

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// Write replaces path by data: temporary file, fsync, rename, fsync of the directory.
func Write(path string, data []byte, perm fs.FileMode) error {
	return WriteAs(path, data, perm, Owner{-1, -1})
}

// Owner is who a file belongs to; -1 is whoever writes it.
type Owner struct{ UID, GID int }

// WriteAs is Write for a file that belongs to somebody.
func WriteAs(path string, data []byte, perm fs.FileMode, owner Owner) error {
	if err := write(path, data, perm, owner, true); err != nil {
		return err
	}
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return fmt.Errorf("open directory: %w", err)
	}
	defer dir.Close()
	if err := dir.Sync(); err != nil {
		return fmt.Errorf("sync directory %s: %w", dir.Name(), err)
	}
	return nil
}

// WriteVolatile is Write without the fsyncs: for state under /run, which no power cut outlives.
func WriteVolatile(path string, data []byte, perm fs.FileMode) error {
	return write(path, data, perm, Owner{-1, -1}, false)
}

func write(path string, data []byte, perm fs.FileMode, owner Owner, sync bool) (err error) {
	f, err := os.CreateTemp(filepath.Dir(path), ".tmp-")
	if err != nil {
		return fmt.Errorf("make temporary file: %w", err)
	}
	defer func() {
		if err != nil {
			f.Close()
			os.Remove(f.Name())
			if at, ok := errors.AsType[*fs.PathError](err); ok && at.Path == f.Name() {
				at.Path = path // the name that its reader knows
			}
		}
	}()
	if owner != (Owner{-1, -1}) && owner != (Owner{os.Geteuid(), os.Getegid()}) {
		if err := f.Chown(owner.UID, owner.GID); err != nil {
			return err
		}
	}
	if err := f.Chmod(perm); err != nil {
		return err
	}
	if _, err := f.Write(data); err != nil {
		return err
	}
	if sync {
		if err := f.Sync(); err != nil {
			return err
		}
	}
	if err := f.Close(); err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}
