package cli

import "strings"

// Again makes the commands in a text mean the same place as the one that runs: where flags were given that say where, such as --root DIR, each
// "kvmctl <command>" that a person may type carries them too. In a hint every one is meant to be typed.
func (e *Env) Again(text string) string { return e.again(text, func(string) bool { return true }) }

// again changes those of which typed, told what stands before them, says that they are to be typed.
func (e *Env) again(text string, typed func(before string) bool) string {
	if e.Where == "" {
		return text
	}
	var out strings.Builder
	name := e.Prog + " "
	for {
		before, after, ok := strings.Cut(text, name)
		out.WriteString(before)
		if !ok {
			return out.String()
		}
		out.WriteString(name)
		word, _, _ := strings.Cut(after, " ")
		if e.command(strings.TrimRight(word, "`;:,.)?")) && (before == "" || strings.ContainsAny(before[len(before)-1:], " `(")) && typed(before) {
			out.WriteString(e.Where + " ")
		}
		text = after
	}
}

func (e *Env) command(word string) bool { return e.IsCommand != nil && e.IsCommand(word) }

// afterColon tells a command that a sentence offers from one that it only speaks of: "paused: kvmctl resume x", "ended by kvmctl stop".
func afterColon(before string) bool {
	return before == "" || strings.HasSuffix(before, ": ") || strings.HasSuffix(before, "`")
}
