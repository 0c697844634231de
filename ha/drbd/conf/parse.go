package conf

import (
	"fmt"
	"strconv"

	"kvmctl/internal/nearest"
)

// Load reads the named files one after the other, and what they include. label goes before each file's name in positions, such as
// "vm-varda:". An error is an *Error, of what cannot be read on; what drbdadm would refuse else is in Problems.
func Load(source Source, label string, files ...string) (*Config, error) {
	p := newParser(source, label)
	if err := p.files(files); err != nil {
		return nil, err
	}
	return p.c, nil
}

func newParser(source Source, label string) *parser {
	return &parser{source: source, label: label, seen: map[string]bool{}, c: &Config{}, sections: map[string]Position{}}
}

func (p *parser) files(names []string) error {
	for _, name := range names {
		if err := p.file(name, Position{}); err != nil {
			return err
		}
	}
	return nil
}

type parser struct {
	lexer
	source     Source
	label      string
	seen       map[string]bool // files by name
	shared     shared          // of Share; else nil
	depth      int
	total      int64 // bytes
	statements int
	sections   map[string]Position // what may stand once, by path
	c          *Config
}

// problem notes what drbdadm would refuse.
func (p *parser) problem(at Position, near, format string, args ...any) {
	if len(p.c.Problems) < maxProblems {
		p.c.Problems = append(p.c.Problems, &Error{At: at, Why: fmt.Sprintf(format, args...), Near: near})
	}
}

// once notes a second section, or statement, where one is allowed.
func (p *parser) once(at Position, path, what string) {
	if first, ok := p.sections[path]; ok {
		p.problem(at, "", "%s once more; the first is at %s", what, first)
		return
	}
	p.sections[path] = at
}

// room refuses one more of what there are n of.
func (p *parser) room(n, most int, what string) error {
	if n < most {
		return nil
	}
	return &Error{At: p.at(p.i), Why: fmt.Sprintf("more than %d %s", most, what), err: ErrTooLong}
}

// statement gives the first token of one, counted.
func (p *parser) statement() (token, error) {
	if p.statements++; p.statements > maxStatements {
		return token{}, &Error{At: p.at(p.i), Why: fmt.Sprintf("more than %d statements", maxStatements), err: ErrTooLong}
	}
	return p.next()
}

func expected(what string, got token) error {
	return &Error{At: got.at, Why: what + " is expected, not " + got.says()}
}

// want takes a mark or a keyword.
func (p *parser) want(text string) error {
	t, err := p.next()
	if err == nil && !t.is(text) {
		err = expected(`"`+text+`"`, t)
	}
	return err
}

// value takes a word or a string.
func (p *parser) value(what string) (Value, error) {
	t, err := p.next()
	if err == nil && t.kind != word && t.kind != quoted {
		err = expected(what, t)
	}
	return Value{Text: t.text, At: t.at}, err
}

// ended takes a value and the semicolon.
func (p *parser) ended(what string) (Value, error) {
	v, err := p.value(what)
	if err == nil {
		err = p.want(";")
	}
	return v, err
}

// integer takes a number from 0 to highest.
func (p *parser) integer(what string, highest int) (Value, int, error) {
	v, err := p.value(what)
	if err != nil {
		return v, 0, err
	}
	n, bad := strconv.Atoi(v.Text)
	if bad != nil || n < 0 || n > highest {
		return v, 0, &Error{At: v.At, Why: fmt.Sprintf("%s is a number from 0 to %d", what, highest)}
	}
	return v, n, nil
}

