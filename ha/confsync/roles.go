package confsync

import (
	"context"
	"sync"
	"time"
)

// stillEvery is how often a pass looks whether the roles are what they were when it began.
const stillEvery = 500 * time.Millisecond

// EndedError says that the roles have changed in the middle of a pass, which has changed nothing.
type EndedError struct{ Why error }

func (e *EndedError) Error() string {
	return "the roles have changed meanwhile, and nothing was replaced: " + e.Why.Error()
}

func (e *EndedError) Unwrap() error { return e.Why }

// Hint says where to look.
func (e *EndedError) Hint() string { return "kvmha status" }

// still asks whether the source is the source yet. That nobody can tell is as good as no.
func (e *Engine) still(ctx context.Context, job Job) error {
	if e.Still == nil {
		return nil
	}
	if err := e.Still(ctx, job); err != nil && ctx.Err() == nil {
		return &EndedError{err}
	}
	return context.Cause(ctx)
}

// watch gives a context that ends when the roles change. Call stop when done.
func (e *Engine) watch(ctx context.Context, job Job) (during context.Context, stop func()) {
	during, cancel := context.WithCancelCause(ctx)
	if e.Still == nil {
		return during, func() { cancel(nil) }
	}
	var looking sync.WaitGroup
	looking.Go(func() {
		tick := time.NewTicker(stillEvery)
		defer tick.Stop()
		for {
			select {
			case <-during.Done():
				return
			case <-tick.C:
				if err := e.still(during, job); err != nil {
					cancel(err)
				}
			}
		}
	})
	return during, func() { cancel(nil); looking.Wait() }
}
