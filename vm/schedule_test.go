package vm

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
)

// play runs a Schedule without a clock: what a guest's act and its readiness take and give stands in worlds. An act takes a second unless
// said otherwise. The diary has a line for each thing that happens, with its time.
type world struct {
	takes  time.Duration
	fails  error
	ready  time.Duration // after the act; beyond the job's timeout it is never ready
	breaks error         // instead of being ready
}

func play(t *testing.T, jobs []Job, worlds map[string]world, interruptAt time.Duration) (diary []string, results map[string]string) {
	t.Helper()
	s := NewSchedule(jobs, 2)
	epoch := time.Unix(0, 0)
	type event struct {
		at time.Time
		in Input
	}
	var queue []event
	if interruptAt > 0 {
		queue = append(queue, event{epoch.Add(interruptAt), Input{Event: EventInterrupt, Err: context.Canceled}})
	}
	step := func(now time.Time, in Input) {
		for _, e := range s.Step(now, in) {
			w, ok := worlds[e.Name]
			if !ok {
				w = world{takes: time.Second}
			}
			switch e.Do {
			case DeedAct:
				diary = append(diary, fmt.Sprintf("%v act %s", now.Sub(epoch), e.Name))
				queue = append(queue, event{now.Add(w.takes), Input{EventActed, e.Name, w.fails}})
			case DeedAwait:
				diary = append(diary, fmt.Sprintf("%v await %s until %v", now.Sub(epoch), e.Name, e.Until.Sub(epoch)))
				at, err := now.Add(w.ready), w.breaks
				if at.After(e.Until) {
					at, err = e.Until, errors.New("in vain")
				}
				queue = append(queue, event{at, Input{EventReady, e.Name, err}})
			}
		}
	}
	step(epoch, Input{})
	for !s.Done() {
		slices.SortStableFunc(queue, func(a, b event) int { return a.at.Compare(b.at) })
		next := s.Next()
		switch {
		case !next.IsZero() && (len(queue) == 0 || next.Before(queue[0].at)):
			step(next, Input{Event: EventTick})
		case len(queue) == 0:
			t.Fatalf("nothing goes on: %+v", s.View())
		default:
			e := queue[0]
			queue = queue[1:]
			step(e.at, e.in)
		}
	}
	results = map[string]string{}
	for i, r := range s.Results() {
		switch {
		case r.Err != nil:
			results[jobs[i].Name] = r.Err.Error()
		case r.Ready != nil:
			results[jobs[i].Name] = "not ready: " + r.Ready.Error()
		}
	}
	return diary, results
}

