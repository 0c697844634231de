package mount

import (
	"errors"
	"fmt"
	"strings"

	"kvmctl/internal/child"
)

// What keeps a file system from being mounted or let go, for errors.Is.
var (
	ErrBusy     = errors.New("somebody holds it")                    // always as a *BusyError
	ErrNoDir    = errors.New("not a directory")                      // or there is nothing
	ErrNoDevice = errors.New("not a block device")                   // or there is nothing
	ErrReadOnly = errors.New("it is mounted for reading alone")      // of one that was to be written
	ErrHangs    = errors.New("the kernel does not come back")        // mostly because the device's I/O is frozen
	ErrRefused  = errors.New("the file system could not be mounted") // mount(8) said no
)

// OtherError says that something else is mounted where the file system belongs.
type OtherError struct{ Dir, Source, Type string }

func (e *OtherError) Error() string {
	return fmt.Sprintf("%s on %s is mounted on %s", e.Type, e.Source, e.Dir)
}

// Hint is the next command to type.
func (e *OtherError) Hint() string { return "umount " + quote(e.Dir) }

// CheckError says that a file system has to be looked at by a person before it can be mounted.
type CheckError struct {
	Device  string
	Check   string // the command that said so
	Exit    int    // its exit status: fsck(8), xfs_repair(8)
	Said    string // what it wrote, one line of at most 200 bytes
	Command string // what the person is to type
}

func (e *CheckError) Error() string {
	return fmt.Sprintf("the file system on %s needs a person: %s ended with %d: %s", e.Device, e.Check, e.Exit, e.Said)
}

// Hint is the next command to type.
func (e *CheckError) Hint() string { return e.Command }

// BusyError says that a device is not free, and who holds it.
type BusyError struct {
	Device, Dir string
	Holders     []Holder // none: nobody was found
	Cause       error    // of the last try, or nil
}

// told is how many holders the message names.
const told = 5

func (e *BusyError) Error() string {
	var names []string
	for _, h := range e.Holders[:min(told, len(e.Holders))] {
		names = append(names, h.String())
	}
	if more := len(e.Holders) - told; more > 0 {
		names = append(names, fmt.Sprintf("and %d more", more))
	}
	if len(names) == 0 {
		names = []string{"nobody was found who holds it; kernel services (NFS clients' open files, LIO, process accounting, binfmt_misc) are not seen"}
	}
	s := fmt.Sprintf("%s (%s) is busy: %s", e.Dir, e.Device, strings.Join(names, "; "))
	if e.Cause != nil {
		s += ": " + e.Cause.Error()
	}
	return s
}

// Unwrap makes it an ErrBusy.
func (e *BusyError) Unwrap() []error {
	if e.Cause == nil {
		return []error{ErrBusy}
	}
	return []error{ErrBusy, e.Cause}
}

// quote makes a path safe to type into a shell.
func quote(path string) string {
	if strings.ContainsFunc(path, func(r rune) bool {
		return !strings.ContainsRune("/._-+:@%,=", r) && (r < '0' || r > '9') && (r < 'A' || r > 'Z') && (r < 'a' || r > 'z')
	}) {
		return "'" + strings.ReplaceAll(path, "'", `'\''`) + "'"
	}
	return path
}

// name makes a path fit for a message.
func name(path string) string { return child.Printable(path) }
