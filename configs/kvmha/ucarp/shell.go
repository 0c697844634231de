package ucarp

import (
	"fmt"
	"strings"
	"unicode/utf8"
)

// Assignment is a line NAME=value of a shell-like file.
type Assignment struct {
	Line  int
	Name  string
	Value string
}

// maxFile bounds a shell-like file, in bytes; maxLines what is read of it.
const (
	maxFile  = 64 << 10
	maxLines = 2000
)

// FileError is a file that is none of ours.
type FileError struct{ Why string }

func (e *FileError) Error() string { return e.Why }

// ParseShell reads the assignments of a file that a shell would source: NAME=word, with quotes, backslashes, comments, `export`, and variables
// that the same file has set before. No shell is run: a line that is anything else is skipped and its number given in skipped.
func ParseShell(text []byte) (list []Assignment, skipped []int, err error) {
	switch {
	case len(text) > maxFile:
		return nil, nil, &FileError{fmt.Sprintf("larger than %d bytes", maxFile)}
	case !utf8.Valid(text) || strings.ContainsRune(string(text), 0):
		return nil, nil, &FileError{"no text"}
	}
	vars := map[string]string{}
	lines := strings.Split(strings.ReplaceAll(string(text), "\r\n", "\n"), "\n")
	if len(lines) > maxLines {
		return nil, nil, &FileError{fmt.Sprintf("more than %d lines", maxLines)}
	}
	for i := 0; i < len(lines); i++ {
		first := i
		line := lines[i]
		for strings.HasSuffix(line, `\`) && !strings.HasSuffix(line, `\\`) && i+1 < len(lines) { // goes on in the next line
			i++
			line = strings.TrimSuffix(line, `\`) + lines[i]
		}
		line = strings.TrimSpace(line)
		if rest, ok := strings.CutPrefix(line, "export "); ok {
			line = strings.TrimSpace(rest)
		}
		if line == "" || line[0] == '#' {
			continue
		}
		name, rest, ok := strings.Cut(line, "=")
		value, good := "", false
		if ok && isName(name) {
			value, good = shellWord(rest, vars)
		}
		if !good {
			skipped = append(skipped, first+1)
			continue
		}
		vars[name] = value
		list = append(list, Assignment{first + 1, name, value})
	}
	return list, skipped, nil
}

func isName(s string) bool {
	for i, c := range s {
		if c != '_' && !(c >= 'A' && c <= 'Z') && !(c >= 'a' && c <= 'z') && (i == 0 || c < '0' || c > '9') {
			return false
		}
	}
	return s != "" && len(s) <= 64
}

// shellWord reads one word as sh does; false: it is more than one word, or would need a shell.
func shellWord(s string, vars map[string]string) (string, bool) {
	var b strings.Builder
	for i := 0; i < len(s); {
		switch c := s[i]; c {
		case '\'':
			end := strings.IndexByte(s[i+1:], '\'')
			if end < 0 {
				return "", false
			}
			b.WriteString(s[i+1 : i+1+end])
			i += end + 2
		case '"':
			n, ok := doubleQuoted(&b, s[i+1:], vars)
			if !ok {
				return "", false
			}
			i += n + 1
		case '\\':
			if i+1 == len(s) {
				return "", false
			}
			b.WriteByte(s[i+1])
			i += 2
		case '$':
			n, ok := variable(&b, s[i:], vars)
			if !ok {
				return "", false
			}
			i += n
		case ' ', '\t', ';':
			rest := strings.TrimLeft(s[i:], " \t;")
			return b.String(), rest == "" || rest[0] == '#' && c != ';'
		case '`', '&', '|', '<', '>', '(', ')':
			return "", false
		case '~':
			if i == 0 { // somebody's home
				return "", false
			}
			b.WriteByte(c)
			i++
		default:
			b.WriteByte(c)
			i++
		}
		if b.Len() > maxArg {
			return "", false
		}
	}
	return b.String(), true
}

// doubleQuoted reads up to the closing quote and returns how much that was.
func doubleQuoted(b *strings.Builder, s string, vars map[string]string) (int, bool) {
	for i := 0; i < len(s); {
		switch c := s[i]; {
		case c == '"':
			return i + 1, true
		case c == '`':
			return 0, false
		case c == '\\' && i+1 < len(s) && strings.IndexByte("$`\"\\", s[i+1]) >= 0:
			b.WriteByte(s[i+1])
			i += 2
		case c == '$':
			n, ok := variable(b, s[i:], vars)
			if !ok {
				return 0, false
			}
			i += n
		default:
			b.WriteByte(c)
			i++
		}
		if b.Len() > maxArg {
			return 0, false
		}
	}
	return 0, false
}

// variable reads $NAME or ${NAME} of a variable that is known.
func variable(b *strings.Builder, s string, vars map[string]string) (int, bool) {
	name, n := "", 0
	if rest, ok := strings.CutPrefix(s, "${"); ok {
		end := strings.IndexByte(rest, '}')
		if end < 0 {
			return 0, false
		}
		name, n = rest[:end], end+3
	} else {
		n = 1
		for n < len(s) && isName(s[1:n+1]) {
			n++
		}
		name = s[1:n]
	}
	value, known := vars[name]
	if known {
		b.WriteString(value)
	}
	return n, known
}

// words splits what a variable holds into words as sh does with one that is not quoted: at blanks, nothing else.
func words(s string) []string { return strings.Fields(s) }
