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
	Point, Source string
	Type          string // of the file system
	Options       string // of this mount, comma-separated
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
// lone dash.
func Parse(r io.Reader) ([]Entry, error) {
	var all []Entry
	s := bufio.NewScanner(r)
	s.Buffer(nil, 64<<10)
	for s.Scan() {
		before, after, ok := strings.Cut(s.Text(), " - ")
		left, right := strings.Fields(before), strings.Fields(after)
		if !ok || len(left) < 6 || len(right) < 2 {
			return nil, fmt.Errorf("read the mount table: %.200q", s.Text())
		}
		if len(all) >= maxTable {
			return nil, errors.New("read the mount table: it has too many lines")
		}
		e := Entry{Point: unescape(left[4]), Source: unescape(right[1]), Type: unescape(right[0]), Options: left[5]}
		if len(right) > 2 {
			e.Super = right[2]
		}
		all = append(all, e)
	}
	return all, s.Err()
}

// unescape undoes \040 and its like.
func unescape(s string) string {
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
