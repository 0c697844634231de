package main

import (
	"bytes"
	_ "embed"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"text/template"
	"time"

	"kvmctl/internal/atomicfile"
)

//go:embed page.md
var pageText string

var page = template.Must(template.New("page").Parse(pageText))

// markdown is what is printed, and the middle of the page.
func markdown(o options, results []result, took time.Duration) string {
	var b strings.Builder
	fmt.Fprintf(&b, "`go run ./test/mockup %s`, %s; it took %s.\n\n", o, time.Now().UTC().Format(time.DateOnly), took.Round(time.Second))
	b.WriteString("| what happens | other side asked by | who was active when | address away | service away | DRBD before | DRBD after | mails | acknowledged | **lost** | as it should be |\n")
	b.WriteString("|---|---|---|--:|--:|---|---|--:|--:|--:|---|\n")
	for _, r := range results {
		fmt.Fprintf(&b, "| %s | %s | %s | %s | %s | %s | %s | %d | %d | **%d** | %s |\n", r.title, r.how, r.active, seconds(r.address, true), seconds(r.service, r.back), r.before, r.after,
			len(r.mails), r.acked, r.lost, map[bool]string{true: "yes", false: "no"}[r.err == nil])
	}
	return b.String()
}

// seconds gives a time away; one that had not ended by the end of the row is marked.
func seconds(d time.Duration, back bool) string {
	s := fmt.Sprintf("%.2f s", d.Seconds())
	if !back {
		s = "> " + s
	}
	return s
}

// writePage writes the page of the documentation.
func writePage(path, figures string) error {
	var b bytes.Buffer
	if err := page.Execute(&b, map[string]any{"Figures": figures}); err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	return atomicfile.Write(path, b.Bytes(), 0o644)
}
