package hostcmd

import (
	"context"
	"regexp"
	"slices"
	"strings"
	"sync"

	"kvmctl/vm/qmp"
)

// hmpWords are the human monitor's commands, for completion.
type hmpWords struct {
	commands []string
	info     []string // what `info` shows
}

// hmpCommands asks QEMU itself; without an answer there is nothing to complete.
func hmpCommands(ctx context.Context, c *qmp.Client) hmpWords {
	var w hmpWords
	if out, err := c.HMP(ctx, "help"); err == nil {
		w.commands = append(parseHelp(out, ""), "exit", "detach")
		slices.Sort(w.commands)
	}
	if out, err := c.HMP(ctx, "help info"); err == nil {
		w.info = parseHelp(out, "info ")
		slices.Sort(w.info)
	}
	return w
}

// helpWord is the beginning of a line of help: a command's name and its short one, "cont|c".
var helpWord = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`^[a-z][a-z0-9_-]*(\|[a-z?]+)?(\s|$)`) })

// maxWords bounds what is taken from QEMU's help.
const maxWords = 1000

// parseHelp reads the names out of QEMU's help, whose lines begin with prefix. Lines that go on with another's explanation begin otherwise.
func parseHelp(out, prefix string) []string {
	var words []string
	for _, line := range strings.Split(out, "\n") {
		line, ok := strings.CutPrefix(line, prefix)
		if !ok || !helpWord().MatchString(line) || len(words) == maxWords {
			continue
		}
		word, _, _ := strings.Cut(strings.Fields(line)[0], "|")
		words = append(words, word)
	}
	return words
}

// complete completes the word before pos, in bytes: the first of a line is a command, the second after info what it shows and after help a
// command. choice lists what it could be where that is more than one and nothing could be added.
func (w hmpWords) complete(line string, pos int) (newLine string, newPos int, choice []string) {
	before, after := line[:pos], line[pos:]
	start := strings.LastIndexByte(before, ' ') + 1
	var words []string
	switch strings.TrimSpace(before[:start]) {
	case "", "help":
		words = w.commands
	case "info":
		words = w.info
	}
	var fit []string
	for _, x := range words {
		if strings.HasPrefix(x, before[start:]) {
			fit = append(fit, x)
		}
	}
	if len(fit) == 0 {
		return line, pos, nil
	}
	more := fit[0]
	for _, x := range fit {
		for !strings.HasPrefix(x, more) {
			more = more[:len(more)-1]
		}
	}
	if len(fit) == 1 {
		more += " "
	}
	if before[start:] == more {
		return line, pos, fit
	}
	return before[:start] + more + after, start + len(more), nil
}

// columns sets words in lines of at most 100 bytes.
func columns(words []string) string {
	var b strings.Builder
	n := 0
	for i, w := range words {
		switch {
		case i == 0:
		case n+2+len(w) > 100:
			b.WriteByte('\n')
			n = 0
		default:
			b.WriteString("  ")
			n += 2
		}
		b.WriteString(w)
		n += len(w)
	}
	return b.String()
}
