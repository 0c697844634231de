package strict

import (
	"strconv"
	"strings"
)

// maxDepth bounds how many keys and brackets may stand within each other. No file of ours needs more than four, and the
// decoder's time grows with more than the square of it.
const maxDepth = 16

// Place holds byte offsets of a key and of its value.
type Place struct{ Key, Value int }

// Locator maps dotted keys with indices, such as "disk[1].image" or "qemu_args[0]", to their places. The decoder tells
// what is in a file but not where; this tells where. It takes the text as valid and stops where it is not.
type Locator struct {
	text  string
	at    int
	depth int

	Places map[string]Place // by path
	Tables map[string]int   // path of [[…]] → number of elements so far
	Deep   int              // offset of what exceeds maxDepth; -1: nothing does

	Headers []Header // in the file's order
	Pairs   []Pair   // likewise; those within an inline table or list come before the pair that they are part of
}

// Header is a [table] or [[table]] line.
type Header struct {
	Path       string // of the table that it opens
	Start, End int    // from its first bracket to behind its last
}

// Pair is a key = value.
type Pair struct {
	Path            string
	Key, Value, End int // byte offsets; end is behind the value
	Header          int // index of the header above it; -1: it stands above the first
	Inline          bool
}

type keyPart struct {
	name string
	at   int
}

// Locate finds every key of a text.
func Locate(text string) *Locator {
	l := &Locator{text: text, Places: map[string]Place{"": {}}, Tables: map[string]int{}, Deep: -1}
	table := ""
	for l.blank(true); l.at < len(text); l.blank(true) {
		ok := true
		if text[l.at] == '[' {
			table, ok = l.header()
		} else {
			ok = l.pair(table)
		}
		if !ok {
			break
		}
	}
	return l
}

// Join appends a key to a path, quoted unless it is bare.
func Join(path, name string) string {
	bare := name != ""
	for i := 0; i < len(name) && bare; i++ {
		bare = isBare(name[i])
	}
	if !bare {
		name = strconv.Quote(name)
	}
	if path == "" {
		return name
	}
	return path + "." + name
}

// Element gives the path of a list's element.
func Element(path string, i int) string { return path + "[" + strconv.Itoa(i) + "]" }

func isBare(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '_' || c == '-'
}

// note keeps the first place of a path: the others are repetitions of a super-table.
func (l *Locator) note(path string, key, value int) {
	if _, ok := l.Places[path]; !ok {
		l.Places[path] = Place{key, value}
	}
}

// header reads [a.b] or [[a.b]] and returns the path of the table that it opens.
func (l *Locator) header() (string, bool) {
	start := l.at
	array := strings.HasPrefix(l.text[l.at:], "[[")
	closing := "]"
	if l.at++; array {
		closing = "]]"
		l.at++
	}
	l.blank(false)
	parts, ok := l.key()
	if !ok || !strings.HasPrefix(l.text[l.at:], closing) {
		return "", false
	}
	l.at += len(closing)
	end := l.at
	path := ""
	for i, p := range parts {
		path = Join(path, p.name)
		last := i == len(parts)-1
		if last {
			l.note(path, p.at, start)
		} else {
			l.note(path, p.at, p.at)
		}
		if last && array {
			l.Tables[path]++
			path = Element(path, l.Tables[path]-1)
			l.note(path, start, start)
		} else if n := l.Tables[path]; n > 0 {
			path = Element(path, n-1)
		}
	}
	l.Headers = append(l.Headers, Header{path, start, end})
	return path, true
}

// pair reads a.b = value below the table at path.
func (l *Locator) pair(path string) bool {
	parts, ok := l.key()
	if !ok || !l.eat('=') {
		return false
	}
	l.blank(false)
	for i, p := range parts {
		path = Join(path, p.name)
		if i == len(parts)-1 {
			l.note(path, p.at, l.at)
		} else {
			l.note(path, p.at, p.at)
		}
	}
	p := Pair{Path: path, Key: parts[0].at, Value: l.at, Header: len(l.Headers) - 1, Inline: l.depth > 0}
	if !l.value(path) {
		return false
	}
	p.End = len(strings.TrimRight(l.text[:l.at], " \t"))
	l.Pairs = append(l.Pairs, p)
	return true
}

