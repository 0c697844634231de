package configs

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"kvmctl/configs/strict"
)

// Edit is one change of a guest's file.
type Edit struct {
	Path  string // as Problem.Key has it: "memory", "disk[1].image"; "disk[1]" for a whole table
	Value string // a TOML value; empty: what Path names is removed
}

// InlineError says that a change touches a list or table that is written in one line, where nothing but whole values can be changed.
type InlineError struct{ Key string }

func (e *InlineError) Error() string {
	return fmt.Sprintf("%s is written between braces or brackets, and only whole values can be changed there", e.Key)
}

// Hint says what can be done.
func (e *InlineError) Hint() string { return "edit vm.toml, then: kvmctl set <vm>" }

// noElementError says that an edit names an element that the file does not have.
type noElementError struct{ path string }

func (e *noElementError) Error() string { return "there is no " + spoken(e.path) }

// Hint tells the notation.
func (e *noElementError) Hint() string {
	name, _, _ := strings.Cut(e.path, "[")
	return fmt.Sprintf("kvmctl show <vm> lists them; %s.+.%s=… adds one", name, mainKeys[name])
}

// Apply changes text, a valid TOML file, and leaves every byte alone that an edit does not name: comments, order, blanks and
// line ends stay. Values are replaced where they stand; a new key goes behind the last one of its table, a new table to the end of the file.
// Edits name elements as text has them: whole tables are removed last, new ones (an index just behind the last) are added in order.
func Apply(text []byte, edits []Edit) ([]byte, error) {
	body := strings.TrimLeft(string(text), "\ufeff")
	e := &editor{text: body, bom: string(text[:len(text)-len(body)]), eol: "\n"}
	if strings.Contains(body, "\r\n") {
		e.eol = "\r\n"
	}
	var removals []Edit
	for _, x := range edits {
		if x.Value == "" && strings.HasSuffix(x.Path, "]") {
			removals = append(removals, x)
			continue
		}
		if err := e.apply(x); err != nil {
			return nil, err
		}
	}
	// From the last: the indices of those before stay.
	slices.SortStableFunc(removals, func(a, b Edit) int { return indexOf(b.Path) - indexOf(a.Path) })
	for _, x := range removals {
		if err := e.removeTable(x.Path); err != nil {
			return nil, err
		}
	}
	return []byte(e.bom + e.text), nil
}

// indexOf gives the number between the last brackets of a path.
func indexOf(path string) int {
	open := strings.LastIndexByte(path, '[')
	n, err := strconv.Atoi(strings.TrimSuffix(path[open+1:], "]"))
	if err != nil {
		return -1
	}
	return n
}

// editor holds a file between two edits. It locates everything anew for each: files are small.
type editor struct{ text, bom, eol string }

func (e *editor) splice(from, to int, with string) { e.text = e.text[:from] + with + e.text[to:] }

func (e *editor) apply(x Edit) error {
	l := strict.Locate(e.text)
	if i := slices.IndexFunc(l.Pairs, func(p strict.Pair) bool { return p.Path == x.Path }); i >= 0 {
		return e.change(l.Pairs[i], x)
	}
	if x.Value == "" {
		return nil // it has no such key: its default holds already
	}
	table, key := "", x.Path
	if dot := strings.LastIndexByte(x.Path, '.'); dot >= 0 {
		table, key = x.Path[:dot], x.Path[dot+1:]
	}
	return e.insert(l, table, key+" = "+x.Value)
}

// change replaces or removes a value that is there.
func (e *editor) change(p strict.Pair, x Edit) error {
	if x.Value != "" {
		e.splice(p.Value, p.End, x.Value)
		return nil
	}
	if p.Inline {
		return &InlineError{spoken(p.Path)}
	}
	e.splice(lineStart(e.text, p.Key), lineEnd(e.text, p.End), "")
	return nil
}

