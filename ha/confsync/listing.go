package confsync

import (
	"bytes"
	"fmt"
	"path/filepath"
	"strings"
)

// Each name of a tree is a line of rsync's output: mark, eleven signs of what is done with it, a blank, the name.
const (
	mark       = "kvmha:"
	listFormat = "--out-format=" + mark + "%i %n"
	signs      = 11
)

// maxName bounds a path, in bytes (PATH_MAX); in a line each may be written as five.
const maxName = 4 << 10

// listing reads the names that rsync(1) tells of, also of what is equal (-ii), and keeps the end of what else it says.
type listing struct {
	names map[string]bool
	line  []byte
	said  tail
	err   error
}

// Write takes the next bytes of the output.
func (l *listing) Write(p []byte) (int, error) {
	n := len(p)
	for len(p) > 0 && l.err == nil {
		line, rest, ended := bytes.Cut(p, []byte("\n"))
		l.line = append(l.line, line...)
		if p = rest; len(l.line) > 5*maxName+len(mark)+signs+1 {
			l.err = fmt.Errorf("a name has more than %d bytes", maxName)
		} else if ended {
			l.err = l.take(string(l.line))
			l.line = l.line[:0]
		}
	}
	return n, nil // rsync may go on: its end tells more than a broken pipe
}

func (l *listing) take(line string) error {
	text, is := strings.CutPrefix(line, mark)
	if !is {
		_, err := l.said.Write([]byte(line + "\n"))
		return err
	}
	if len(text) < signs+2 || text[signs] != ' ' {
		return fmt.Errorf("bad line %q", cut(line))
	}
	name := unescape(text[signs+1:])
	if name != "./" {
		name = strings.TrimSuffix(name, "/")
	} else {
		name = "."
	}
	if !filepath.IsLocal(name) || filepath.Clean(name) != name || strings.ContainsRune(name, 0) {
		return fmt.Errorf("bad name %q", cut(name))
	}
	if len(l.names) >= maxFiles {
		return errTooMany
	}
	if l.names == nil {
		l.names = map[string]bool{}
	}
	l.names[name] = true
	return nil
}

func cut(s string) string { return s[:min(len(s), 80)] }

// unescape undoes \#ooo, three octal digits, as rsync writes a byte that is none of a text, or a backslash that could be taken for such a one.
func unescape(s string) string {
	if !strings.Contains(s, `\#`) {
		return s
	}
	var b strings.Builder
	for len(s) > 0 {
		if len(s) >= 5 && s[:2] == `\#` && s[2] >= '0' && s[2] <= '3' && octal(s[3]) && octal(s[4]) {
			b.WriteByte((s[2]-'0')<<6 | (s[3]-'0')<<3 | (s[4] - '0'))
			s = s[5:]
			continue
		}
		b.WriteByte(s[0])
		s = s[1:]
	}
	return b.String()
}

func octal(c byte) bool { return c >= '0' && c <= '7' }