// top reads a file.
func (p *parser) top(name string) error {
	for {
		t, err := p.statement()
		if err != nil || t.kind == end {
			return err
		}
		switch {
		case t.is("global"):
			p.once(t.at, "global", "a global section")
			err = p.section("global", &p.c.Global)
		case t.is("common"):
			p.once(t.at, "common", "a common section")
			r := &Resource{}
			err = p.resource(r)
			if p.c.Common = append(p.c.Common, r.Options...); len(p.c.Common) > maxOptions && err == nil {
				err = p.room(len(p.c.Common), maxOptions, "common options")
			}
			if len(r.Hosts)+len(r.Connections)+len(r.Volumes) > 0 {
				p.problem(t.at, "", "hosts, volumes or connections in the common section")
			}
		case t.is("resource"):
			r := &Resource{}
			if r.Name, err = p.value("the resource's name"); err != nil {
				return err
			}
			p.once(r.Name.At, "resource "+r.Name.Text, fmt.Sprintf("resource %q", r.Name.Text))
			p.c.Resources = append(p.c.Resources, r)
			if err = p.room(len(p.c.Resources)-1, maxResources, "resources"); err == nil {
				err = p.resource(r)
			}
		case t.is("include"):
			var v Value
			if v, err = p.ended("a file"); err == nil {
				err = p.include(name, v)
			}
		case t.is("skip"):
			err = p.skip(t.at)
		case t.kind == word && len(t.text) == len("require-drbd-module-version-eq") && t.text[:len(t.text)-2] == "require-drbd-module-version-":
			_, err = p.ended("a version")
		default:
			err = expected(`"global", "common", "resource", "include" or "skip"`, t)
		}
		if err != nil {
			return err
		}
	}
}

// skip passes over the section that follows.
func (p *parser) skip(at Position) error {
	first := p.first
	for level := 0; ; {
		t, err := p.next()
		switch {
		case err != nil:
			return err
		case t.kind == end:
			return &Error{At: at, Why: "the section to skip does not end"}
		case t.is("{"):
			level++
		case t.is("}"):
			if level--; level <= 0 {
				p.private.blank(first, p.i)
				return nil
			}
		}
	}
}

// section reads options in braces.
func (p *parser) section(name string, into *[]Option) error {
	if err := p.want("{"); err != nil {
		return err
	}
	return p.options(name, into)
}

// options reads options up to the brace that closes.
func (p *parser) options(section string, into *[]Option) error {
	for {
		t, err := p.statement()
		if err != nil || t.is("}") {
			return err
		}
		if t.is("skip") {
			if err := p.skip(t.at); err != nil {
				return err
			}
			continue
		}
		if t.kind != word {
			return expected("an option of "+section, t)
		}
		o, err := p.option(section, t)
		if err == nil {
			err = p.room(len(*into), maxOptions, "options")
		}
		if err != nil {
			return err
		}
		*into = append(*into, o)
	}
}

// option reads the rest of an option and judges it. What it does not know may be a secret under a wrong name.
func (p *parser) option(section string, t token) (Option, error) {
	s, name, f, no, ok := place(section, t.text)
	o := Option{Section: s, Name: name, At: t.at, Written: t.text, Value: Value{Text: "yes", At: t.at}}
	if string(s) != section {
		o.Under = section
	}
	if no {
		o.Value.Text = "no"
	}
	nameFirst, nameEnd := p.first, p.i
	v, err := p.next()
	first, valueEnd := p.first, p.i
	given := err == nil && (v.kind == word || v.kind == quoted)
	if given {
		o.Value = Value{Text: v.text, At: v.at}
		for v, err = p.next(); err == nil && f == many && (v.kind == word || v.kind == quoted); v, err = p.next() {
			o.Value.Text += " " + v.text
		}
	}
	switch {
	case err != nil:
		return o, err
	case !v.is(";"):
		return o, expected(`";"`, v)
	case !ok:
		near, found := nearest.Find(t.text, names(section))
		o.Value = secret(o.Value)
		if found || section != string(Net) {
			p.problem(t.at, near, "unknown option %q of %s", t.text, section)
		} else {
			p.private.replace(nameFirst, nameEnd, unknownName)
			o.Name, o.Written = hidden, hidden
			p.problem(t.at, "", "unknown option of %s", section)
		}
		if given {
			p.private.replace(first, valueEnd, o.Value.mask())
		}
	case !given && f != yesNo:
		p.problem(t.at, "", "%s needs a value", name)
	case name == "shared-secret":
		if _, is := masked(o.Value.Text); !is && len(o.Value.Text) > 63 {
			p.problem(o.Value.At, "", "the shared secret is longer than 63 bytes")
		}
		o.Value = secret(o.Value)
		if given {
			p.private.replace(first, valueEnd, o.Value.mask())
		}
	default:
		if what, fit := f.fits(o.Value.Text); !fit {
			p.problem(o.Value.At, "", "%s is %s", name, what)
		}
	}
	return o, nil
}
