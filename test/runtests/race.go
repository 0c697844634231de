package main

import (
	"go/build"
	"regexp"
	"strings"
)

// access begins the stack of one of the two accesses of a data race ("Previous write at", too), up to an empty line; the places are indented by six.
var (
	access = regexp.MustCompile(`(?m)^(?:Previous )?(?:[Rr]ead|[Ww]rite|[Aa]tomic read|[Aa]tomic write) at 0x[0-9a-f]+ by .*$`)
	place  = regexp.MustCompile(`(?m)^      (/.*?):[0-9]+`)
)

// programRaces tells whether the output of a test holds a data race in which the program has a part. One between two places of a test's own
// code, such as a counter of its model that it reads without the lock, says nothing about the program: that test is run again like any other
// that fails, and named.
func programRaces(out string) bool {
	races := strings.Count(out, "WARNING: DATA RACE")
	for report := range strings.SplitSeq(out, "WARNING: DATA RACE") {
		if accesses := access.FindAllStringIndex(report, -1); len(accesses) == 2 && inTest(report[accesses[0][1]:]) && inTest(report[accesses[1][1]:]) {
			races--
		}
	}
	return races > 0
}

// inTest tells whether the stack at the beginning of s was in a test's own code when it left Go's library.
func inTest(s string) bool {
	stack, _, _ := strings.Cut(s, "\n\n")
	for _, m := range place.FindAllStringSubmatch(stack, -1) {
		if !strings.HasPrefix(m[1], build.Default.GOROOT+"/src/") {
			return strings.HasSuffix(m[1], "_test.go")
		}
	}
	return false
}
