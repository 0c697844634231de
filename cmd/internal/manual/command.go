package manual

import (
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// Page is one manual page.
type Page struct {
	File string // "kvmctl-start.8"
	Text string
}

// Program is what the pages of a program are made of.
type Program struct {
	Root  *cobra.Command
	Files [][2]string // places on disk and what they are
	Pages []FilePage  // of its configuration
}

// Manual gives a program's pages: its own, one for each command that people use, and those of its files.
func (g Program) Manual() []Page {
	pages := []Page{g.overview()}
	for _, c := range visible(g.Root) {
		pages = append(pages, g.commandPages(c)...)
	}
	for _, f := range g.Pages {
		pages = append(pages, g.file(f))
	}
	return pages
}

// filePages gives the references to the pages of the files but one.
func (g Program) filePages(but string) []string {
	var refs []string
	for _, f := range g.Pages {
		if f.Name != but {
			refs = append(refs, f.Name+" 5")
		}
	}
	return refs
}

// visible gives the commands below c that its help shows.
func visible(c *cobra.Command) []*cobra.Command {
	return slices.DeleteFunc(slices.Clone(c.Commands()), func(c *cobra.Command) bool { return !c.IsAvailableCommand() && c.Name() != "help" })
}

func (g Program) commandPages(c *cobra.Command) []Page {
	pages := []Page{g.commandPage(c)}
	for _, sub := range visible(c) {
		pages = append(pages, g.commandPages(sub)...)
	}
	return pages
}

// pageName joins the words of a command: kvmctl-image-create.
func pageName(c *cobra.Command) string { return strings.ReplaceAll(c.CommandPath(), " ", "-") }

func (g Program) commandPage(c *cobra.Command) Page {
	name := pageName(c)
	p := newPage(name, 8, name, lower(c.Short))
	p.section("SYNOPSIS")
	p.synopsis(c)
	p.section("DESCRIPTION")
	text := c.Long
	if text == "" {
		text = c.Short + "."
	}
	p.paragraphs(text)
	if subs := visible(c); len(subs) > 0 {
		p.commands(subs)
	}
	p.options(c.LocalNonPersistentFlags())
	if c.Example != "" {
		p.section("EXAMPLES")
		p.display(strings.Split(strings.Trim(c.Example, "\n"), "\n"))
	}
	refs := g.filePages("")
	if c.HasParent() {
		refs = append(refs, pageName(c.Parent())+" 8")
	}
	p.seeAlso(refs...)
	return Page{name + ".8", p.String()}
}

// synopsis writes the use line word for word, as --help prints it.
func (p *page) synopsis(c *cobra.Command) {
	use := strings.TrimSuffix(c.UseLine(), " [flags]")
	p.line(".Bd -literal")
	for _, l := range fold(use, 72) {
		p.line("%s", escape(l))
	}
	p.line(".Ed")
}

// fold breaks a use line between its words; brackets stay whole where they fit.
func fold(s string, width int) []string {
	var lines []string
	line := ""
	for _, w := range strings.Fields(s) {
		if line != "" && len(line)+1+len(w) > width {
			lines = append(lines, line)
			line = "    "
		}
		if strings.TrimSpace(line) != "" {
			line += " "
		}
		line += w
	}
	return append(lines, line)
}

func (p *page) commands(cs []*cobra.Command) {
	p.line(".Pp")
	p.line("The commands:")
	p.line(".Bl -tag -width Ds")
	for _, c := range cs {
		p.line(".It Xo")
		p.line(".Xr %s 8", pageName(c))
		p.line(".Xc")
		p.prose(c.Short + ".")
	}
	p.line(".El")
}

func (p *page) options(flags *pflag.FlagSet) {
	var shown []*pflag.Flag
	flags.VisitAll(func(f *pflag.Flag) {
		if !f.Hidden && f.Name != "help" {
			shown = append(shown, f)
		}
	})
	if len(shown) == 0 {
		return
	}
	p.section("OPTIONS")
	p.line(".Bl -tag -width Ds")
	for _, f := range shown {
		p.flag(f)
	}
	p.line(".El")
}

func (p *page) flag(f *pflag.Flag) {
	value, usage := pflag.UnquoteUsage(f)
	item := ".It Fl \\-" + escape(f.Name)
	if f.Shorthand != "" {
		item = ".It Fl " + f.Shorthand + " , Fl \\-" + escape(f.Name)
	}
	if value != "" {
		item += " Ar " + arg(value)
	}
	p.line("%s", item)
	text := strings.ToUpper(usage[:min(1, len(usage))]) + usage[min(1, len(usage)):]
	if f.DefValue != "" && f.DefValue != "false" && f.DefValue != "[]" && f.DefValue != "0" && f.DefValue != "0s" && !strings.Contains(usage, "default") {
		text += fmt.Sprintf(" (default %s)", f.DefValue)
	}
	p.prose(strings.TrimSuffix(text, ".") + ".")
}

func lower(s string) string {
	if len(s) > 1 && s[1] >= 'A' && s[1] <= 'Z' { // QEMU, TAP
		return s
	}
	return strings.ToLower(s[:min(1, len(s))]) + s[min(1, len(s)):]
}
