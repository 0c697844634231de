package main

import (
	"strings"
	"testing"
	"time"
)

func runs(takeover, outage, dual time.Duration) []sample {
	return []sample{{takeover: takeover, outage: outage, dual: dual}, {takeover: takeover, outage: outage, dual: dual}}
}

func TestWhatIsMissed(t *testing.T) {
	const s = time.Second
	alone := rule{alone: true, outage: 3500 * time.Millisecond}
	for _, tt := range []struct {
		name                    string
		rule                    rule
		ours, ucarp, keepalived []sample
		want                    int
	}{
		{"as the better one", rule{}, runs(3*s, 3*s, 0), runs(4*s, 4*s, 0), runs(3*s, 3*s, 0), 0},
		{"within the noise", rule{}, runs(3*s+noise, 3*s, 0), runs(4*s, 4*s, 0), runs(3*s, 3*s, 0), 0},
		{"worse than the better one", rule{}, runs(3*s+2*noise, 3*s, 0), runs(4*s, 4*s, 0), runs(3*s, 3*s, 0), 1},
		{"longer on both nodes", rule{}, runs(s, s, s), runs(s, s, 0), runs(s, s, 2*s), 1},
		{"not a second before ucarp", rule{ahead: s}, runs(3*s, 3*s, 0), runs(3*s+s/2, 4*s, 0), runs(3*s, 3*s, 0), 1},
		{"ucarp offers nothing", rule{}, runs(3*s, 3*s, 0), nil, runs(3*s, 3*s, 0), 0},
		{"alone, with an outage that the others do not have", alone, runs(3*s, 3*s, 0), runs(4*s, 0, 2*s), runs(3*s, 0, 2*s), 0},
		{"alone, but too late", alone, runs(3*s, 4*s, 0), runs(4*s, 0, 2*s), runs(3*s, 0, 2*s), 1},
		{"not alone", alone, runs(3*s, 3*s, time.Millisecond), runs(4*s, 0, 2*s), runs(3*s, 0, 2*s), 1},
		{"in its own time, where the others are earlier", rule{first: 2 * s, outage: 2 * s}, runs(2*s, 2*s, 0), runs(s, s, 0), runs(s, s, 0), 0},
		{"later than its own time", rule{first: 2 * s, outage: 4 * s}, runs(3*s, 3*s, 0), runs(4*s, 4*s, 0), runs(4*s, 4*s, 0), 1},
		{"a partition", rule{noDual: true}, runs(3*s, 3*s, 3*s), runs(4*s, 4*s, 2*s), runs(3*s, 3*s, s), 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var r report
			r.cells = r.cell(act{what: "event", rule: tt.rule}, namesByCARP, [][]sample{tt.ours, tt.ucarp, tt.keepalived})
			if got := r.missed(); got != tt.want {
				t.Errorf("%d missed, want %d:\n%s", got, tt.want, r.markdown())
			}
		})
	}
}

func TestOneRunOfAHundredOnBothNodesIsAMiss(t *testing.T) {
	var r report
	all := append(runs(0, 0, 0), sample{dual: 5 * time.Millisecond})
	r.dual(act{what: "kill", rule: rule{alone: true}}, all)
	if r.missed() != 1 || !strings.Contains(r.markdown(), "0.005 s in all, in 1 runs") {
		t.Error(r.markdown())
	}
}

func TestAnAgentThatNobodyReplacesIsAMiss(t *testing.T) {
	var r report
	r.dual(act{what: "kill", rule: rule{alone: true}}, append(runs(0, 0, 0), sample{never: true}))
	if r.missed() != 1 {
		t.Error(r.markdown())
	}
}

func TestMedianLiesInTheMiddleOfSortedRuns(t *testing.T) {
	for _, tt := range []struct {
		runs series
		want time.Duration
	}{{nil, 0}, {series{7}, 7}, {series{9, 1, 5}, 5}, {series{10, 1, 2, 4}, 3}} {
		if got := tt.runs.median(); got != tt.want {
			t.Errorf("median of %v is %d, want %d", tt.runs, got, tt.want)
		}
	}
}
