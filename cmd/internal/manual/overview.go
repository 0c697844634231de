package manual

import (
	"strconv"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"kvmctl/cmd/internal/cli"
)

// overview is the program's own page.
func (g Program) overview() Page {
	root := g.Root
	p := newPage(root.Name(), 8, root.Name(), lower(root.Short))
	p.section("SYNOPSIS")
	p.line(".Nm")
	root.PersistentFlags().VisitAll(func(f *pflag.Flag) {
		value, _ := pflag.UnquoteUsage(f)
		switch {
		case value != "":
			p.line(".Op Fl \\-%s Ar %s", escape(f.Name), arg(value))
		default:
			p.line(".Op Fl %s", f.Shorthand)
		}
	})
	p.line(".Ar command")
	p.line(".Op Ar argument ...")
	p.section("DESCRIPTION")
	p.paragraphs(root.Long)
	p.commonOptions(root)
	for _, group := range root.Groups() {
		p.line(".Ss %s", escape(trimColon(group.Title)))
		p.line(".Bl -tag -width Ds")
		for _, c := range visible(root) {
			if c.GroupID == group.ID {
				p.line(".It Xo")
				p.line(".Xr %s 8", pageName(c))
				p.line(".Xc")
				p.prose(c.Short + ".")
			}
		}
		p.line(".El")
	}
	p.section("FILES")
	p.line(".Bl -tag -width Ds")
	for _, f := range g.Files {
		p.line(".It Pa %s", arg(f[0]))
		p.prose(f[1])
	}
	p.line(".El")
	p.section("EXIT STATUS")
	p.line(".Bl -tag -width Ds")
	for _, c := range cli.ExitCodes {
		p.line(".It %s", strconv.Itoa(c.Code))
		p.prose(c.Meaning)
	}
	p.line(".El")
	p.seeAlso(g.filePages("")...)
	return Page{root.Name() + ".8", p.String()}
}

// commonOptions tells of the options that every command has.
func (p *page) commonOptions(root *cobra.Command) {
	p.line(".Pp")
	p.line("Every command has these options:")
	p.line(".Bl -tag -width Ds")
	root.PersistentFlags().VisitAll(func(f *pflag.Flag) { p.flag(f) })
	p.line(".It Fl h , Fl \\-help")
	p.prose("Show the help of the command.")
	p.line(".El")
}

func trimColon(s string) string {
	if n := len(s); n > 0 && s[n-1] == ':' {
		return s[:n-1]
	}
	return s
}
