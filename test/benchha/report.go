package main

import (
	"bytes"
	"context"
	_ "embed"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"text/template"
	"time"

	"kvmctl/internal/atomicfile"
)

// series is what one figure's runs gave.
type series []time.Duration

// median of an even number of runs lies between the two in the middle.
func (s series) median() time.Duration {
	if len(s) == 0 {
		return 0
	}
	t := slices.Sorted(slices.Values(s))
	return (t[(len(t)-1)/2] + t[len(t)/2]) / 2
}

func (s series) max() time.Duration {
	if len(s) == 0 {
		return 0
	}
	return slices.Max(s)
}

// String is the median and the worst run.
func (s series) String() string {
	if len(s) == 0 {
		return "not offered"
	}
	return fmt.Sprintf("%.3f [%.3f]", s.median().Seconds(), s.max().Seconds())
}

// noise is by how much two medians may differ that are still the same: the client asks every 5 ms, a phase is kept within that of a busy
// scheduler, and the better of two others has had two tries.
const noise = 50 * time.Millisecond

// row is a line of a table; the columns are the contenders, of which a table may have fewer.
type row struct {
	what, figure string
	values       [4]string
	wanted       string // "": nothing was promised
	ok           bool
}

func (x row) verdict() string {
	switch {
	case x.wanted == "":
		return ""
	case x.ok:
		return "ok"
	}
	return "**missed**"
}

// report collects what was measured.
type report struct {
	machine []string
	cells   []row
	beats   []row
	duals   []row
	costs   []row
	checks  checkTables
	syncs   []row
	notes   []string
}

func (r *report) note(format string, args ...any) {
	r.notes = append(r.notes, fmt.Sprintf(format, args...))
}

// missed counts the wanted figures that were not reached.
func (r *report) missed() int {
	n := 0
	for _, x := range slices.Concat(r.cells, r.beats, r.duals, r.costs, r.checks.rows(), r.syncs) {
		if x.wanted != "" && !x.ok {
			n++
		}
	}
	return n
}

func pick(all []sample, f func(sample) time.Duration) series {
	var s series
	for _, x := range all {
		s = append(s, f(x))
	}
	return s
}

// cell gives the rows of an act and judges those of the first contender by the others'.
func (r *report) cell(a act, names []string, all [][]sample) []row {
	for i, s := range all {
		never := 0
		for _, x := range s {
			if x.never {
				never++
			}
		}
		if never > 0 {
			r.note("%s: %s did not take over within %s in %d of %d runs; they count as %s.", a.what, names[i], limit, never, len(s), limit)
		}
	}
	figures := func(f func(sample) time.Duration) (s []series, v [4]string) {
		for i := range all {
			s = append(s, pick(all[i], f))
			v[i] = s[i].String()
		}
		return s, v
	}
	take, takeV := figures(func(s sample) time.Duration { return s.takeover })
	out, outV := figures(func(s sample) time.Duration { return s.outage })
	dual, dualV := figures(func(s sample) time.Duration { return s.dual })

	rivals, better := a.rule.rivals, "≤ the better"
	switch len(rivals) {
	case 0:
		rivals = []int{1, 2}
	case 1:
		better = "≤ " + names[rivals[0]]
	}
	first := row{what: a.what, figure: "first answer", values: takeV, wanted: better, ok: notWorse(take, rivals)}
	if a.rule.first > 0 {
		first.wanted, first.ok = fmt.Sprintf("≤ %s", a.rule.first), take[0].median() <= a.rule.first
	}
	if a.rule.ahead > 0 {
		first.wanted += fmt.Sprintf(", %s before ucarp", a.rule.ahead)
		first.ok = first.ok && take[0].median()+a.rule.ahead <= take[1].median()
	}
	outage := row{what: a.what, figure: "client outage", values: outV, wanted: better, ok: notWorse(out, rivals)}
	if a.rule.outage > 0 {
		outage.wanted, outage.ok = fmt.Sprintf("every run ≤ %s", a.rule.outage), out[0].max() <= a.rule.outage
	}
	both := row{what: a.what, figure: "on both nodes", values: dualV}
	switch {
	case a.rule.alone:
		both.wanted, both.ok = "0 in every run", dual[0].max() == 0
	case !a.rule.noDual:
		both.wanted, both.ok = better, notWorse(dual, rivals)
	}
	return []row{first, outage, both}
}

// notWorse compares our median with the better one of those that offer it.
func notWorse(s []series, rivals []int) bool {
	better := time.Duration(-1)
	for _, i := range rivals {
		if x := s[i]; len(x) > 0 && (better < 0 || x.median() < better) {
			better = x.median()
		}
	}
	return better < 0 || s[0].median() <= better+noise
}

