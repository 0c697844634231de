package main

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
)

// event is a line of `go test -json` (go doc test2json).
type event struct {
	Action      string
	Package     string
	ImportPath  string // of build output
	Test        string
	Elapsed     float64
	Output      string
	FailedBuild string
}

// count follows the events of one run. Every test and subtest that ends is counted once; a package that fails without a
// failed test of its own (it does not build, panics outside a test, runs out of time) counts as one failure.
type count struct {
	passed, failed, skipped int

	output   map[key][]string // of what has not ended yet
	builds   map[string][]string
	failures map[string]int // by package
	running  []string       // packages
	faults   []fault        // what failed, for the summary
	forgiven []key          // failed and passed when they were run again
}

// fault is a test that failed, or a package that did without one.
type fault struct {
	key
	race bool // of the program's, or a panic: no matter of time
}

type key struct{ pkg, test string }

// add takes one line and returns what to show for it.
func (c *count) add(line []byte) string {
	if c.output == nil {
		c.output, c.builds, c.failures = map[key][]string{}, map[string][]string{}, map[string]int{}
	}
	var e event
	if json.Unmarshal(line, &e) != nil || e.Action == "" {
		return string(line) // not an event: go itself has something to say
	}
	k := key{e.Package, e.Test}
	switch e.Action {
	case "start":
		c.running = append(c.running, e.Package)
	case "build-output":
		c.builds[e.ImportPath] = append(c.builds[e.ImportPath], e.Output)
	case "output":
		c.output[k] = append(c.output[k], e.Output)
	case "pass", "skip", "fail":
		if e.Test == "" {
			return c.endPackage(e)
		}
		return c.endTest(e, k)
	}
	return ""
}

func (c *count) endTest(e event, k key) string {
	out := strings.Join(c.output[k], "")
	delete(c.output, k)
	switch e.Action {
	case "pass":
		c.passed++
	case "skip":
		c.skipped++
	case "fail":
		c.failed++
		c.failures[e.Package]++
		c.faults = append(c.faults, fault{key: k, race: programRaces(out) || strings.Contains(out, "panic: ")})
		return out
	}
	return ""
}

func (c *count) endPackage(e event) string {
	c.running = slices.DeleteFunc(c.running, func(pkg string) bool { return pkg == e.Package })
	var b strings.Builder
	if e.Action == "fail" {
		b.WriteString(strings.Join(c.builds[e.FailedBuild], ""))
		if c.failures[e.Package] == 0 {
			c.failed++
			c.faults = append(c.faults, fault{key: key{pkg: e.Package}})
			// Tests that never ended hold the reason: a panic, or the stacks of a timeout.
			for _, k := range c.pending(e.Package) {
				b.WriteString(strings.Join(c.output[k], ""))
			}
		}
		b.WriteString(strings.Join(c.output[key{pkg: e.Package}], ""))
	}
	for _, k := range c.pending(e.Package) {
		delete(c.output, k)
	}
	if e.Action == "pass" { // a failure ends with go's own FAIL line, and "skip" is a package without tests
		fmt.Fprintf(&b, "ok   %-40s %6.1f s\n", e.Package, e.Elapsed)
	}
	return b.String()
}

// pending are a package's tests that have output and no end, sorted.
func (c *count) pending(pkg string) []key {
	var keys []key
	for k := range c.output {
		if k.pkg == pkg && k.test != "" {
			keys = append(keys, k)
		}
	}
	slices.SortFunc(keys, func(a, b key) int { return strings.Compare(a.test, b.test) })
	return keys
}

// mostAgain is how many tests may fail and be run again: with more of them it is not the machine that is to blame.
const mostAgain = 5

// secondChances are the top-level tests to run again: none when one of them met a data race of the program's or panicked, when a package failed as a whole, or
// when they are many.
func (c *count) secondChances() []key {
	var tests []key
	for _, f := range c.faults {
		if f.test == "" || f.race {
			return nil
		}
		top, _, _ := strings.Cut(f.test, "/")
		if k := (key{f.pkg, top}); !slices.Contains(tests, k) {
			tests = append(tests, k)
		}
	}
	if len(tests) > mostAgain || c.unfinished() > 0 {
		return nil
	}
	return tests
}

// forgive takes the failures of the tests back.
func (c *count) forgive(tests []key) {
	c.failed -= len(c.faults)
	c.passed += len(c.faults)
	c.faults, c.forgiven = nil, tests
}

// unfinished is the number of packages that began and never ended: go test was killed.
func (c *count) unfinished() int { return len(c.running) }

func (c *count) summary() string {
	var b strings.Builder
	for _, f := range c.faults {
		fmt.Fprintf(&b, "failed: %s\n", strings.TrimSpace(f.pkg+" "+f.test))
	}
	for _, k := range c.forgiven {
		fmt.Fprintf(&b, "flaky, passed only when run again: %s %s\n", k.pkg, k.test)
	}
	for _, pkg := range c.running {
		fmt.Fprintf(&b, "never ended: %s\n", pkg)
	}
	if c.skipped > 0 {
		fmt.Fprintf(&b, "%d skipped\n", c.skipped)
	}
	fmt.Fprintf(&b, "%d passed, %d failed\n", c.passed, c.failed+len(c.running))
	return b.String()
}
