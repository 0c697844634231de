package main

import (
	"bytes"
	"context"
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

// row is a line of the table.
type row struct {
	what    string
	times   series
	wanted  string // "": nothing was promised
	got     string
	ok      bool
	missing error // why it could not be measured
}

// report collects what was measured.
type report struct {
	machine []string
	rows    []row
	notes   []string
	mem     []string
}

func (r *report) add(x row) { r.rows = append(r.rows, x) }

func (r *report) note(format string, args ...any) {
	r.notes = append(r.notes, fmt.Sprintf(format, args...))
}

// missed counts the wanted figures that were measured and not reached.
func (r *report) missed() int {
	n := 0
	for _, x := range r.rows {
		if x.wanted != "" && x.missing == nil && !x.ok {
			n++
		}
	}
	return n
}

// memory adds the table of what stays behind.
func (r *report) memory(sum map[string]memory, count map[string]int, libvirt bool) {
	r.mem = append(r.mem, "| process | number | RSS | PSS |", "|---|--:|--:|--:|")
	line := func(who string) {
		r.mem = append(r.mem, fmt.Sprintf("| %s | %d | %s | %s |", who, count[who], mib(sum[who].rss), mib(sum[who].pss)))
	}
	line(behindOurs)
	if !libvirt {
		r.mem = append(r.mem, "| libvirtd, virtlogd | not measured | | |")
	}
	for _, who := range slices.Sorted(maps.Keys(sum)) {
		if who != behindOurs && who != qemuOurs && who != qemuTheirs {
			line(who)
		}
	}
	line(qemuOurs)
	if libvirt {
		line(qemuTheirs)
	}
}

func mib(kib int) string { return fmt.Sprintf("%.1f MiB", float64(kib)/1024) }

func ms(d time.Duration) string {
	return fmt.Sprintf("%.1f ms", float64(d)/float64(time.Millisecond))
}

// ratio gives how many times b is in a.
func ratio(a, b series) float64 {
	if b.median() == 0 {
		return 0
	}
	return float64(a.median()) / float64(b.median())
}

func times(a, b series) string { return fmt.Sprintf("%.2f ×", ratio(a, b)) }

func atMost(x float64, of string) string { return fmt.Sprintf("≤ %g × %s", x, of) }

func faster(x float64) string { return fmt.Sprintf("≥ %g × kvmctl's", x) }

// markdown gives the tables and what belongs to them.
func (r *report) markdown() string {
	var b strings.Builder
	for _, m := range r.machine {
		fmt.Fprintf(&b, "- %s\n", m)
	}
	b.WriteString("\n| what | median | min – max | runs | wanted | got | |\n|---|--:|--:|--:|---|--:|---|\n")
	for _, x := range r.rows {
		lo, hi := x.times.span()
		verdict := ""
		switch {
		case x.missing != nil:
			fmt.Fprintf(&b, "| %s | not measured | | | %s | | %s |\n", x.what, x.wanted, strings.ReplaceAll(x.missing.Error(), "\n", " "))
			continue
		case x.wanted != "" && x.ok:
			verdict = "ok"
		case x.wanted != "":
			verdict = "**missed**"
		}
		if len(x.times) == 0 {
			fmt.Fprintf(&b, "| %s | | | | %s | %s | %s |\n", x.what, x.wanted, x.got, verdict)
			continue
		}
		fmt.Fprintf(&b, "| %s | %s | %s – %s | %d | %s | %s | %s |\n", x.what, ms(x.times.median()), ms(lo), ms(hi), len(x.times), x.wanted, x.got, verdict)
	}
	b.WriteString("\n")
	for _, n := range r.notes {
		fmt.Fprintf(&b, "%s\n\n", n)
	}
	fmt.Fprintf(&b, "Memory of everything that runs beside the measuring itself, while the guests of both sides run:\n\n%s\n", strings.Join(r.mem, "\n"))
	return b.String()
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
	version := func(argv ...string) string {
		out, err := output(ctx, argv...)
		if err != nil {
			return "not installed"
		}
		line, _, _ := strings.Cut(strings.TrimSpace(out), "\n")
		return line
	}
	return []string{
		fmt.Sprintf("command: `make bench`, or after it `go run ./test/bench -n %d -running %d -defined %d -accel %s`; %s", b.o.runs, b.o.running,
			b.o.defined, b.o.accel, time.Now().UTC().Format(time.DateOnly)),
		fmt.Sprintf("machine: %s, %d CPUs, %s, %s; load before: %s", cpuModel(), runtime.NumCPU(), field("/proc/meminfo", "MemTotal"),
			"Linux "+strings.TrimSpace(read("/proc/sys/kernel/osrelease")), load()),
		fmt.Sprintf("%s; %s; libvirt %s; %s; guests by %s", version(b.ours.argv("--version")...), version(b.ours.host.QEMU, "--version"),
			version("virsh", "--version"), runtime.Version(), b.o.accel),
	}
}

func read(path string) string {
	text, err := os.ReadFile(path)
	if err != nil {
		return "unknown"
	}
	return string(text)
}

func field(path, key string) string {
	for line := range strings.Lines(read(path)) {
		if name, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(name) == key {
			return key + " " + strings.TrimSpace(value)
		}
	}
	return key + " unknown"
}

func cpuModel() string {
	_, model, _ := strings.Cut(field("/proc/cpuinfo", "model name"), "model name ")
	return model
}

// load is the machine's load average of the last minute: a figure taken on a busy machine is no figure.
func load() string {
	first, _, _ := strings.Cut(read("/proc/loadavg"), " ")
	return first
}
