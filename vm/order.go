package vm

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"
)

// Dep is a guest that another one waits for.
type Dep struct {
	Name string
	Hard bool // by `after`: if it did not start, neither does the other
}

// Before gives, for each guest of the set, the guests of the set that have to be started before it: those named in `after`, and all
// with a lower order. Where the two disagree `after` wins: a guest counts as no earlier than what it comes after. Guests that wait for
// nothing common start at the same time. It is pure; stopping goes the other way round. `after` has no cycles (configs refuses them).
func Before(specs []*Spec) map[string][]Dep {
	byName := map[string]*Spec{}
	for _, s := range specs {
		byName[s.Name] = s
	}
	order := map[string]int{}
	var effective func(s *Spec) int
	effective = func(s *Spec) int {
		if o, ok := order[s.Name]; ok {
			return o
		}
		o := s.Order
		order[s.Name] = o
		for _, name := range s.After {
			if dep := byName[name]; dep != nil {
				o = max(o, effective(dep))
			}
		}
		order[s.Name] = o
		return o
	}
	deps := map[string][]Dep{}
	for _, s := range specs {
		deps[s.Name] = nil
		for _, o := range specs {
			hard := slices.Contains(s.After, o.Name)
			if o.Name != s.Name && (hard || effective(o) < effective(s)) {
				deps[s.Name] = append(deps[s.Name], Dep{o.Name, hard})
			}
		}
	}
	return deps
}

// NotReadyError says that a guest was not started because one that it comes after was not.
type NotReadyError struct{ Dep string }

func (e *NotReadyError) Error() string {
	return fmt.Sprintf("%s, which it comes after, did not start", e.Dep)
}

// parallel bounds how many guests are started or stopped at once.
const parallel = 8

// StartAll runs start for every guest, as early as the order allows, after its delay. The results come in the order of specs.
func StartAll(ctx context.Context, specs []*Spec, start func(context.Context, *Spec) error) []error {
	delay := func(s *Spec) error {
		select {
		case <-time.After(s.StartDelay):
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return schedule(specs, Before(specs), delay, func(s *Spec) error { return start(ctx, s) })
}

// StopAll runs stop for every guest, in the reverse of the starting order. A guest that could not be stopped holds nobody up.
func StopAll(ctx context.Context, specs []*Spec, stop func(context.Context, *Spec) error) []error {
	reverse := map[string][]Dep{}
	for name, deps := range Before(specs) {
		for _, d := range deps {
			reverse[d.Name] = append(reverse[d.Name], Dep{Name: name})
		}
	}
	return schedule(specs, reverse, func(*Spec) error { return nil }, func(s *Spec) error { return stop(ctx, s) })
}

// schedule waits for the deps of each guest, then for its delay, then for a slot, and acts.
func schedule(specs []*Spec, deps map[string][]Dep, delay, act func(*Spec) error) []error {
	type result struct {
		done chan struct{}
		err  error
	}
	results := map[string]*result{}
	for _, s := range specs {
		results[s.Name] = &result{done: make(chan struct{})}
	}
	slots := make(chan struct{}, parallel)
	var wg sync.WaitGroup
	for _, s := range specs {
		wg.Go(func() {
			mine := results[s.Name]
			defer close(mine.done)
			for _, d := range deps[s.Name] {
				<-results[d.Name].done
				if d.Hard && results[d.Name].err != nil {
					mine.err = &NotReadyError{d.Name}
				}
			}
			if mine.err == nil {
				mine.err = delay(s)
			}
			if mine.err != nil {
				return
			}
			slots <- struct{}{}
			defer func() { <-slots }()
			mine.err = act(s)
		})
	}
	wg.Wait()
	errs := make([]error, len(specs))
	for i, s := range specs {
		errs[i] = results[s.Name].err
	}
	return errs
}
