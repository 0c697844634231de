package mountinfo

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"
)

// Entry is a line of the table.
type Entry struct {
	ID, Parent    uint64 // of this mount and of the one it is mounted on; unique among all mounts of the machine
	Major, Minor  uint32 // of the device that st_dev(2) tells of its files
	Root          string // what of the file system is mounted: "/", or a directory or file for a bind mount
	Point, Source string
	Type          string // of the file system
	Options       string // of this mount, comma-separated
	Shared        uint64 // its peer group: mounts and unmounts below one member happen below all; 0: none
	Master        uint64 // the peer group it is a slave of, likewise in one direction; 0: none
	Super         string // of the file system, likewise; may be empty
}

// ReadOnly reports whether nothing can be written there, be it for this mount's sake or the file system's.
func (e Entry) ReadOnly() bool {
	return slices.Contains(strings.Split(e.Options, ","), "ro") || slices.Contains(strings.Split(e.Super, ","), "ro")
}

// maxTable bounds the table's lines.
const maxTable = 1 << 16

// Read gives what is mounted in the mount namespace of the calling thread.
func Read() ([]Entry, error) {
	f, err := os.Open("/proc/thread-self/mountinfo")
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return Parse(f)
}

// Parse reads a mountinfo (proc(5)): the mount point is the fifth field, its options the sixth; type, source and the file system's options follow a
// lone dash. Tags that it does not know between the sixth field and the dash are passed over, as proc(5) asks.
func Parse(r io.Reader) ([]Entry, error) {
	var all []Entry
	s := bufio.NewScanner(r)
	s.Buffer(nil, 64<<10)
	for s.Scan() {
		before, after, ok := strings.Cut(s.Text(), " - ")
		// Blanks within a field are escaped, other white space is not, and a source may be empty.
		left, right := strings.Split(before, " "), strings.SplitN(after, " ", 3)
		if !ok || len(left) < 6 || len(right) < 2 {
			return nil, fmt.Errorf("read the mount table: %.200q", s.Text())
		}
		if len(all) >= maxTable {
			return nil, errors.New("read the mount table: it has too many lines")
		}
		e := Entry{Root: Unescape(left[3]), Point: Unescape(left[4]), Source: Unescape(right[1]), Type: Unescape(right[0]), Options: left[5]}
		if len(right) > 2 {
			e.Super = right[2]
		}
		if !e.numbers(left) {
			return nil, fmt.Errorf("read the mount table: %.200q", s.Text())
		}
		all = append(all, e)
	}
	return all, s.Err()
}

// numbers reads the fields that are numbers: three at the line's beginning, and those of the tags after the sixth field.
func (e *Entry) numbers(left []string) bool {
	major, minor, ok := strings.Cut(left[2], ":")
	a, aerr := strconv.ParseUint(major, 10, 32)
	b, berr := strconv.ParseUint(minor, 10, 32)
	id, ierr := strconv.ParseUint(left[0], 10, 64)
	parent, perr := strconv.ParseUint(left[1], 10, 64)
	e.Major, e.Minor, e.ID, e.Parent = uint32(a), uint32(b), id, parent
	err := errors.Join(aerr, berr, ierr, perr)
	for _, tag := range left[6:] {
		name, value, _ := strings.Cut(tag, ":")
		var terr error
		switch name {
		case "shared":
			e.Shared, terr = strconv.ParseUint(value, 10, 64)
		case "master":
			e.Master, terr = strconv.ParseUint(value, 10, 64)
		}
		err = errors.Join(err, terr)
	}
	return ok && err == nil
}

// Unescape undoes \040 and its like, with which the kernel writes blanks and backslashes in all tables of paths.
func Unescape(s string) string {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+4 <= len(s) {
			if n, err := strconv.ParseUint(s[i+1:i+4], 8, 8); err == nil {
				b.WriteByte(byte(n))
				i += 3
				continue
			}
		}
		b.WriteByte(s[i])
	}
	return b.String()
}
