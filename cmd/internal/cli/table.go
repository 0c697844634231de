package cli

import (
	"bytes"
	"io"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Table writes rows, which it changes, below a header in aligned columns. Empty cells become "-", so that a column can be cut out by number, and
// control characters, which may come from a guest, are made visible.
func Table(w io.Writer, header []string, rows [][]string) error {
	widths := make([]int, len(header))
	for i, h := range header {
		widths[i] = utf8.RuneCountInString(h)
	}
	for _, row := range rows {
		for i, c := range row {
			row[i] = cell(c, i == len(row)-1)
			widths[i] = max(widths[i], utf8.RuneCountInString(row[i]))
		}
	}
	b := appendRow(nil, header, widths)
	b = slices.Grow(b, len(rows)*len(b))
	for _, row := range rows {
		b = appendRow(b, row, widths)
	}
	_, err := w.Write(b)
	return err
}

const between = "  " // columns

func appendRow(b []byte, row []string, widths []int) []byte {
	for i, c := range row {
		b = append(b, c...)
		for range widths[i] - utf8.RuneCountInString(c) {
			b = append(b, ' ')
		}
		b = append(b, between...)
	}
	return append(bytes.TrimRight(b, " "), '\n') // the last column may be empty
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