func (l *Locator) value(path string) bool {
	if l.at == len(l.text) {
		return false
	}
	if l.depth++; l.depth > maxDepth {
		l.Deep = l.at
		return false
	}
	defer func() { l.depth-- }()
	switch l.text[l.at] {
	case '"', '\'':
		return l.skipString()
	case '[':
		return l.list(']', func(i int) bool {
			p := Element(path, i)
			l.note(p, l.at, l.at)
			return l.value(p)
		})
	case '{':
		return l.list('}', func(int) bool { return l.pair(path) })
	}
	end := strings.IndexAny(l.text[l.at:], ",]}#\r\n")
	if end < 0 {
		end = len(l.text) - l.at
	}
	l.at += end
	return end > 0
}

// list reads what stands between brackets, separated by commas.
func (l *Locator) list(closing byte, item func(i int) bool) bool {
	l.at++
	for i := 0; ; i++ {
		if l.blank(true); l.eat(closing) {
			return true
		}
		if l.at == len(l.text) || !item(i) {
			return false
		}
		if l.blank(true); !l.eat(',') && !strings.HasPrefix(l.text[l.at:], string(closing)) {
			return false
		}
	}
}

// key reads a dotted key and the blanks behind it.
func (l *Locator) key() ([]keyPart, bool) {
	var parts []keyPart
	for {
		p := keyPart{at: l.at}
		var ok bool
		if p.name, ok = l.keyName(); !ok {
			return nil, false
		}
		if parts = append(parts, p); len(parts) > maxDepth {
			l.Deep = l.at
			return nil, false
		}
		if l.blank(false); !l.eat('.') {
			return parts, true
		}
		l.blank(false)
	}
}

func (l *Locator) keyName() (string, bool) {
	start := l.at
	if l.at < len(l.text) && (l.text[l.at] == '"' || l.text[l.at] == '\'') {
		if !l.skipString() {
			return "", false
		}
		inner := l.text[start+1 : l.at-1]
		if l.text[start] == '\'' {
			return inner, true
		}
		return unescape(inner)
	}
	for l.at < len(l.text) && isBare(l.text[l.at]) {
		l.at++
	}
	return l.text[start:l.at], l.at > start
}

// skipString passes over a string of any of the four kinds.
func (l *Locator) skipString() bool {
	quote := l.text[l.at]
	triple := strings.Repeat(string(quote), 3)
	long := strings.HasPrefix(l.text[l.at:], triple)
	if l.at++; long {
		l.at += 2
	}
	for ; l.at < len(l.text); l.at++ {
		switch c := l.text[l.at]; {
		case c == '\\' && quote == '"':
			l.at++
		case c == '\n' && !long:
			return false
		case c == quote && !long:
			l.at++
			return true
		case c == quote && strings.HasPrefix(l.text[l.at:], triple):
			// The last three quotes close; one or two before them belong to the string.
			for l.at += 3; l.at < len(l.text) && l.text[l.at] == quote; l.at++ {
			}
			return true
		}
	}
	l.at = len(l.text)
	return false
}

// blank passes over blanks and, with lines, over line ends and comments.
func (l *Locator) blank(lines bool) {
	for l.at < len(l.text) {
		switch c := l.text[l.at]; {
		case c == ' ', c == '\t', lines && (c == '\n' || c == '\r'):
			l.at++
		case lines && c == '#':
			end := strings.IndexByte(l.text[l.at:], '\n')
			if end < 0 {
				end = len(l.text) - l.at
			}
			l.at += end
		default:
			return
		}
	}
}

func (l *Locator) eat(c byte) bool {
	if l.at < len(l.text) && l.text[l.at] == c {
		l.at++
		return true
	}
	return false
}

// Count gives the number of elements of a list of tables, however it is written.
func (l *Locator) Count(name string) int {
	for n := 0; ; n++ {
		if _, there := l.Places[Element(name, n)]; !there {
			return n
		}
	}
}
