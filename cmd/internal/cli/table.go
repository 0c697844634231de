package cli

import (
	"bytes"
	"io"
	"strings"
	"text/tabwriter"
	"unicode"
)

// Table writes rows below a header in aligned columns. Empty cells become "-", so that a column can be cut out by number, and
// control characters, which may come from a guest, are made visible.
func Table(w io.Writer, header []string, rows [][]string) error {
	var b bytes.Buffer
	t := tabwriter.NewWriter(&b, 0, 8, 2, ' ', 0)
	for _, row := range append([][]string{header}, rows...) {
		cells := make([]string, len(row))
		for i, c := range row {
			cells[i] = cell(c, i == len(row)-1)
		}
		if _, err := io.WriteString(t, strings.Join(cells, "\t")+"\n"); err != nil {
			return err
		}
	}
	if err := t.Flush(); err != nil {
		return err
	}
	var whole strings.Builder
	for line := range strings.Lines(b.String()) { // the last column may be empty
		whole.WriteString(strings.TrimRight(line, " \n") + "\n")
	}
	_, err := io.WriteString(w, whole.String())
	return err
}

func cell(s string, last bool) string {
	if s == "" && !last {
		return "-"
	}
	return Printable(s)
}

// Printable replaces control characters: text of a guest's must not drive the admin's terminal.
func Printable(s string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) || !unicode.IsPrint(r) && r != ' ' {
			return '\uFFFD'
		}
		return r
	}, s)
}
