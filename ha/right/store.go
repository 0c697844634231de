package right

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"kvmctl/ha/arbiter"
	"kvmctl/internal/atomicfile"
	"kvmctl/internal/child"
	"kvmctl/internal/smallfile"
)

// Dir is where the records are, below the agent's state directory: one file a group.
const Dir = "right"

const (
	suffix     = ".json"
	tempPrefix = ".tmp-" // atomicfile's
)

// Store keeps records in files. One agent owns it: nothing else writes there.
type Store struct{ dir string }

// Open makes the directory, and removes what a write left behind that was cut off.
func Open(dir string) (Store, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return Store{}, fmt.Errorf("make the directory of the records of who may be alone: %w", err)
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return Store{}, fmt.Errorf("list the records of who may be alone: %w", err)
	}
	for _, e := range entries {
		if !strings.HasPrefix(e.Name(), tempPrefix) {
			continue
		}
		if err := os.Remove(filepath.Join(dir, e.Name())); err != nil {
			return Store{}, fmt.Errorf("remove what a write left behind: %w", err)
		}
	}
	return Store{dir}, nil
}

// Path is where a group's record is, for people.
func (s Store) Path(group string) string { return filepath.Join(s.dir, group+suffix) }

// BadFileError is a record that is there and cannot be read. Whoever gets it tells Situation.Damaged: it forbids to promote.
type BadFileError struct {
	Path string
	Err  error
}

func (e *BadFileError) Error() string { return e.Path + ": " + e.Err.Error() }

// Unwrap gives why.
func (e *BadFileError) Unwrap() error { return e.Err }

// Read gives a group's record; a missing file is the zero Record with the group's name. The error is a *BadFileError: damaged, too long, no
// file but a link or a FIFO, or an error of the disk.
func (s Store) Read(group string) (Record, error) {
	if !arbiter.ValidGroup(group) {
		return Record{}, &BadFileError{s.dir, fmt.Errorf("no group may be called %q", child.Printable(group))}
	}
	text, err := smallfile.Read(s.Path(group), maxRecord)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return Record{Group: group}, nil
	case errors.Is(err, smallfile.ErrTooLong):
		return Record{}, &BadFileError{s.Path(group), ErrDamaged}
	case err != nil:
		return Record{}, &BadFileError{s.Path(group), err}
	}
	r, err := Parse(group, text)
	if err != nil {
		return Record{}, &BadFileError{s.Path(group), err}
	}
	return r, nil
}

// Write has the record on the disk, and its name in the directory, before it returns nil. After an error the old one or the new one is there:
// read it again before anything is decided. A record that is older than what is there is refused (ErrBackwards).
func (s Store) Write(r Record, when time.Time) error {
	have, err := s.Read(r.Group)
	if err != nil {
		return fmt.Errorf("keep the record of group %s: %w", r.Group, err)
	}
	if have.Newer(r) {
		return fmt.Errorf("keep the record of group %s: %v after %v: %w", r.Group, r, have, ErrBackwards)
	}
	r.When, r.Why = when, child.Printable(r.Why)
	text, err := r.Seal()
	if err != nil {
		return fmt.Errorf("keep the record of group %s: %w", r.Group, err)
	}
	if err := atomicfile.Write(s.Path(r.Group), text, 0o600); err != nil {
		return fmt.Errorf("keep the record of group %s: %w", r.Group, err)
	}
	return nil
}

// ErrBackwards says that a record would have gone back in time.
var ErrBackwards = errors.New("a record never goes back")
