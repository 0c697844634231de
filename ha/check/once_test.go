package check

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
)

// onceSpec is a check whose answer the test gives.
type onceSpec struct {
	ask   func(context.Context) error
	noUse error // Probe fails with it
}

func (s onceSpec) Kind() string    { return "test" }
func (s onceSpec) Validate() error { return nil }
func (s onceSpec) Probe(Env) (Probe, error) {
	if s.noUse != nil {
		return nil, s.noUse
	}
	return onceProbe{s.ask}, nil
}

type onceProbe struct{ ask func(context.Context) error }

func (p onceProbe) Ask(ctx context.Context) error { return p.ask(ctx) }
func (p onceProbe) Close()                        {}

func TestOnceAsksAllAtTheSameTimeEachWithinItsTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hang := make(chan struct{})
		policy := func(timeout time.Duration) Policy {
			return Policy{Interval: time.Second, Timeout: timeout, Fall: 3, Rise: 2}
		}
		item := func(name string, timeout time.Duration, s onceSpec) Item {
			return Item{Name: name, Policy: policy(timeout), Spec: s}
		}
		items := []Item{
			item("g/hangs for good", time.Second, onceSpec{ask: func(context.Context) error { <-hang; return nil }}),
			item("g/slow", 300*time.Millisecond, onceSpec{ask: func(ctx context.Context) error { <-ctx.Done(); return errors.New("too late") }}),
			item("g/well", time.Second, onceSpec{ask: func(context.Context) error { time.Sleep(20 * time.Millisecond); return nil }}),
			item("g/dead", time.Second, onceSpec{ask: func(context.Context) error { return &CertainError{"it ended"} }}),
			item("g/unseen", time.Second, onceSpec{ask: func(context.Context) error { return &UnseenError{"no idea"} }}),
			item("g/no use", time.Second, onceSpec{noUse: errors.New("not on this system")}),
			{Name: "g/no policy", Spec: onceSpec{}},
		}
		began := time.Now()
		got := Once(t.Context(), Env{}, items)
		if took := time.Since(began); took != 2*time.Second {
			t.Errorf("took %v: one waited for another", took)
		}
		want := []Result{
			{"g/hangs for good", "test", Answer{Fail, "no answer after 2s, and the check itself hangs"}, 2 * time.Second},
			{"g/slow", "test", Answer{Fail, "too late"}, 300 * time.Millisecond},
			{"g/well", "test", Answer{}, 20 * time.Millisecond},
			{"g/dead", "test", Answer{Certain, "it ended"}, 0},
			{"g/unseen", "test", Answer{NoIdea, "no idea"}, 0},
			{"g/no use", "test", Answer{NoIdea, "not on this system"}, 0},
			{"g/no policy", "test", Answer{NoIdea, "interval must be more than 0 timeout must be more than 0 fall must be at least 1 rise must be at least 1"}, 0},
		}
		if d := cmp.Diff(want, got); d != "" {
			t.Errorf("(-want +got)\n%s", d)
		}
		close(hang)
	})
}

// More checks than are asked at a time take several turns, and no longer.
func TestOnceAsksSoManyAtATime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		items := make([]Item, 100)
		for i := range items {
			items[i] = Item{Name: string(rune('a' + i)), Policy: Policy{Interval: time.Second, Timeout: time.Second, Fall: 1, Rise: 1},
				Spec: onceSpec{ask: func(context.Context) error { time.Sleep(100 * time.Millisecond); return nil }}}
		}
		began := time.Now()
		for i, r := range Once(t.Context(), Env{}, items) {
			if r.Name != items[i].Name || r.Answer.Verdict != Pass {
				t.Errorf("%d: %+v", i, r)
			}
		}
		if took := time.Since(began); took != 700*time.Millisecond {
			t.Errorf("100 checks of 100 ms, %d at a time, took %v", abreast, took)
		}
	})
}
