package manual

import (
	"cmp"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"sync"
	"unicode"
)

// page is a manual page that is being written, in mdoc(7).
type page struct{ b strings.Builder }

// date is that of the release whose behaviour the pages tell; mdoc(7) wants one.
const date = "November 22, 2026"

func newPage(title string, section int, name, what string) *page {
	p := &page{}
	p.line(".Dd %s", date)
	p.line(".Dt %s %d", strings.ToUpper(title), section)
	p.line(".Os")
	p.section("NAME")
	p.line(".Nm %s", name)
	p.line(".Nd %s", escape(what))
	return p
}

func (p *page) line(format string, args ...any) { fmt.Fprintf(&p.b, format+"\n", args...) }

func (p *page) section(name string) { p.line(".Sh %s", name) }

// String gives the page.
func (p *page) String() string { return p.b.String() }

// escape makes text safe in a line of mdoc(7): no escape sequence, no request, no minus that prints as a hyphen.
func escape(s string) string {
	s = strings.NewReplacer(`\`, `\e`, `-`, `\-`).Replace(s)
	s = strings.ReplaceAll(s, "FreeBSD", `Free\&BSD`) // lint would have it as a macro
	if s != "" && (s[0] == '.' || s[0] == '\'') {
		s = `\&` + s
	}
	return s
}

// arg makes text safe as one argument of a macro: quoted, and no word of it is taken for a macro.
func arg(s string) string {
	s = strings.ReplaceAll(escape(s), `"`, `\(dq`)
	return `"` + s + `"`
}

// paragraphs writes plain text as the help has it: empty lines part paragraphs, indented lines are shown as they are.
func (p *page) paragraphs(text string) {
	var block []string
	first := true
	flush := func() {
		if len(block) == 0 {
			return
		}
		if strings.HasPrefix(block[0], "  ") || strings.HasPrefix(block[0], "\t") {
			p.display(block)
		} else {
			if !first {
				p.line(".Pp")
			}
			p.prose(strings.Join(block, " "))
		}
		first, block = false, nil
	}
	indented := func(s string) bool { return strings.HasPrefix(s, "  ") || strings.HasPrefix(s, "\t") }
	for line := range strings.Lines(text) {
		line = strings.TrimRightFunc(line, unicode.IsSpace)
		if line == "" || len(block) > 0 && indented(line) != indented(block[0]) {
			flush()
		}
		if line != "" {
			block = append(block, line)
		}
	}
	flush()
}

// display shows lines as they are.
func (p *page) display(lines []string) {
	p.line(".Bd -literal -offset indent")
	for _, l := range lines {
		p.line("%s", escape(strings.TrimPrefix(strings.TrimPrefix(strings.ReplaceAll(l, "\t", "    "), "  "), "  ")))
	}
	p.line(".Ed")
}

// sentence ends where mdoc(7) wants a new line: after a mark, before a space and what begins another sentence.
var sentence = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`([.!?]\)?) +(["(\x60A-Z])`) })

// seeAlso writes references to other pages, as name and section, in the order that mdoc(7) wants.
func (p *page) seeAlso(refs ...string) {
	slices.SortFunc(refs, func(a, b string) int {
		return cmp.Or(strings.Compare(a[len(a)-1:], b[len(b)-1:]), strings.Compare(a, b))
	})
	p.section("SEE ALSO")
	for i, r := range refs {
		comma := " ,"
		if i == len(refs)-1 {
			comma = ""
		}
		p.line(".Xr %s%s", r, comma)
	}
}

// width of a line: lint lets 80 pass, and counts what it makes of a character.
const width = 74

// prose writes a paragraph: each sentence on lines of its own.
func (p *page) prose(text string) {
	text = strings.Join(strings.Fields(text), " ")
	for s := range strings.SplitSeq(sentence().ReplaceAllString(text, "$1\n$2"), "\n") {
		line := ""
		for w := range strings.SplitSeq(s, " ") {
			w = escape(w)
			if line != "" && len(line)+1+len(w) > width {
				p.line("%s", line)
				line = ""
			}
			if line == "" {
				line = atStart(w)
			} else {
				line += " " + w
			}
		}
		p.line("%s", line)
	}
}

// atStart guards a word that begins a line from being taken for a request.
func atStart(w string) string {
	if w != "" && (w[0] == '.' || w[0] == '\'') {
		return `\&` + w
	}
	return w
}
