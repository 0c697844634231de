package manual

import (
	"strings"
)

// FilePage is what the page of a configuration file is made of.
type FilePage struct {
	Name      string // "kvm.toml"
	What      string // it is, in a line
	Path      string
	Reference string // the reference file's text
}

// file gives the page of a configuration file, written from its reference: each key with the comment above it.
func (g Program) file(f FilePage) Page {
	p := newPage(f.Name, 5, f.Name, f.What)
	p.section("SYNOPSIS")
	p.line(".Pa %s", arg(f.Path))
	p.section("DESCRIPTION")
	first := true
	table := ""
	p2 := &page{}
	for _, block := range strings.Split(strings.TrimSpace(f.Reference), "\n\n") {
		comment, rest := splitBlock(block)
		if first { // the head of the file
			first = false
			p.paragraphs(comment)
			if rest == "" {
				continue
			}
			comment = ""
		}
		p2.entries(&table, comment, rest)
	}
	p.section("KEYS")
	p.line("The value shown is an example.")
	p.line(".Bl -tag -width Ds")
	p.b.WriteString(p2.String())
	p.line(".El")
	p.seeAlso(append([]string{g.Root.Name() + " 8", g.Root.Name() + "-check 8"}, g.filePages(f.Name)...)...)
	return Page{f.Name + ".5", p.String()}
}

// splitBlock parts the comment at the top of a block from the lines below it.
func splitBlock(block string) (comment, rest string) {
	lines := strings.Split(block, "\n")
	i := 0
	for i < len(lines) && strings.HasPrefix(lines[i], "#") {
		i++
	}
	return uncomment(lines[:i]), strings.Join(lines[i:], "\n")
}

func uncomment(lines []string) string {
	var b strings.Builder
	for _, l := range lines {
		b.WriteString(strings.TrimPrefix(strings.TrimPrefix(l, "#"), " ") + "\n")
	}
	return b.String()
}

// entries writes a block of the reference: a table's head begins a list of its own, a key is an item of it.
func (p *page) entries(table *string, comment, rest string) {
	for rest != "" {
		var line string
		line, rest, _ = strings.Cut(rest, "\n")
		switch {
		case strings.HasPrefix(line, "#"):
			comment += strings.TrimPrefix(strings.TrimPrefix(line, "#"), " ") + "\n"
			continue
		case strings.HasPrefix(line, "["):
			*table = line
			p.line(".El")
			p.line(`.Ss %s\&`, escape(line)) // \&: the bracket is no punctuation
			if comment != "" {
				p.paragraphs(comment)
			}
			p.line(".Bl -tag -width Ds")
		case strings.TrimSpace(line) != "":
			p.line(".It Li %s", arg(line))
			if comment != "" {
				p.paragraphs(comment)
			}
		}
		comment = ""
	}
}
