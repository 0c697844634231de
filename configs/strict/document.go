package strict

import (
	"bytes"
	"errors"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"unicode/utf8"

	"github.com/BurntSushi/toml"
)

// MaxFile bounds a configuration file, in bytes.
const MaxFile = 1 << 20

// Document is one file: its text, what the decoder made of it, and the problems found so far.
type Document struct {
	File     string
	text     string
	Tree     map[string]any // nil when the text is no TOML
	Problems Problems
	Bad      map[string]bool // paths that have a problem: what depends on them is not worth a second one
	schema   *Schema         // nil: unknown
	locator  func() *Locator
}

// Parse checks the bytes and the syntax. A syntax error is the only problem that hides those behind it.
// sc tells which tables are written [[…]] and whose values no message may show; nil: nothing is known of the file.
func Parse(file string, text []byte, sc *Schema) *Document {
	s := strings.TrimLeft(string(text), "\ufeff")
	d := &Document{File: file, text: s, schema: sc, Bad: map[string]bool{}}
	d.locator = sync.OnceValue(func() *Locator { return Locate(s) })
	switch nul := bytes.IndexByte(text, 0); {
	case len(text) > MaxFile:
		d.text = "" // its places are not worth counting
		d.At(0, "", "larger than 1M: this is no configuration file", "")
		return d
	case nul >= 0:
		d.At(nul-(len(text)-len(s)), "", "a NUL byte: the file has to be plain UTF-8 text", "")
		return d
	case !utf8.ValidString(s):
		d.At(firstInvalid(s), "", "bytes that are not UTF-8", "iconv -f latin1 -t utf-8 "+ShellWord(file))
		return d
	}
	if suspicious(s) {
		if l := d.locator(); l.Deep >= 0 {
			d.At(l.Deep, "", "keys or brackets nested too deep", "")
			return d
		}
	}
	tree := map[string]any{}
	if _, err := toml.Decode(s, &tree); err != nil {
		d.syntax(err)
		return d
	}
	d.Tree = tree
	return d
}

// suspicious reports whether a text may nest deeper than maxDepth: an ordinary one does not pay for a second look.
func suspicious(s string) bool {
	for line := range strings.Lines(s) {
		if strings.Count(line, ".") >= maxDepth || strings.Count(line, "{")+strings.Count(line, "[") >= maxDepth {
			return true
		}
	}
	return strings.Count(s, "[")-strings.Count(s, "]") >= maxDepth || strings.Count(s, "{")-strings.Count(s, "}") >= maxDepth
}

func firstInvalid(s string) int {
	for i := 0; i < len(s); {
		r, n := utf8.DecodeRuneInString(s[i:])
		if r == utf8.RuneError && n == 1 {
			return i
		}
		i += n
	}
	return len(s)
}

// At adds a problem at a byte offset.
func (d *Document) At(offset int, key, msg, fix string) {
	line, col := Position(d.text, offset)
	d.Bad[key] = true
	d.Problems = append(d.Problems, Problem{d.File, line, col, key, msg, fix})
}

// Key adds a problem at the key of path.
func (d *Document) Key(path, msg, fix string) { d.At(d.place(path).Key, path, msg, fix) }

// Value adds a problem at the value of path.
func (d *Document) Value(path, msg, fix string) { d.At(d.place(path).Value, path, msg, fix) }

// place finds a path, or the nearest table around it: what is missing is missed there.
func (d *Document) place(path string) Place {
	places := d.locator().Places
	for {
		if p, ok := places[path]; ok {
			return p
		}
		cut := strings.LastIndexAny(path, ".[")
		if cut < 0 {
			return Place{}
		}
		path = path[:cut]
	}
}

// Position gives line and column of a path's value.
func (d *Document) Position(path string) (line, col int) {
	return Position(d.text, d.place(path).Value)
}

var (
	unquoted = sync.OnceValue(func() *regexp.Regexp {
		return regexp.MustCompile(`^\s*([A-Za-z0-9_-]+)\s*=\s*([^\s"'\[\]{}#,][^"'\[\]{}#,]*?)\s*(?:#.*)?$`)
	})
	single = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`^\s*\[([A-Za-z0-9_.-]+)\]`) })
)

func isNumber(s string) bool {
	_, err := strconv.ParseFloat(s, 64)
	return err == nil || errors.Is(err, strconv.ErrRange)
}

// syntax turns the decoder's error into a problem.
func (d *Document) syntax(err error) {
	var pe toml.ParseError
	if !errors.As(err, &pe) {
		d.At(0, "", printable(err.Error()), "")
		return
	}
	start := min(max(pe.Position.Start, 0), len(d.text))
	// "for int64" is the decoder's own type; the rest of its words are about the text.
	msg := strings.TrimSuffix(strings.TrimSuffix(pe.Message, "."), " for int64")
	if len(msg) > 1 && msg[1] >= 'a' && msg[1] <= 'z' {
		msg = strings.ToLower(msg[:1]) + msg[1:]
	}
	line := d.text[strings.LastIndexByte(d.text[:start], '\n')+1:]
	line, _, _ = strings.Cut(line, "\n")
	if d.holdsSecret(line) {
		d.At(start, "", "no TOML value", "write the password between double quotes")
		return
	}
	fix := ""
	if m := unquoted().FindStringSubmatch(line); m != nil && !isNumber(m[2]) {
		switch strings.ToLower(m[2]) {
		case "true", "false": // well written: something else is wrong
		case "yes", "on":
			fix = m[1] + " = true"
		case "no", "off":
			fix = m[1] + " = false"
		default:
			fix = m[1] + " = " + Quote(m[2])
		}
	} else if m := single().FindStringSubmatch(line); m != nil && d.isList(m[1][strings.LastIndexByte(m[1], '.')+1:]) {
		fix = "[[" + m[1] + "]]"
	}
	d.At(start, "", printable(msg), fix)
}

// isList reports whether the file has tables [[…name]].
func (d *Document) isList(name string) (is bool) {
	if d.schema != nil {
		d.schema.each(func(f *Field) { is = is || f.Kind == KindTables && f.Name == name })
	}
	return is
}

// holdsSecret reports whether a line may hold what no message may show.
func (d *Document) holdsSecret(line string) (holds bool) {
	if d.schema != nil {
		d.schema.each(func(f *Field) { holds = holds || f.secret && strings.Contains(line, f.Name) })
	}
	return holds
}

// Offset gives the byte offset of the key of path, or of the nearest table around it.
func (d *Document) Offset(path string) int { return d.place(path).Key }
