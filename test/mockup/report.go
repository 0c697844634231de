package main

import (
	"bytes"
	_ "embed"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"runtime"
	"slices"
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
	acked, lost, bad := 0, 0, 0
	for _, r := range results {
		if r.pair.a.vhid == vardaVHID {
			acked, lost = acked+r.acked, lost+max(r.lost, 0)
		}
		if r.err != nil || r.lost != 0 {
			bad++
		}
	}
	fmt.Fprintf(&b, "`go run ./test/mockup %s`, %s, on %d CPUs without KVM (tcg); it took %s. %d rows, %d not as they should be; **%d lines acknowledged, %d of them lost.**\n\n",
		o, time.Now().UTC().Format(time.DateOnly), runtime.NumCPU(), took.Round(time.Second), len(results), bad, acked, lost)
	b.WriteString(table(results, func(r result) bool { return r.pair.a.vhid == vardaVHID && r.name != staggeredName }))
	if slices.ContainsFunc(results, func(r result) bool { return r.name == staggeredName }) {
		b.WriteString("\n### Staggered power losses\n\n" + table(results, func(r result) bool { return r.name == staggeredName }))
	}
	if slices.ContainsFunc(results, func(r result) bool { return r.pair.a.vhid == dnsVHID }) {
		b.WriteString("\n### olorin: DNS and DHCP, no storage\n\n" + plainTable(results))
	}
	b.WriteString(splits(results) + subjects(results))
	return b.String()
}

// table are some rows of varda.
func table(results []result, wanted func(result) bool) string {
	var b strings.Builder
	b.WriteString("| what happens | taken over by | who was active when | address away | service away | DRBD before | DRBD after | mails | acknowledged | **lost** | as it should be |\n")
	b.WriteString("|---|---|---|--:|--:|---|---|--:|--:|--:|---|\n")
	for _, r := range results {
		if wanted(r) {
			fmt.Fprintf(&b, "| %s | %s | %s | %s | %s | %s | %s | %d | %d | **%s** | %s |\n", r.title, r.how, r.active, seconds(r.address, true), seconds(r.service, r.back),
				r.before, r.after, len(r.mails), r.acked, map[bool]string{true: "?", false: fmt.Sprint(r.lost)}[r.lost < 0], verdict(r))
		}
	}
	return b.String()
}

// plainTable are the rows of olorin.
func plainTable(results []result) string {
	var b strings.Builder
	b.WriteString("| what happens | who was active when | address away | DNS away | mails | as it should be |\n|---|---|--:|--:|--:|---|\n")
	for _, r := range results {
		if r.pair.a.vhid == dnsVHID {
			fmt.Fprintf(&b, "| %s | %s | %s | %s | %d | %s |\n", strings.TrimPrefix(r.title, "olorin: "), r.active, seconds(r.address, true), seconds(r.service, r.back),
				len(r.mails), verdict(r))
		}
	}
	return b.String()
}

func verdict(r result) string {
	if r.err != nil || r.lost != 0 {
		return "**no**"
	}
	return "yes"
}

// splits are the steps from what breaks to the first acknowledged write.
func splits(results []result) string {
	var b strings.Builder
	for _, r := range results {
		if len(r.steps) == 0 {
			continue
		}
		if b.Len() == 0 {
			b.WriteString("\n### From the event to the first acknowledged write, by step\n\n| what happens | taken over by | steps |\n|---|---|---|\n")
		}
		var all []string
		for _, s := range r.steps {
			all = append(all, fmt.Sprintf("%s %.2f s", s.name, s.took.Seconds()))
		}
		fmt.Fprintf(&b, "| %s | %s | %s |\n", r.title, r.how, strings.Join(all, ", "))
	}
	return b.String()
}

// subjects are those of all mails, each with how often it came.
func subjects(results []result) string {
	times := map[string]int{}
	for _, r := range results {
		for _, s := range r.mails {
			times[s]++
		}
	}
	if len(times) == 0 {
		return ""
	}
	var b strings.Builder
	b.WriteString("\n### The mails' subjects\n\n| times | subject |\n|--:|---|\n")
	all := slices.SortedFunc(maps.Keys(times), func(a, b string) int {
		if times[a] != times[b] {
			return times[b] - times[a]
		}
		return strings.Compare(a, b)
	})
	for _, s := range all {
		fmt.Fprintf(&b, "| %d | %s |\n", times[s], s)
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
