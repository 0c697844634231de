package manual

import (
	"strconv"

	"github.com/spf13/cobra"

	"kvmctl/cmd/internal/cli"
)

// overview is the program's own page.
func overview(root *cobra.Command, files [][2]string) Page {
	p := newPage(root.Name(), 8, root.Name(), lower(root.Short))
	p.section("SYNOPSIS")
	p.line(".Nm")
	p.line(".Op Fl \\-root Ar DIR")
	p.line(".Op Fl v")
	p.line(".Ar command")
	p.line(".Op Ar argument ...")
	p.section("DESCRIPTION")
	p.paragraphs(root.Long)
	p.commonOptions()
	for _, g := range root.Groups() {
		p.line(".Ss %s", escape(trimColon(g.Title)))
		p.line(".Bl -tag -width Ds")
		for _, c := range visible(root) {
			if c.GroupID == g.ID {
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
	for _, f := range files {
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
	p.seeAlso("kvm.toml 5", "vm.toml 5")
	return Page{root.Name() + ".8", p.String()}
}

// commonOptions tells of the two options that every command has.
func (p *page) commonOptions() {
	p.line(".Pp")
	p.line("Every command has these options:")
	p.line(".Bl -tag -width Ds")
	p.line(".It Fl \\-root Ar DIR")
	p.prose("Keep everything below DIR instead of /.")
	p.line(".It Fl v , Fl \\-verbose")
	p.prose("Say what is being done.")
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
