package hostcmd

import (
	"io"
	"strings"
	"testing"

	"github.com/spf13/cobra"

	"kvmctl/cmd/internal/cli"
)

func tree() *cobra.Command {
	return New(&cli.Env{Prog: "kvmctl", In: strings.NewReader(""), Out: io.Discard, Err: io.Discard, Get: func(string) string { return "" }})
}

func walk(c *cobra.Command, visit func(*cobra.Command)) {
	visit(c)
	for _, sub := range c.Commands() {
		if !sub.Hidden {
			walk(sub, visit)
		}
	}
}

func TestEachCommandHasLongHelpAndExamplesThatItsOwnTreeTakes(t *testing.T) {
	examples := 0
	walk(tree(), func(c *cobra.Command) {
		if !c.HasParent() {
			return
		}
		if c.Long == "" || c.Example == "" || c.Short == "" {
			t.Errorf("%s: without Short, Long or Example", c.CommandPath())
		}
		if strings.HasSuffix(c.Short, ".") || len(c.Short) > 80 {
			t.Errorf("%s: Short %q: want a phrase of at most 80 letters without a full stop", c.CommandPath(), c.Short)
		}
		for line := range strings.Lines(c.Example) {
			if line = strings.TrimSpace(line); line == "" {
				continue
			}
			examples++
			if err := takes(line, c); err != "" {
				t.Errorf("%s: example %q: %s", c.CommandPath(), line, err)
			}
		}
		for line := range strings.Lines(c.Long) {
			if len([]rune(line)) > 121 {
				t.Errorf("%s: a line of %d letters in its help: %q", c.CommandPath(), len([]rune(line)), line)
			}
		}
	})
	if examples < 20 {
		t.Errorf("only %d examples: where are they?", examples)
	}
}

// takes parses an example's line with a tree of its own, as far as cobra does before it runs anything.
func takes(line string, of *cobra.Command) string {
	line, _, _ = strings.Cut(line, "  #")
	for part := range strings.SplitSeq(line, " | ") { // input may come from another program
		if line = part; strings.HasPrefix(strings.TrimSpace(part), "kvmctl ") {
			break
		}
	}
	line, _, _ = strings.Cut(line, " > ")
	words, ok := split(strings.TrimSpace(line))
	if !ok || len(words) == 0 || words[0] != "kvmctl" {
		return "does not begin with kvmctl, or a quote is open"
	}
	found, rest, err := tree().Find(words[1:])
	if err != nil {
		return err.Error()
	}
	if path := found.CommandPath(); path != of.CommandPath() && !strings.HasPrefix(path, of.CommandPath()+" ") {
		return "is of " + path
	}
	if err := found.ParseFlags(rest); err != nil {
		return err.Error()
	}
	if err := found.ValidateFlagGroups(); err != nil {
		return err.Error()
	}
	if err := found.ValidateArgs(found.Flags().Args()); err != nil {
		return err.Error()
	}
	if found.HasSubCommands() {
		return "names no command"
	}
	return ""
}

// split takes a line apart as a shell does, with quotes and without anything else.
func split(line string) (words []string, ok bool) {
	var word strings.Builder
	begun, quote := false, rune(0)
	for _, r := range line {
		switch {
		case quote != 0 && r == quote:
			quote = 0
		case quote != 0:
			word.WriteRune(r)
		case r == '"' || r == '\'':
			quote, begun = r, true
		case r == ' ' && begun:
			words = append(words, word.String())
			word.Reset()
			begun = false
		case r == ' ':
		default:
			word.WriteRune(r)
			begun = true
		}
	}
	if begun {
		words = append(words, word.String())
	}
	return words, quote == 0
}

func TestAnExampleThatItsCommandDoesNotTakeIsFound(t *testing.T) {
	of, _, err := tree().Find([]string{"image", "resize"})
	if err != nil {
		t.Fatal(err)
	}
	tests := []struct{ line, want string }{
		{"kvmctl image resize vm-olorin +10G", ""},
		{"kvmctl image resize 'vm olorin' +10G > /dev/null", ""},
		{"kvmctl image resize vm-olorin +10G --shirnk", "unknown flag: --shirnk"},
		{"kvmctl image resize vm-olorin", "cannot run kvmctl image resize with 1 argument"},
		{"kvmctl image info vm-olorin", "is of kvmctl image info"},
		{"image resize vm-olorin +10G", "does not begin with kvmctl, or a quote is open"},
		{"kvmctl image resize 'vm-olorin +10G", "does not begin with kvmctl, or a quote is open"},
	}
	for _, tt := range tests {
		if got := takes(tt.line, of); got != tt.want {
			t.Errorf("%s\n got: %s\nwant: %s", tt.line, got, tt.want)
		}
	}
}
