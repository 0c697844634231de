package vm

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
)

func guestNamed(name string, order int, after ...string) *Spec {
	return &Spec{Name: name, Order: order, After: after}
}

func TestWhoWaitsForWhom(t *testing.T) {
	a, b := "a", "b"
	for _, tt := range []struct {
		name  string
		specs []*Spec
		want  map[string][]Dep
	}{
		{"nobody", nil, map[string][]Dep{}},
		{"the same order, side by side", []*Spec{guestNamed(a, 50), guestNamed(b, 50)}, map[string][]Dep{a: nil, b: nil}},
		{"a lower order first", []*Spec{guestNamed(a, 60), guestNamed(b, 50)}, map[string][]Dep{a: {{b, false}}, b: nil}},
		{"after", []*Spec{guestNamed(a, 50, b), guestNamed(b, 50)}, map[string][]Dep{a: {{b, true}}, b: nil}},
		{"after wins over order", []*Spec{guestNamed(a, 10, b), guestNamed(b, 90)}, map[string][]Dep{a: {{b, true}}, b: nil}},
		{"a third one between the two that disagree", []*Spec{guestNamed(a, 10, b), guestNamed(b, 90), guestNamed("c", 50)},
			map[string][]Dep{a: {{b, true}, {"c", false}}, b: {{"c", false}}, "c": nil}},
		{"after somebody who is not asked for", []*Spec{guestNamed(a, 50, "x")}, map[string][]Dep{a: nil}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if d := cmp.Diff(tt.want, Before(tt.specs)); d != "" {
				t.Error(d)
			}
		})
	}
}

// diary notes when each guest was started and ended its start.
type diary struct {
	mu      sync.Mutex
	epoch   time.Time
	lines   []string
	working int
	most    int
}

func (d *diary) act(takes time.Duration, fails ...string) func(context.Context, *Spec) error {
	d.epoch = time.Now()
	return func(_ context.Context, s *Spec) error {
		d.mu.Lock()
		d.lines = append(d.lines, fmt.Sprintf("%v %s", time.Since(d.epoch), s.Name))
		d.working++
		d.most = max(d.most, d.working)
		d.mu.Unlock()
		time.Sleep(takes)
		d.mu.Lock()
		defer d.mu.Unlock()
		d.working--
		if slices.Contains(fails, s.Name) {
			return errBroken
		}
		return nil
	}
}

// startAll starts guests and gives why each was not started.
func startAll(ctx context.Context, specs []*Spec, start func(context.Context, *Spec) error) []error {
	byName := map[string]*Spec{}
	for _, s := range specs {
		byName[s.Name] = s
	}
	errs := make([]error, len(specs))
	act := func(ctx context.Context, name string) error { return start(ctx, byName[name]) }
	for i, r := range StartAll(ctx, &StartPlan{Specs: specs}, Actor{Act: act}) {
		errs[i] = r.Err
	}
	return errs
}

var errBroken = errors.New("broken")

func (d *diary) sorted() []string { slices.Sort(d.lines); return d.lines }

func TestStartsHappenAsEarlyAsOrderAndDelaysAllow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := guestNamed("c", 2)
		c.StartDelay = 5 * time.Second
		var d diary
		errs := startAll(t.Context(), []*Spec{c, guestNamed("a", 1), guestNamed("b", 1), guestNamed("d", 3)}, d.act(time.Second))
		if diff := cmp.Diff([]string{"0s a", "0s b", "6s c", "7s d"}, d.sorted()); diff != "" || errors.Join(errs...) != nil {
			t.Error(diff, errs)
		}
	})
}

func TestManyDelaysRunSideBySide(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var specs []*Spec
		var want []string
		for i := range 3 * parallelStarts {
			s := guestNamed(fmt.Sprintf("g%02d", i), 1)
			s.StartDelay = time.Minute
			specs, want = append(specs, s), append(want, "1m0s "+s.Name)
		}
		var d diary
		startAll(t.Context(), specs, d.act(0))
		if diff := cmp.Diff(want, d.sorted()); diff != "" {
			t.Error(diff)
		}
	})
}

func TestNotTooManyAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var specs []*Spec
		for i := range 3 * parallelStarts {
			specs = append(specs, guestNamed(fmt.Sprintf("g%02d", i), 1))
		}
		var d diary
		startAll(t.Context(), specs, d.act(time.Second))
		if took := time.Since(d.epoch); d.most != parallelStarts || took != 3*time.Second {
			t.Errorf("%d at once, %v", d.most, took)
		}
	})
}

func TestAFailedStartStopsOnlyThoseThatComeAfterIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		specs := []*Spec{guestNamed("a", 1), guestNamed("b", 2, "a"), guestNamed("c", 2), guestNamed("d", 3, "b")}
		var d diary
		errs := startAll(t.Context(), specs, d.act(time.Second, "a"))
		var notB, notD *NeedError
		if !errors.Is(errs[0], errBroken) || !errors.As(errs[1], &notB) || notB.Need != "a" || errs[2] != nil || !errors.As(errs[3], &notD) || notD.Need != "b" {
			t.Errorf("%q", errs)
		}
		if errText(errs[3]) != "b, which it comes after, did not start" {
			t.Errorf("%q", errText(errs[3]))
		}
		if diff := cmp.Diff([]string{"0s a", "1s c"}, d.sorted()); diff != "" {
			t.Error(diff)
		}
	})
}

func TestStopsGoTheOtherWayAndHoldNobodyUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		specs := []*Spec{guestNamed("a", 1), guestNamed("b", 2, "a"), guestNamed("c", 2), guestNamed("d", 3, "b")}
		specs[3].StartDelay = time.Hour // of no interest here
		var d diary
		errs := StopAll(t.Context(), specs, d.act(time.Second, "d", "b"))
		if diff := cmp.Diff([]string{"0s d", "1s b", "1s c", "2s a"}, d.sorted()); diff != "" {
			t.Error(diff)
		}
		if errs[0] != nil || !errors.Is(errs[1], errBroken) || errs[2] != nil || !errors.Is(errs[3], errBroken) {
			t.Errorf("%q", errs)
		}
	})
}

func TestAnInterruptEndsTheDelays(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		s := guestNamed("a", 1)
		s.StartDelay = time.Hour
		var d diary
		errs := startAll(ctx, []*Spec{s, guestNamed("b", 1, "a")}, d.act(0))
		if took := time.Since(d.epoch); took != time.Second || !errors.Is(errs[0], context.DeadlineExceeded) || len(d.lines) != 0 {
			t.Errorf("%v %q %q", took, errs, d.lines)
		}
	})
}

// Fifty guests with random orders and dependencies: nobody starts before those it waits for have, everybody gets an answer, and stopping
// is the mirror image.
func TestAnyOrderEndsAndIsKept(t *testing.T) {
	for seed := range uint64(40) {
		r := rand.New(rand.NewPCG(seed, 7))
		var specs []*Spec
		for i := range 50 {
			s := guestNamed(fmt.Sprintf("g%d", i), r.IntN(5))
			for range r.IntN(4) {
				if i > 0 {
					s.After = append(s.After, fmt.Sprintf("g%d", r.IntN(i)))
				}
			}
			s.StartDelay = time.Duration(r.IntN(3)) * time.Second
			specs = append(specs, s)
		}
		r.Shuffle(len(specs), func(i, j int) { specs[i], specs[j] = specs[j], specs[i] })
		before := Before(specs)
		synctest.Test(t, func(t *testing.T) {
			for _, stopping := range []bool{false, true} {
				var mu sync.Mutex
				began, ended := map[string]time.Time{}, map[string]time.Time{}
				act := func(_ context.Context, s *Spec) error {
					mu.Lock()
					began[s.Name] = time.Now()
					mu.Unlock()
					time.Sleep(time.Millisecond)
					mu.Lock()
					ended[s.Name] = time.Now()
					mu.Unlock()
					return nil
				}
				run := startAll
				if stopping {
					run = StopAll
				}
				if err := errors.Join(run(t.Context(), specs, act)...); err != nil || len(ended) != len(specs) {
					t.Fatalf("seed %d: %d of %d, %v", seed, len(ended), len(specs), err)
				}
				for name, deps := range before {
					for _, d := range deps {
						first, second := d.Name, name
						if stopping {
							first, second = name, d.Name
						}
						if began[second].Before(ended[first]) {
							t.Fatalf("seed %d, stopping %v: %s did not wait for %s", seed, stopping, second, first)
						}
					}
				}
			}
		})
	}
}
