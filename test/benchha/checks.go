package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// checkTables are what checks cost, and how soon one knows.
type checkTables struct {
	agents, probes, deaths []row // values are the columns of their tables
}

// agentsWith are the agents of BenchmarkAgent that are measured here, in the words of the table.
var agentsWith = []struct{ bench, what string }{
	{"no checks", "no checks"},
	{"a mix", "100 checks at 1 s: 25 each of tcp, dns, process, systemd"},
	{"a mix with TLS", "100 checks at 1 s with TLS: https, ldaps, smtp by STARTTLS"},
}

// The promises: issue 5 for the agent; the death that is pushed is known "in well under a second".
const (
	mixAtMost    = 1.0 // percent of one CPU
	pushedWithin = 500 // ms
)

// checks runs the benchmarks of ha/check, whose servers are the ones of its tests: real programs, in a network of the test program's own.
func (b *bench) checks(ctx context.Context) error {
	var names []string
	for _, a := range agentsWith {
		names = append(names, regexp.QuoteMeta(underscored(a.bench)))
	}
	var results []result
	for _, which := range []string{"^BenchmarkAgent$/^(" + strings.Join(names, "|") + ")$", "^BenchmarkProbe$", "^BenchmarkDeath$"} {
		cmd := exec.CommandContext(ctx, "go", "test", "-run", "^$", "-bench", which, "-benchtime", "1x", "./ha/check")
		cmd.Env = append(os.Environ(), "KVM_TEST_TIERS=all", "KVMHA="+b.bin)
		// It ends its test program when it is interrupted.
		cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
		cmd.WaitDelay = 20 * time.Second
		var out bytes.Buffer
		cmd.Stdout, cmd.Stderr = &out, &out
		if err := cmd.Run(); err != nil {
			return fmt.Errorf("%w: %s", err, strings.TrimSpace(out.String()))
		}
		results = append(results, parseResults(out.String())...)
	}
	var err error
	b.report.checks, err = tablesOf(results)
	return err
}

// result is a line that a benchmark printed: "BenchmarkAgent/a_mix-2  1  0.93 %cpu  20.1 MiB".
type result struct {
	bench, name string // "Agent", "a mix"
	values      map[string]float64
}

var resultLine = regexp.MustCompile(`^Benchmark(\w+)/(\S+?)(?:-\d+)?\s+\d+\s+(\S.*)$`)

func parseResults(out string) (all []result) {
	for line := range strings.Lines(out) {
		m := resultLine.FindStringSubmatch(strings.TrimSpace(line))
		if m == nil {
			continue
		}
		r := result{m[1], strings.ReplaceAll(m[2], "_", " "), map[string]float64{}}
		for pair := range slices.Chunk(strings.Fields(m[3]), 2) {
			if v, err := strconv.ParseFloat(pair[0], 64); err == nil && len(pair) == 2 {
				r.values[pair[1]] = v
			}
		}
		all = append(all, r)
	}
	return all
}

// underscored is what package testing makes of a name.
func underscored(name string) string { return strings.ReplaceAll(name, " ", "_") }

// tablesOf makes the tables and judges what was promised. Figures that are missing are an error, not an empty cell.
func tablesOf(results []result) (t checkTables, err error) {
	of := func(bench string) (found []result) {
		for _, r := range results {
			if r.bench == bench {
				found = append(found, r)
			}
		}
		if len(found) == 0 {
			err = errors.Join(err, fmt.Errorf("no figures of Benchmark%s", bench))
		}
		return found
	}
	agents := of("Agent")
	for _, a := range agentsWith {
		i := slices.IndexFunc(agents, func(r result) bool { return r.name == a.bench })
		if i < 0 {
			err = errors.Join(err, fmt.Errorf("no figures of BenchmarkAgent with %s", a.bench))
			continue
		}
		v, x := agents[i].values, row{what: a.what}
		x.values[0] = fmt.Sprintf("%.2f %% [%.2f %%]", v["%cpu"], v["%cpu-worst"])
		x.values[1] = fmt.Sprintf("%.1f MiB (%.1f)", v["MiB"], v["MiB-PSS"])
		if a.bench == "a mix" {
			x.wanted, x.ok = fmt.Sprintf("< %g %%", mixAtMost), v["%cpu"] > 0 && v["%cpu"] < mixAtMost
		}
		t.agents = append(t.agents, x)
	}
	for _, r := range of("Probe") {
		x := row{what: r.name}
		x.values[0], x.values[1] = fmt.Sprintf("%.0f", r.values["cpu-µs"]), fmt.Sprintf("%.0f", r.values["µs"])
		t.probes = append(t.probes, x)
	}
	for _, r := range of("Death") {
		x := row{what: r.name}
		x.values[0] = fmt.Sprintf("%.1f [%.1f]", r.values["ms"], r.values["ms-worst"])
		if r.name == "systemd" {
			x.wanted, x.ok = fmt.Sprintf("every run < %d", pushedWithin), r.values["ms"] > 0 && r.values["ms-worst"] < pushedWithin
		}
		t.deaths = append(t.deaths, x)
	}
	return t, err
}

// rows are all rows of all tables.
func (t checkTables) rows() []row { return slices.Concat(t.agents, t.probes, t.deaths) }

func (t checkTables) markdown(b *strings.Builder) {
	for _, x := range []struct {
		head string
		rows []row
		cols int
	}{
		{"| an agent with one active group and | CPU, median [worst] of 3 × 10 s | resident (PSS) | wanted | |\n|---|--:|--:|---|---|\n", t.agents, 2},
		{"One question of a check, median of 30:\n\n| check | µs of CPU | µs until the answer | | |\n|---|--:|--:|---|---|\n", t.probes, 2},
		{"From kill −9 of a named, which is a unit of a systemd, until its check is red:\n\n| check | ms, median [worst] of 12 | wanted | |\n|---|--:|---|---|\n", t.deaths, 1},
	} {
		if len(x.rows) == 0 {
			continue
		}
		b.WriteString(x.head)
		for _, r := range x.rows {
			fmt.Fprintf(b, "| %s | %s | %s | %s |\n", r.what, strings.Join(r.values[:x.cols], " | "), r.wanted, r.verdict())
		}
		b.WriteString("\n")
	}
}
