package vm

import (
	"fmt"
	"regexp"
	"strings"
	"sync"
)

// snapshotName keeps out what QEMU would take for an id (a number) and what would surprise in a list.
var snapshotName = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$`) })

// SnapshotNameError says that a snapshot cannot be called so.
type SnapshotNameError struct{ Name string }

func (e *SnapshotNameError) Error() string {
	return fmt.Sprintf("no snapshot can be called %q", e.Name)
}

// Hint says what a name is.
func (*SnapshotNameError) Hint() string {
	return "letters, digits, dots, dashes and underscores, at most 63, and not digits alone"
}

// BadConfig marks the error as one of usage.
func (*SnapshotNameError) BadConfig() bool { return true }

// CheckSnapshotName refuses names that QEMU or a person would misread.
func CheckSnapshotName(name string) error {
	if !snapshotName().MatchString(name) || strings.Trim(name, "0123456789") == "" {
		return &SnapshotNameError{name}
	}
	return nil
}

// UnknownSnapshotError says that a guest has no snapshot of a name.
type UnknownSnapshotError struct{ Guest, Name string }

func (e *UnknownSnapshotError) Error() string { return fmt.Sprintf("it has no snapshot %q", e.Name) }

// Hint shows those that there are.
func (e *UnknownSnapshotError) Hint() string { return "kvmctl snapshot list " + e.Guest }

// SnapshotExistsError says that a name is taken.
type SnapshotExistsError struct{ Guest, Name string }

func (e *SnapshotExistsError) Error() string {
	return fmt.Sprintf("it has a snapshot %q already", e.Name)
}

// Hint makes room for it.
func (e *SnapshotExistsError) Hint() string {
	return "name another one, or kvmctl snapshot delete " + e.Guest + " " + e.Name
}
