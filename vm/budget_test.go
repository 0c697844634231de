package vm

import (
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func stoppable(name string, order int, timeout time.Duration, after ...string) *Spec {
	return &Spec{Name: name, Order: order, StopTimeout: timeout, After: after}
}

func TestShares(t *testing.T) {
	many := func(n int) (specs []*Spec) {
		for i := range n {
			specs = append(specs, stoppable(fmt.Sprintf("vm%02d", i), 50, 30*time.Second))
		}
		return specs
	}
	chain := []*Spec{stoppable("db", 50, time.Minute), stoppable("app", 50, 30*time.Second, "db"), stoppable("web", 50, 30*time.Second, "app")}
	for name, tt := range map[string]struct {
		specs []*Spec
		total time.Duration
		needs time.Duration
		want  map[string]time.Duration
		fits  bool
	}{
		"none": {nil, time.Minute, 0, map[string]time.Duration{}, true},
		"one that fits keeps its own time": {many(1), 38 * time.Second, 38 * time.Second,
			map[string]time.Duration{"vm00": 30 * time.Second}, true},
		"one that does not gets what is left after the rungs": {many(1), 23 * time.Second, 38 * time.Second,
			map[string]time.Duration{"vm00": 15 * time.Second}, true},
		"those that stop at once all get it": {many(2), 23 * time.Second, 38 * time.Second,
			map[string]time.Duration{"vm00": 15 * time.Second, "vm01": 15 * time.Second}, true},
		"a chain adds up": {chain, 144 * time.Second, 144 * time.Second,
			map[string]time.Duration{"db": time.Minute, "app": 30 * time.Second, "web": 30 * time.Second}, true},
		"a chain is cut in proportion": {chain, 84 * time.Second, 144 * time.Second,
			map[string]time.Duration{"db": 30 * time.Second, "app": 15 * time.Second, "web": 15 * time.Second}, true},
		"too little for the rungs: a second each": {chain, 10 * time.Second, 144 * time.Second,
			map[string]time.Duration{"db": time.Second, "app": time.Second, "web": time.Second}, false},
		"who wants none gets none": {[]*Spec{stoppable("a", 50, 0)}, time.Second, 8 * time.Second, map[string]time.Duration{"a": 0}, false},
	} {
		t.Run(name, func(t *testing.T) {
			if got := StopNeeds(tt.specs); got != tt.needs {
				t.Errorf("needs %v, want %v", got, tt.needs)
			}
			got, fits := Shares(tt.specs, tt.total)
			for name, d := range got {
				got[name] = d.Round(time.Millisecond)
			}
			if d := cmp.Diff(tt.want, got); d != "" || fits != tt.fits {
				t.Errorf("fits %t, shares (-want +got):\n%s", fits, d)
			}
		})
	}
	if got, least := StopNeeds(many(2*parallelStops)), 2*38*time.Second; got < least {
		t.Errorf("twice as many guests as stop at once need %v: less than two after another (%v)", got, least)
	}
}

// A guest that is quick leaves its time to those after it.
func TestABudgetGivesOnWhatWasNotUsed(t *testing.T) {
	db, app := stoppable("db", 50, time.Minute), stoppable("app", 50, time.Minute, "db")
	began := time.Unix(0, 0)
	b := NewBudget([]*Spec{db, app}, began.Add(76*time.Second)) // 60 s beside the rungs, and they want 120
	if got := b.Share(app, began).Round(time.Millisecond); got != 30*time.Second {
		t.Errorf("the first gets %v", got)
	}
	if got := b.Share(db, began.Add(time.Second)).Round(time.Millisecond); got != time.Minute {
		t.Errorf("the second, after a first that took a second, gets %v", got)
	}
}
