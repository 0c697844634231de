package ha

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"
)

// worker runs the acts of one group, one after the other, beside the main loop, which never waits for it. Each act has a timeout; one that does
// not come back soon after it is left to itself, and reported, so that what undoes it can still be tried.
type worker struct {
	jobs    chan job
	results chan<- result
	grace   time.Duration // that an act has to come back once its time is over

	mu        sync.Mutex
	running   uint64 // the act under way; 0: none
	cancel    context.CancelCauseFunc
	cancelled map[uint64]bool // waiting acts that shall not begin
}

// job is an act. Its number is not 0.
type job struct {
	id      uint64
	name    string
	timeout time.Duration
	act     func(context.Context) error // gives up, with what it started, when the context ends
}

// result tells how an act ended.
type result struct {
	group string
	by    *worker // a group that a reload has begun anew has another one, and counts its steps anew
	id    uint64
	name  string
	err   error // nil: done
	took  time.Duration
}

// Reasons for an act's end that are not its own.
var (
	errActTimeout   = errors.New("its time was over")
	errActCancelled = errors.New("cancelled")
	errActHangs     = errors.New("it does not come back")
	errQueueFull    = errors.New("too many acts wait already")
)

// queueLength is far more than a group's machine ever asks for before it has heard of the first.
const queueLength = 64

func newWorker(results chan<- result, grace time.Duration) *worker {
	return &worker{jobs: make(chan job, queueLength), results: results, grace: grace, cancelled: map[uint64]bool{}}
}

// Begin hands over an act without waiting.
func (w *worker) Begin(j job) error {
	select {
	case w.jobs <- j:
		return nil
	default:
		return fmt.Errorf("begin %s: %w", j.name, errQueueFull)
	}
}

// Cancel ends an act, or keeps it from beginning.
func (w *worker) Cancel(id uint64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.running == id && w.cancel != nil {
		w.cancel(errActCancelled)
		return
	}
	if len(w.cancelled) < 4*queueLength { // an act that ended long ago leaves its number behind
		w.cancelled[id] = true
	}
}

// Run works until ctx ends, and joins the act under way as far as it comes back.
func (w *worker) Run(ctx context.Context, group string) {
	for {
		select {
		case <-ctx.Done():
			return
		case j := <-w.jobs:
			r := w.one(ctx, j)
			r.group, r.by, r.id, r.name = group, w, j.id, strings.TrimSpace(j.name)
			select {
			case w.results <- r:
			case <-ctx.Done():
				return
			}
		}
	}
}

func (w *worker) one(ctx context.Context, j job) result {
	actCtx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	w.mu.Lock()
	if w.cancelled[j.id] {
		delete(w.cancelled, j.id)
		w.mu.Unlock()
		return result{err: errActCancelled}
	}
	w.running, w.cancel = j.id, cancel
	w.mu.Unlock()
	defer func() {
		w.mu.Lock()
		w.running, w.cancel = 0, nil
		w.mu.Unlock()
	}()
	actCtx, stop := context.WithTimeoutCause(actCtx, j.timeout, errActTimeout)
	defer stop()
	begin := time.Now()
	ended := make(chan error, 1)
	go func() { ended <- j.act(actCtx) }() // its owner is this function, until it hangs past its grace
	select {
	case err := <-ended:
		return result{err: because(actCtx, err), took: time.Since(begin)}
	case <-actCtx.Done():
	}
	select {
	case err := <-ended:
		return result{err: because(actCtx, err), took: time.Since(begin)}
	case <-time.After(w.grace):
		return result{err: fmt.Errorf("%w: %w", context.Cause(actCtx), errActHangs), took: time.Since(begin)}
	}
}

// because puts the context's own reason before an error that only says that the context ended.
func because(ctx context.Context, err error) error {
	if err == nil || ctx.Err() == nil {
		return err
	}
	if cause := context.Cause(ctx); !errors.Is(err, cause) {
		return fmt.Errorf("%w: %w", cause, err)
	}
	return err
}