// insert puts a line at the end of a table, which is made if there is none.
func (e *editor) insert(l *strict.Locator, table, line string) error {
	h := -1
	if table != "" {
		// A table may be opened several times only through its sub-tables, of which our files have none.
		if h = slices.IndexFunc(l.Headers, func(h strict.Header) bool { return h.Path == table }); h < 0 {
			return e.insertTable(l, table, line)
		}
	}
	at, indent := 0, ""
	for _, p := range l.Pairs {
		if p.Header == h && !p.Inline {
			at, indent = lineEnd(e.text, p.End), e.indent(p.Key)
		}
	}
	switch {
	case at > 0:
	case h >= 0:
		at, indent = lineEnd(e.text, l.Headers[h].End), e.indent(l.Headers[h].Start)
	case len(l.Headers) > 0: // no key above the first table: behind the comment that opens the file
		if at = opening(e.text[:lineStart(e.text, l.Headers[0].Start)]); at == 0 {
			line += e.eol // the table that follows is not to stick to it
		}
	default:
		at = len(e.text)
	}
	before := ""
	if at > 0 && e.text[at-1] != '\n' { // the last line has no end
		before = e.eol
	}
	e.splice(at, at, before+indent+line+e.eol)
	return nil
}

// opening gives the end of the comment and the blank line with which a file begins; 0: it does not begin so.
func opening(text string) int {
	at := 0
	for line := range strings.Lines(text) {
		at += len(line)
		if trimmed := strings.TrimSpace(line); trimmed == "" {
			return at
		} else if trimmed[0] != '#' {
			return 0
		}
	}
	return 0
}

// insertTable appends a table with its first line.
func (e *editor) insertTable(l *strict.Locator, table, line string) error {
	header := "[" + table + "]"
	if name, _, ok := strings.Cut(table, "["); ok {
		if slices.ContainsFunc(l.Pairs, func(p strict.Pair) bool { return p.Path == name }) {
			return &InlineError{name}
		}
		if indexOf(table) != l.Tables[name] {
			return &noElementError{table}
		}
		header = "[[" + name + "]]"
	} else if _, ok := l.Places[table]; ok { // vnc = {…}, or vnc.display = 1 above the tables
		for _, p := range l.Pairs {
			if p.Path == table {
				return &InlineError{table}
			}
		}
		return e.insertDotted(l, table, line)
	}
	before := ""
	if e.text != "" {
		before = e.eol
		if !strings.HasSuffix(e.text, "\n") {
			before += e.eol
		}
	}
	e.text += before + header + e.eol + line + e.eol
	return nil
}

// insertDotted puts a key beside those of a table that is written as dotted keys.
func (e *editor) insertDotted(l *strict.Locator, table, line string) error {
	for _, p := range slices.Backward(l.Pairs) {
		if strings.HasPrefix(p.Path, table+".") && !p.Inline {
			at, before := lineEnd(e.text, p.End), ""
			if e.text[at-1] != '\n' {
				before = e.eol
			}
			e.splice(at, at, before+e.indent(p.Key)+table+"."+line+e.eol)
			return nil
		}
	}
	return errors.New("no place for " + table)
}

// removeTable removes a [[table]] from its header to its last key. Comments above it and below its last key stay.
func (e *editor) removeTable(path string) error {
	l := strict.Locate(e.text)
	h := slices.IndexFunc(l.Headers, func(h strict.Header) bool { return h.Path == path })
	if h < 0 {
		name, _, _ := strings.Cut(path, "[")
		if _, ok := l.Places[path]; ok {
			return &InlineError{name}
		}
		return &noElementError{path}
	}
	end := lineEnd(e.text, l.Headers[h].End)
	for _, p := range l.Pairs {
		if p.Header == h {
			end = max(end, lineEnd(e.text, p.End))
		}
	}
	start := lineStart(e.text, l.Headers[h].Start)
	// The blank line that set it apart goes with it.
	if before := strings.TrimRight(e.text[:start], " \t\r"); strings.HasSuffix(before, "\n\n") || strings.HasSuffix(before, "\n\r\n") {
		start = lineStart(e.text, start-1)
	}
	e.splice(start, end, "")
	return nil
}

func (e *editor) indent(at int) string {
	start := lineStart(e.text, at)
	return e.text[start : start+len(e.text[start:at])-len(strings.TrimLeft(e.text[start:at], " \t"))]
}

func lineStart(text string, at int) int { return strings.LastIndexByte(text[:at], '\n') + 1 }

// lineEnd gives the offset behind the end of the line in which at stands.
func lineEnd(text string, at int) int {
	if i := strings.IndexByte(text[at:], '\n'); i >= 0 {
		return at + i + 1
	}
	return len(text)
}

// spoken gives a path in the notation of `kvmctl set`: disk[1].image is disk.1.image.
func spoken(path string) string {
	return strings.NewReplacer("[", ".", "]", "").Replace(path)
}