func TestWhoseTurnItIs(t *testing.T) {
	after := func(names ...string) (deps []Dep) {
		for _, n := range names {
			deps = append(deps, Dep{n, true})
		}
		return deps
	}
	ready := func(name string, needs ...Dep) Job {
		return Job{Name: name, Needs: needs, Await: true, Timeout: 10 * time.Second}
	}
	for _, tt := range []struct {
		name      string
		jobs      []Job
		worlds    map[string]world
		interrupt time.Duration
		diary     string // lines parted by "; "
		results   map[string]string
	}{
		{name: "nobody", results: map[string]string{}},
		{name: "no more at once than there are slots", jobs: []Job{{Name: "a"}, {Name: "b"}, {Name: "c"}},
			diary: "0s act a; 0s act b; 1s act c"},
		{name: "one that comes after another waits until that is ready", jobs: []Job{{Name: "b", Needs: after("a")}, ready("a")},
			worlds: map[string]world{"a": {takes: time.Second, ready: 3 * time.Second}}, diary: "0s act a; 1s await a until 11s; 4s act b"},
		{name: "one that only starts later does not wait until it is ready", jobs: []Job{{Name: "b", Needs: []Dep{{"a", false}}}, ready("a")},
			worlds: map[string]world{"a": {takes: time.Second, ready: 3 * time.Second}}, diary: "0s act a; 1s await a until 11s; 1s act b"},
		{name: "a wait for readiness takes no slot", jobs: []Job{ready("a"), ready("b"), {Name: "c", Needs: []Dep{{"a", false}}}},
			worlds: map[string]world{"a": {takes: time.Second, ready: 3 * time.Second}, "b": {takes: time.Second, ready: 3 * time.Second}},
			diary:  "0s act a; 0s act b; 1s await a until 11s; 1s act c; 1s await b until 11s"},
		{name: "the delay runs from when it is ready", jobs: []Job{{Name: "b", Needs: after("a"), Delay: 5 * time.Second}, ready("a")},
			worlds: map[string]world{"a": {takes: time.Second, ready: 3 * time.Second}}, diary: "0s act a; 1s await a until 11s; 9s act b"},
		{name: "one that is not ready in time takes with it who comes after it, and nobody else",
			jobs:   []Job{ready("a"), {Name: "b", Needs: after("a")}, {Name: "c", Needs: after("b")}, {Name: "d"}, {Name: "e", Needs: []Dep{{"b", false}}}},
			worlds: map[string]world{"a": {takes: time.Second, ready: time.Hour}},
			diary:  "0s act a; 0s act d; 1s await a until 11s; 11s act e",
			results: map[string]string{"a": "not ready: in vain", "b": "a, which it comes after, is not ready: in vain",
				"c": "b, which it comes after, did not start"}},
		{name: "one that ends meanwhile is not waited for any longer", jobs: []Job{ready("a"), {Name: "b", Needs: after("a")}},
			worlds:  map[string]world{"a": {takes: time.Second, ready: 2 * time.Second, breaks: errors.New("it ended: guest panicked")}},
			diary:   "0s act a; 1s await a until 11s",
			results: map[string]string{"a": "not ready: it ended: guest panicked", "b": "a, which it comes after, is not ready: it ended: guest panicked"}},
		{name: "one that does not start", jobs: []Job{ready("a"), {Name: "b", Needs: after("a")}, {Name: "c"}},
			worlds:  map[string]world{"a": {takes: time.Second, fails: errBroken}},
			diary:   "0s act a; 0s act c",
			results: map[string]string{"a": "broken", "b": "a, which it comes after, did not start"}},
		{name: "the first that fails decides, whatever else is waited for",
			jobs:    []Job{ready("a"), {Name: "b"}, {Name: "c", Needs: after("a", "b")}},
			worlds:  map[string]world{"a": {takes: time.Second, ready: 9 * time.Second}, "b": {takes: 2 * time.Second, fails: errBroken}},
			diary:   "0s act a; 0s act b; 1s await a until 11s",
			results: map[string]string{"b": "broken", "c": "b, which it comes after, did not start"}},
		{name: "one that nobody asked to start and that does not run",
			jobs:    []Job{{Name: "a", Outside: true}, {Name: "b", Needs: after("a")}},
			worlds:  map[string]world{"a": {fails: &NotRunningError{State: StateStopped, Note: "guest shut down"}}},
			diary:   "0s act a",
			results: map[string]string{"a": "does not run (guest shut down)", "b": "a, which it comes after, does not run (guest shut down)"}},
		{name: "after ^C what runs stays, and nothing begins",
			jobs: []Job{ready("a"), {Name: "b", Needs: after("a")}, {Name: "c", Delay: time.Hour}, {Name: "d"}},
			// The wait is broken off by its context, of which a Schedule knows nothing: here its answer comes at its own time.
			worlds:    map[string]world{"a": {takes: time.Second, ready: 3 * time.Second}, "d": {takes: 5 * time.Second}},
			interrupt: 2 * time.Second,
			diary:     "0s act a; 0s act d; 1s await a until 11s",
			results:   map[string]string{"b": "interrupted", "c": "interrupted"}},
		{name: "after ^C nobody begins to wait for readiness", jobs: []Job{ready("a"), {Name: "b", Needs: after("a")}},
			interrupt: time.Second / 2, diary: "0s act a", results: map[string]string{"a": "not ready: interrupted", "b": "interrupted"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			diary, results := play(t, tt.jobs, tt.worlds, tt.interrupt)
			if d := cmp.Diff(tt.diary, strings.Join(diary, "; ")); d != "" {
				t.Error(d)
			}
			if tt.results == nil {
				tt.results = map[string]string{}
			}
			if d := cmp.Diff(tt.results, results); d != "" {
				t.Error(d)
			}
		})
	}
}

