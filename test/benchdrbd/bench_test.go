package main

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
)

var cut = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

func at(ms int) time.Time { return cut.Add(time.Duration(ms) * time.Millisecond) }

func TestStepsAreFromTheLatestOneBefore(t *testing.T) {
	seconds := func(steps [6]time.Duration) string {
		var all []string
		for _, d := range steps {
			all = append(all, fmt.Sprint(d.Milliseconds()))
		}
		return strings.Join(all, " ")
	}
	for _, tt := range []struct {
		name  string
		all   []event
		first int
		want  string
	}{
		{"a fence, then all in order", []event{{"asked", true, at(3000)}, {"alone", true, at(3100)}, {"primary", true, at(3700)}, {"mounted", true, at(4200)}, {"address", true, at(4300)}}, 4400, "3000 100 600 500 100 100"},
		{"an arbiter: what is written is the first that can be seen", []event{{"alone", true, at(2000)}, {"primary", true, at(2500)}, {"mounted", true, at(3000)}, {"address", true, at(3000)}}, 3100, "2000 0 500 500 0 100"},
		{"the address comes first, and without a right", []event{{"address", true, at(3000)}, {"decided", true, at(3010)}, {"primary", true, at(4000)}, {"mounted", true, at(4500)}}, 4600, "3010 0 990 500 0 100"},
		{"what was so before the power cut does not count", []event{{"primary", true, at(-500)}, {"primary", false, at(-100)}, {"alone", true, at(-50)}, {"asked", true, at(1000)}, {"primary", true, at(1500)}}, 2000, "1000 0 500 0 0 500"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			steps := split(cut, tt.all, at(tt.first))
			if got := seconds(steps); got != tt.want {
				t.Errorf("%s, want %s", got, tt.want)
			}
			var sum time.Duration
			for _, d := range steps {
				sum += d
			}
			if sum != at(tt.first).Sub(cut) {
				t.Errorf("the steps are %v together, the whole is %v", sum, at(tt.first).Sub(cut))
			}
		})
	}
}

func TestHowLongTwoWerePrimaryTogether(t *testing.T) {
	a := []event{{"primary", true, at(0)}, {"mounted", true, at(10)}, {"primary", false, at(1000)}, {"primary", true, at(2000)}}
	b := []event{{"primary", false, at(0)}, {"primary", true, at(700)}, {"primary", false, at(1500)}, {"primary", true, at(2600)}}
	if got := together(a, b, "primary", at(3000)); got != 700*time.Millisecond {
		t.Errorf("%v, want 300 ms and 400 ms", got)
	}
	if got := together(a, nil, "primary", at(3000)); got != 0 {
		t.Errorf("%v of a node that never was", got)
	}
}

func TestWhatTheClientSaw(t *testing.T) {
	acks := []ack{{"1.1", "a", at(-900)}, {"1.2", "a", at(-50)}, {"1.3", "a", at(100)}, {"1.4", "b", at(1100)}, {"1.5", "b", at(1150)}}
	if got := outage(acks, at(0)); got != time.Second {
		t.Errorf("an outage of %v: a longer one before does not count", got)
	}
	if got, ok := firstOf(acks, "b", at(0)); !ok || got != at(1100) {
		t.Errorf("the first of b at %v", got)
	}
	if _, ok := firstOf(acks, "a", at(200)); ok {
		t.Error("a has answered after it was gone")
	}
	if got := lost(acks, "1.1\n1.2\n1.4\n1.4\n1.5"); !slices.Equal(got, []string{"1.3"}) {
		t.Errorf("lost %v", got)
	}
}

func TestALostLineAndTwoPrimariesAreMissed(t *testing.T) {
	good := func() *report {
		return &report{contenders: []*contender{{name: "kvmha, fence"}, {name: "keepalived 1 s"}},
			samples:  [][]sample{{{steps: [6]time.Duration{1: time.Second}, acked: 9}}, {{acked: 9, lost: 3}}},
			costs:    make([]costs, 2),
			partings: []namedParting{{"kvmha, arbiter", parting{acked: [2]int{5, 0}}}, {"keepalived 1 s", parting{both: time.Second, split: true, lost: [2]int{2, 1}}}}}
	}
	for _, tt := range []struct {
		name  string
		spoil func(*report)
		want  int
	}{
		{"nothing", func(*report) {}, 0},
		{"a line", func(r *report) { r.samples[0][0].lost = 1 }, 1},
		{"late", func(r *report) { r.samples[0][0].steps[2] = time.Second }, 1},
		{"two primaries", func(r *report) { r.partings[0].both = time.Millisecond }, 1},
		{"a line in a partition", func(r *report) { r.partings[0].lost = [2]int{1, 1} }, 1},
		{"a split brain in which neither side wrote", func(r *report) { r.partings[0].split = true }, 1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := good()
			tt.spoil(r)
			if got := r.missed(); got != tt.want {
				t.Errorf("%d missed, want %d:\n%s", got, tt.want, r.markdown())
			}
		})
	}
	if text := good().markdown(); !strings.Contains(text, "2 or 1, by whose data are discarded") || !strings.Contains(text, "| 9, 0 | 9, 3 |") {
		t.Error(text)
	}
}
