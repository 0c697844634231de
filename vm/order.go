package vm

import (
	"context"
	"errors"
	"slices"
	"time"
)

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

// How many guests are acted on at once. A guest that was let go boots, and takes from those that are still being made the processors
// they wait for: 20 guests, eight at a time, took 1.6 × as long as all at once (docs/performance.md, on two processors). A stop is
// mostly waiting for the guest.
const (
	parallelStarts = 32
	parallelStops  = 64
)

// StartPlan is a set of guests to start.
type StartPlan struct {
	Specs   []*Spec
	Outside []*Spec         // guests that some of Specs come after, and that are not to be started: they have to run, and to be ready
	Wait    bool            // wait until each that has a sign of readiness is ready; else only where another one comes after it
	Now     bool            // wait for nobody's readiness; who fails to start keeps nobody from starting
	Running map[string]bool // guests that run already: a delay would be of no use
}

// Jobs gives the order in which the guests of a plan start: first those that are only looked at, then those to start, as in Specs.
func (p *StartPlan) Jobs() []Job {
	var jobs []Job
	needed := map[string]bool{}
	for _, s := range p.Specs {
		for _, name := range s.After {
			needed[name] = true
		}
	}
	job := func(s *Spec, outside bool) Job {
		j := Job{Name: s.Name, Outside: outside, Timeout: s.Ready.Timeout}
		j.Await = !s.Ready.IsZero() && !p.Now && (needed[s.Name] || p.Wait && !outside)
		return j
	}
	for _, s := range p.Outside {
		jobs = append(jobs, job(s, true))
	}
	before := Before(p.Specs)
	for _, s := range p.Specs {
		j := job(s, false)
		if len(p.Specs) > 1 && !p.Running[s.Name] {
			j.Delay = s.StartDelay
		}
		for _, d := range before[s.Name] {
			j.Needs = append(j.Needs, Dep{d.Name, d.Hard && !p.Now})
		}
		for _, o := range p.Outside {
			if slices.Contains(s.After, o.Name) {
				j.Needs = append(j.Needs, Dep{o.Name, true})
			}
		}
		jobs = append(jobs, j)
	}
	return jobs
}

// Actor does what a Schedule decides. Its functions are called from several goroutines at once, Show from one and never for long.
type Actor struct {
	Act   func(ctx context.Context, name string) error
	Await func(ctx context.Context, name string) error // until the guest is ready, or ctx's deadline
	Show  func([]JobView)                              // hears how far everything is after each step; may be nil
}

// StartAll starts the guests of a plan, as early as the order allows. The results are those of p.Jobs, in their order.
func StartAll(ctx context.Context, p *StartPlan, do Actor) []Result {
	return carryOut(ctx, NewSchedule(p.Jobs(), parallelStarts), do)
}

// StopAll runs stop for every guest, in the reverse of the starting order. A guest that could not be stopped holds nobody up.
func StopAll(ctx context.Context, specs []*Spec, stop func(context.Context, *Spec) error) []error {
	byName := map[string]*Spec{}
	reverse := map[string][]Dep{}
	for _, s := range specs {
		byName[s.Name] = s
	}
	for name, deps := range Before(specs) {
		for _, d := range deps {
			reverse[d.Name] = append(reverse[d.Name], Dep{Name: name})
		}
	}
	var jobs []Job
	for _, s := range specs {
		jobs = append(jobs, Job{Name: s.Name, Needs: reverse[s.Name]})
	}
	act := func(ctx context.Context, name string) error { return stop(ctx, byName[name]) }
	errs := make([]error, len(specs))
	for i, r := range carryOut(ctx, NewSchedule(jobs, parallelStops), Actor{Act: act}) {
		errs[i] = r.Err
		if broken := new(InterruptedError); errors.As(r.Err, &broken) && broken.Goes == "" {
			errs[i] = &InterruptedError{Goes: "it was not asked to shut down", Cause: broken.Cause}
		}
	}
	return errs
}

// carryOut does what s decides until nothing is left, and waits for all that it began. At the end of ctx what has begun is broken off by its
// own ctx, and nothing else begins.
func carryOut(ctx context.Context, s *Schedule, do Actor) []Result {
	inputs := make(chan Input)
	step := func(in Input) {
		for _, e := range s.Step(time.Now(), in) {
			go func() { // ends with the act, whose answer the loop below takes before it ends
				switch e.Do {
				case DeedAct:
					inputs <- Input{EventActed, e.Name, do.Act(ctx, e.Name)}
				case DeedAwait:
					one, cancel := context.WithDeadline(ctx, e.Until)
					defer cancel()
					inputs <- Input{EventReady, e.Name, do.Await(one, e.Name)}
				}
			}()
		}
		if do.Show != nil {
			do.Show(s.View())
		}
	}
	step(Input{Event: EventTick})
	interrupt := ctx.Done()
	for !s.Done() {
		var tick <-chan time.Time
		if next := s.Next(); !next.IsZero() {
			tick = time.After(time.Until(next))
		}
		select {
		case in := <-inputs:
			step(in)
		case <-tick:
			step(Input{Event: EventTick})
		case <-interrupt:
			interrupt = nil
			step(Input{Event: EventInterrupt, Err: ctx.Err()})
		}
	}
	return s.Results()
}
