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

// String is the median and the worst run, in seconds.
func (s series) String() string {
	if len(s) == 0 {
		return "–"
	}
	return fmt.Sprintf("%.2f [%.2f]", s.median().Seconds(), slices.Max(s).Seconds())
}

func pick[T any](all []T, f func(T) time.Duration) (s series) {
	for _, x := range all {
		s = append(s, f(x))
	}
	return s
}

// namedParting is a contender's partition.
type namedParting struct {
	name string
	parting
}

// report collects what was measured.
type report struct {
	machine    []string
	contenders []*contender
	samples    [][]sample // of each contender
	costs      []costs    // likewise
	partings   []namedParting
	byHand     [2][]recovery // as percents
	byCommand  [2][]recovery
	notes      []string
}

func (r *report) note(format string, args ...any) {
	r.notes = append(r.notes, fmt.Sprintf(format, args...))
}

// promoted is how long the fence and DRBD's promotion of kvmha may take together, before the mount (FAILOVER.md).
const promoted = 1200 * time.Millisecond

// verdict is one wanted figure of kvmha's.
type verdict struct {
	what string
	got  string
	ok   bool
}

func (r *report) verdicts() (all []verdict) {
	for i, c := range r.contenders {
		if !strings.HasPrefix(c.name, "kvmha") || len(r.samples[i]) == 0 {
			continue
		}
		gone := 0
		for _, x := range r.samples[i] {
			gone += x.lost
		}
		all = append(all, verdict{c.name + ": no acknowledged line is lost in a take-over", fmt.Sprint(gone), gone == 0})
		s := pick(r.samples[i], func(x sample) time.Duration { return x.steps[1] + x.steps[2] })
		all = append(all, verdict{fmt.Sprintf("%s: right and DRBD primary, median ≤ %s", c.name, promoted), s.String(), s.median() <= promoted})
	}
	for _, p := range r.partings {
		if strings.HasPrefix(p.name, "kvmha") {
			all = append(all, verdict{p.name + ": two primaries that could write in a partition, never", fmt.Sprintf("%.2f s", p.both.Seconds()), p.both == 0},
				verdict{p.name + ": no acknowledged line is lost in a partition", fmt.Sprint(max(p.lost[0], p.lost[1])), !p.split && p.lost == [2]int{}})
		}
	}
	return all
}

// missed counts the wanted figures that were not reached.
func (r *report) missed() (n int) {
	for _, v := range r.verdicts() {
		if !v.ok {
			n++
		}
	}
	return n
}

// markdown gives the tables and what belongs to them.
func (r *report) markdown() string {
	var b strings.Builder
	for _, m := range r.machine {
		fmt.Fprintf(&b, "- %s\n", m)
	}
	if len(r.contenders) > 0 {
		r.takeovers(&b)
	}
	r.partitions(&b)
	r.recoveries(&b)
	if all := r.verdicts(); len(all) > 0 {
		b.WriteString("\n### What is wanted of kvmha\n\n| wanted | got | |\n|---|--:|---|\n")
		for _, v := range all {
			fmt.Fprintf(&b, "| %s | %s | %s |\n", v.what, v.got, map[bool]string{true: "ok", false: "**missed**"}[v.ok])
		}
	}
	for _, n := range r.notes {
		fmt.Fprintf(&b, "\n%s\n", n)
	}
	return strings.TrimRight(b.String(), "\n") + "\n"
}

