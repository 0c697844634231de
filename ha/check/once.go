package check

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"kvmctl/internal/child"
)

// Result is what asking a check once gave.
type Result struct {
	Name   string
	Kind   string
	Answer Answer
	Took   time.Duration
}

// abreast is how many checks Once asks at the same time: enough that slow ones delay few, and no burst that a small host notices.
const abreast = 16

// Once asks each check one time, without a Runner, and gives the results in the order of the items. Each has its own timeout, and none waits for
// one that hangs; what hangs for good goes on until the process ends.
func Once(ctx context.Context, env Env, items []Item) []Result {
	all := make([]Result, len(items))
	places := make(chan struct{}, abreast)
	var under sync.WaitGroup
	for i, it := range items {
		places <- struct{}{}
		under.Go(func() {
			all[i] = askOne(ctx, env, it)
			<-places
		})
	}
	under.Wait()
	return all
}

func askOne(ctx context.Context, env Env, it Item) Result {
	r := Result{Name: it.Name, Kind: it.Spec.Kind()}
	err := errors.Join(it.Policy.Validate(), it.Spec.Validate())
	var p Probe
	if err == nil {
		p, err = it.Spec.Probe(env)
	}
	if err != nil {
		r.Answer = Answer{Verdict: NoIdea, Reason: child.Printable(err.Error())}
		return r
	}
	if pu, ok := p.(Pusher); ok {
		pu.Push(func() {}) // its Ask relies on it
	}
	began := time.Now()
	ctx, cancel := context.WithTimeout(ctx, it.Policy.Timeout)
	defer cancel()
	answered := make(chan error, 1)
	go func() {
		err := p.Ask(ctx)
		answered <- err
		p.Close()
	}()
	overdue := time.NewTimer(it.Policy.Timeout + stuckAfter)
	defer overdue.Stop()
	select {
	case err := <-answered:
		r.Answer = answerOf(err)
		r.Took = time.Since(began)
	case <-overdue.C:
		r.Took = time.Since(began)
		r.Answer = Answer{Verdict: Fail, Reason: fmt.Sprintf("no answer after %v, and the check itself hangs", r.Took.Round(100*time.Millisecond))}
	}
	return r
}