// dual adds the row of a way to end the agent, or of what follows it.
func (r *report) dual(a act, all []sample) {
	dual := pick(all, func(s sample) time.Duration { return s.dual })
	with := 0
	for _, d := range dual {
		if d > 0 {
			with++
		}
	}
	never := slices.ContainsFunc(all, func(s sample) bool { return s.never })
	if never {
		r.note("%s, kvmha alone: in some runs the other node did not take over within %s.", a.what, limit)
	}
	out := pick(all, func(s sample) time.Duration { return s.outage })
	x := row{what: fmt.Sprintf("%s, %d runs", a.what, len(all)), figure: "on both nodes",
		values: [4]string{fmt.Sprintf("%.3f s in all, in %d runs, %.3f s at most; outage %s", total(dual).Seconds(), with, dual.max().Seconds(), out)}}
	if a.rule.alone {
		x.wanted, x.ok = "0 in every run", with == 0 && len(dual) > 0 && !never
	}
	r.duals = append(r.duals, x)
}

func total(s series) (sum time.Duration) {
	for _, d := range s {
		sum += d
	}
	return sum
}

func table(b *strings.Builder, names []string, rows []row) {
	if len(rows) == 0 {
		return
	}
	fmt.Fprintf(b, "| event | figure | %s | wanted of kvmha | |\n|---|---|%s---|---|\n", strings.Join(names, " | "), strings.Repeat("--:|", len(names)))
	for _, x := range rows {
		fmt.Fprintf(b, "| %s | %s | %s | %s | %s |\n", x.what, x.figure, strings.Join(x.values[:len(names)], " | "), x.wanted, x.verdict())
	}
	b.WriteString("\n")
}

// markdown gives the tables and what belongs to them.
func (r *report) markdown() string {
	var b strings.Builder
	for _, m := range r.machine {
		fmt.Fprintf(&b, "- %s\n", m)
	}
	if len(r.cells) > 0 {
		b.WriteString("\nSeconds, median [worst run]:\n\n")
		table(&b, namesByCARP, r.cells)
	}
	if len(r.beats) > 0 {
		b.WriteString("\nTwo agents by heartbeats (profile F) beside keepalived at intervals of 0.1 s and 0.01 s; seconds, median [worst run]:\n\n")
		table(&b, namesByHeartbeat, r.beats)
	}
	if len(r.duals) > 0 {
		b.WriteString("The agent's end at any phase, kvmha alone:\n\n| event | got | wanted | |\n|---|---|---|---|\n")
		for _, x := range r.duals {
			fmt.Fprintf(&b, "| %s | %s | %s | %s |\n", x.what, x.values[0], x.wanted, x.verdict())
		}
		b.WriteString("\n")
	}
	if len(r.costs) > 0 {
		b.WriteString("What it costs:\n\n")
		table(&b, namesByCARP, r.costs)
	}
	if len(r.checks.rows()) > 0 {
		b.WriteString("\nWhat checks cost:\n\n")
		r.checks.markdown(&b)
	}
	if len(r.syncs) > 0 {
		b.WriteString("\nConfig sync, seconds, median [worst run]:\n\n")
		table(&b, namesOfSync, r.syncs)
	}
	for _, n := range r.notes {
		fmt.Fprintf(&b, "%s\n\n", n)
	}
	return strings.TrimRight(b.String(), "\n") + "\n"
}

//go:embed page.md
var pageText string

var page = template.Must(template.New("page").Parse(pageText))

// writePage writes the page of the documentation.
func (r *report) writePage(path string) error {
	var b bytes.Buffer
	if err := page.Execute(&b, map[string]any{"Figures": r.markdown()}); err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	return atomicfile.Write(path, b.Bytes(), 0o644)
}

// describe says what was measured, with what, on what.
func describe(ctx context.Context, b *bench) []string {
	version := func(pattern string, argv ...string) string {
		out, _ := exec.CommandContext(ctx, argv[0], argv[1:]...).CombinedOutput() // dpkg-query tells one that is missing by its exit code
		line, _, _ := strings.Cut(strings.TrimSpace(string(out)), "\n")
		return fmt.Sprintf(pattern, line)
	}
	debian := func(p string) string { return version(p+" %s", "dpkg-query", "-W", "-f", "${Version}", p) }
	return []string{
		fmt.Sprintf("command: `go run ./test/benchha %s`; %s", b.o, time.Now().UTC().Format(time.DateOnly)),
		fmt.Sprintf("machine: %s, %d CPUs, Linux %s; load before: %s", cpuModel(), runtime.NumCPU(),
			strings.TrimSpace(read("/proc/sys/kernel/osrelease")), load()),
		fmt.Sprintf("%s; %s; %s; %s", version("%s", b.bin, "version"), debian("ucarp"), debian("keepalived"), runtime.Version()),
	}
}

func read(path string) string {
	text, err := os.ReadFile(path)
	if err != nil {
		return "unknown"
	}
	return string(text)
}

func cpuModel() string {
	for line := range strings.Lines(read("/proc/cpuinfo")) {
		if name, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(name) == "model name" {
			return strings.TrimSpace(value)
		}
	}
	return "unknown CPU"
}

// load is the machine's load average of the last minute.
func load() string {
	first, _, _ := strings.Cut(read("/proc/loadavg"), " ")
	return first
}