func (r *report) takeovers(b *strings.Builder) {
	row := func(what string, value func(i int) string) {
		fmt.Fprintf(b, "| %s |", what)
		for i := range r.contenders {
			fmt.Fprintf(b, " %s |", value(i))
		}
		b.WriteString("\n")
	}
	head := func() {
		row("", func(i int) string { return r.contenders[i].name })
		fmt.Fprintf(b, "|---|%s\n", strings.Repeat("--:|", len(r.contenders)))
	}
	b.WriteString("\n### Power cut of the primary\n\nSeconds from the power cut until the first line that the standby acknowledges, by step; median [worst run]:\n\n")
	head()
	for step, name := range stepNames {
		row(name, func(i int) string {
			return pick(r.samples[i], func(x sample) time.Duration { return x.steps[step] }).String()
		})
	}
	total := func(i int) series { return pick(r.samples[i], func(x sample) time.Duration { return x.total }) }
	row("**in all**", func(i int) string { return total(i).String() })
	row("as many times as "+r.contenders[0].name, func(i int) string {
		if total(0).median() == 0 || total(i).median() == 0 {
			return "–"
		}
		return fmt.Sprintf("%.2f ×", total(i).median().Seconds()/total(0).median().Seconds())
	})
	row("lines acknowledged, lost", func(i int) string {
		acked, gone := 0, 0
		for _, x := range r.samples[i] {
			acked, gone = acked+x.acked, gone+x.lost
		}
		return fmt.Sprintf("%d, %d", acked, gone)
	})
	row("runs", func(i int) string { return fmt.Sprint(len(r.samples[i])) })
	b.WriteString("\n### Planned switch-over\n\nSeconds without an answer as the client saw it, there and back in each run; median [worst]:\n\n")
	head()
	row("planned", func(i int) string {
		var s series
		for _, x := range r.samples[i] {
			s = append(s, x.planned...)
		}
		return s.String()
	})
	b.WriteString("\n### At rest\n\nOn the active node, with one resource and no client:\n\n")
	head()
	row("CPU of its programs", func(i int) string { return fmt.Sprintf("%.2f %%", 100*r.costs[i].own) })
	row("CPU of what they run", func(i int) string { return fmt.Sprintf("%.2f %%", 100*r.costs[i].children) })
	row("RSS, MiB", func(i int) string { return fmt.Sprintf("%.1f", float64(r.costs[i].rss)/1024) })
	row("PSS, MiB", func(i int) string { return fmt.Sprintf("%.1f", float64(r.costs[i].pss)/1024) })
}

func (r *report) partitions(b *strings.Builder) {
	if len(r.partings) == 0 {
		return
	}
	fmt.Fprintf(b, "\n### Both cables cut under write load\n\nFor %s, a client of its own on each side; looked at %s after the cables were whole again:\n\n", partedFor, healedFor)
	b.WriteString("| | two primaries that could write, s | two, one of them frozen, s | lines of the one side, of the other | split brain | lines lost | DRBD at the end |\n|---|--:|--:|--:|---|---|---|\n")
	for _, p := range r.partings {
		split, gone := "no", fmt.Sprint(p.lost[0])
		if p.split {
			split, gone = "yes", fmt.Sprintf("%d or %d, by whose data are discarded", p.lost[0], p.lost[1])
		}
		fmt.Fprintf(b, "| %s | %.2f | %.2f | %d, %d | %s | %s | %s |\n", p.name, p.both.Seconds(), p.frozen.Seconds(), p.acked[0], p.acked[1], split, gone, p.states)
	}
}

func (r *report) recoveries(b *strings.Builder) {
	if len(r.byHand[0]) == 0 {
		return
	}
	b.WriteString("\n### Split brain, from the heal until both are UpToDate\n\nSeconds, median [worst]:\n\n| blocks that differ | found by DRBD | drbdadm by hand | found by both agents | `kvmha drbd resolve` |\n|---|--:|--:|--:|--:|\n")
	for i, percent := range percents {
		found, whole := func(x recovery) time.Duration { return x.found }, func(x recovery) time.Duration { return x.whole }
		fmt.Fprintf(b, "| %d %% | %s | %s | %s | %s |\n", percent, pick(r.byHand[i], found), pick(r.byHand[i], whole), pick(r.byCommand[i], found), pick(r.byCommand[i], whole))
	}
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
	first := func(argv ...string) string {
		out, err := exec.CommandContext(ctx, argv[0], argv[1:]...).CombinedOutput()
		if err != nil {
			return fmt.Sprintf("%s: %v", argv[0], err)
		}
		line, _, _ := strings.Cut(strings.TrimSpace(string(out)), "\n")
		return line
	}
	load, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		load = []byte("unknown")
	}
	minute, _, _ := strings.Cut(string(load), " ")
	return []string{
		fmt.Sprintf("command: `go run ./test/benchdrbd %s`; %s", b.o, time.Now().UTC().Format(time.DateOnly)),
		fmt.Sprintf("machine: %d CPUs, Linux %s, %s, guests by tcg; load before: %s", runtime.NumCPU(), first("uname", "-r"), first("qemu-system-x86_64", "--version"), minute),
		fmt.Sprintf("%s; in the guests DRBD 8.4.11 of Debian's kernel, keepalived, Pacemaker, Corosync, drbd-utils and resource-agents of Debian %s; %s", first(b.o.bin, "version"), suite, runtime.Version()),
	}
}
