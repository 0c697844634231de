package strict

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// Problem is one mistake in a configuration file, with its place.
type Problem struct {
	File      string
	Line, Col int    // from 1; a column counts characters
	Key       string // the dotted key with indices, such as "disk[1].image"; empty when the file as a whole is wrong
	Msg       string
	Fix       string // what can be typed instead; empty: no idea
}

// Error gives "file:line:col: message", without the hint.
func (p Problem) Error() string { return fmt.Sprintf("%s:%d:%d: %s", p.File, p.Line, p.Col, p.Msg) }

// Hint gives what can be typed to mend it, or the empty string.
func (p Problem) Hint() string { return p.Fix }

// Problems is a sorted list of mistakes: by file, line, column.
type Problems []Problem

// Error gives one line a problem.
func (p Problems) Error() string {
	lines := make([]string, len(p))
	for i := range p {
		lines[i] = p[i].Error()
	}
	return strings.Join(lines, "\n")
}

// Hint gives the first problem's hint.
func (p Problems) Hint() string {
	for i := range p {
		if p[i].Fix != "" {
			return p[i].Fix
		}
	}
	return ""
}

// Unwrap gives each problem, for errors.As.
func (p Problems) Unwrap() []error {
	errs := make([]error, len(p))
	for i := range p {
		errs[i] = p[i]
	}
	return errs
}

// For returns the problems of one file.
func (p Problems) For(file string) Problems {
	var out Problems
	for _, x := range p {
		if x.File == file {
			out = append(out, x)
		}
	}
	return out
}

// Sort brings them into the order of the file.
func (p Problems) Sort() {
	slices.SortStableFunc(p, func(a, b Problem) int {
		return cmp.Or(cmp.Compare(a.File, b.File), cmp.Compare(a.Line, b.Line), cmp.Compare(a.Col, b.Col),
			cmp.Compare(a.Key, b.Key), cmp.Compare(a.Msg, b.Msg))
	})
}
