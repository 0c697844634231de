package hatest_test

import (
	"testing"
	"time"

	"kvmctl/ha/hatest"
)

// An outage lasts from the answer before it, which may have come before the event, to the first one after it.
func TestOutageIsBetweenTwoAnswers(t *testing.T) {
	zero := time.Unix(1000, 0)
	at := func(ms int) time.Time { return zero.Add(time.Duration(ms) * time.Millisecond) }
	answers := func(ms ...int) (a hatest.Answers) {
		for _, m := range ms {
			a = append(a, hatest.Answer{At: at(m)})
		}
		return a
	}
	for name, c := range map[string]struct {
		a          hatest.Answers
		from, to   int
		begin, end int
	}{
		"one":                           {answers(0, 5, 10, 60, 65, 70), 12, 70, 10, 60},
		"the longest of two":            {answers(0, 20, 25, 60, 65), 5, 65, 25, 60},
		"it lasts":                      {answers(0, 5, 10), 6, 100, 10, 100},
		"it ends after the time":        {answers(0, 5, 90), 6, 50, 5, 90},
		"nobody ever answered":          {nil, 10, 50, 10, 50},
		"before and after do not count": {answers(0, 50, 52, 63, 65, 200), 55, 64, 52, 63},
	} {
		begin, end := c.a.Longest(at(c.from), at(c.to))
		if begin != at(c.begin) || end != at(c.end) {
			t.Errorf("%s: from %v to %v, want %d to %d ms", name, begin.Sub(zero), end.Sub(zero), c.begin, c.end)
		}
		if got := c.a.Outage(at(c.from), at(c.to)); got != end.Sub(begin) {
			t.Errorf("%s: outage %v", name, got)
		}
	}
}
