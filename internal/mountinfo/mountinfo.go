package mountinfo

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
)

// Entry is a line of the table.
type Entry struct{ Point, Source string }

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

// Parse reads a mountinfo (proc(5)): the mount point is the fifth field, the source the second after a lone dash.
func Parse(r io.Reader) ([]Entry, error) {
	var all []Entry
	s := bufio.NewScanner(r)
	s.Buffer(nil, 64<<10)
	for s.Scan() {
		before, after, ok := strings.Cut(s.Text(), " - ")
		left, right := strings.Fields(before), strings.Fields(after)
		if !ok || len(left) < 5 || len(right) < 2 {
			return nil, fmt.Errorf("read the mount table: %.200q", s.Text())
		}
		if len(all) >= maxTable {
			return nil, errors.New("read the mount table: it has too many lines")
		}
		all = append(all, Entry{unescape(left[4]), unescape(right[1])})
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