func TestAPlanMadeIntoJobs(t *testing.T) {
	dns := &Spec{Name: "dns", Order: 50, Ready: Ready{Kind: ReadyTCP, Port: 53, Timeout: time.Minute}}
	ldap := &Spec{Name: "ldap", Order: 50, After: []string{"dns"}, StartDelay: time.Second, Ready: Ready{Kind: ReadyAgent, Timeout: time.Minute}}
	web := &Spec{Name: "web", Order: 60, StartDelay: time.Second}
	for _, tt := range []struct {
		name string
		plan StartPlan
		want []Job
	}{
		{"all", StartPlan{Specs: []*Spec{web, ldap, dns}}, []Job{
			{Name: "web", Needs: []Dep{{"ldap", false}, {"dns", false}}, Delay: time.Second},
			{Name: "ldap", Needs: []Dep{{"dns", true}}, Delay: time.Second, Timeout: time.Minute},
			{Name: "dns", Await: true, Timeout: time.Minute}}},
		{"one alone has no delay", StartPlan{Specs: []*Spec{web}}, []Job{{Name: "web"}}},
		{"what it comes after is looked at", StartPlan{Specs: []*Spec{ldap}, Outside: []*Spec{dns}}, []Job{
			{Name: "dns", Await: true, Timeout: time.Minute, Outside: true},
			{Name: "ldap", Needs: []Dep{{"dns", true}}, Timeout: time.Minute}}},
		{"until all are ready", StartPlan{Specs: []*Spec{ldap}, Wait: true}, []Job{{Name: "ldap", Await: true, Timeout: time.Minute}}},
		{"without waiting", StartPlan{Specs: []*Spec{ldap, dns}, Now: true, Running: map[string]bool{"ldap": true}}, []Job{
			{Name: "ldap", Needs: []Dep{{"dns", false}}, Timeout: time.Minute}, {Name: "dns", Timeout: time.Minute}}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if d := cmp.Diff(tt.want, tt.plan.Jobs()); d != "" {
				t.Error(d)
			}
		})
	}
}

// The executor, in virtual time: a wait ends at its deadline, an interrupt reaches what has begun, and nobody is left behind.
func TestWaitsEndInTimeAndByAnInterrupt(t *testing.T) {
	plan := &StartPlan{Specs: []*Spec{
		{Name: "a", Ready: Ready{Kind: ReadyPing, Timeout: time.Minute}},
		{Name: "b", After: []string{"a"}},
	}}
	for _, tt := range []struct {
		name  string
		limit time.Duration
		took  time.Duration
		want  []string
	}{
		{"in time", time.Hour, time.Minute, []string{"ready: context deadline exceeded", "a, which it comes after, is not ready: context deadline exceeded"}},
		{"by ^C", time.Second, time.Second, []string{"ready: context deadline exceeded", "interrupted"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithTimeout(t.Context(), tt.limit)
				defer cancel()
				began := time.Now()
				var seen []string
				results := StartAll(ctx, plan, Actor{
					Act:   func(context.Context, string) error { return nil },
					Await: func(ctx context.Context, _ string) error { <-ctx.Done(); return ctx.Err() },
					Show: func(all []JobView) {
						line := ""
						for _, v := range all {
							line += fmt.Sprintf("%s:%d%s ", v.Name, v.Phase, v.Held)
						}
						seen = append(seen, line)
					},
				})
				if took := time.Since(began); took != tt.took {
					t.Errorf("%v", took)
				}
				got := []string{"ready: " + errText(results[0].Ready), errText(results[1].Err)}
				if d := cmp.Diff(tt.want, got); d != "" {
					t.Error(d)
				}
				if len(seen) < 3 || seen[0] != "a:3 b:0a " || seen[1] != "a:4 b:0a " {
					t.Errorf("%q", seen)
				}
			})
		})
	}
}
