package ha

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

func TestWorkerRunsActsInTheirOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		results := make(chan result, 8)
		w := newWorker(results, 5*time.Second)
		ctx, stop := context.WithCancel(t.Context())
		defer stop()
		go w.Run(ctx, "web")
		sleep := func(d time.Duration) func(context.Context) error {
			return func(ctx context.Context) error {
				select {
				case <-time.After(d):
					return nil
				case <-ctx.Done():
					return ctx.Err()
				}
			}
		}
		refused := errors.New("refused")
		release := make(chan struct{})
		for _, j := range []job{
			{1, "quick", time.Minute, sleep(time.Second)},
			{2, "slow", time.Second, sleep(time.Hour)},
			{3, "bad", time.Minute, func(context.Context) error { return refused }},
			{4, "deaf", time.Second, func(context.Context) error { <-release; return nil }},
			{5, "cancelled while it waits", time.Minute, sleep(time.Second)},
			{6, "after all", time.Minute, sleep(time.Second)},
		} {
			if err := w.Begin(j); err != nil {
				t.Fatal(err)
			}
		}
		w.Cancel(5)
		for i, want := range []struct {
			errs []error
			took time.Duration
		}{
			{nil, time.Second}, {[]error{errActTimeout, context.DeadlineExceeded}, time.Second}, {[]error{refused}, 0},
			{[]error{errActTimeout, errActHangs}, 6 * time.Second}, {[]error{errActCancelled}, 0}, {nil, time.Second},
		} {
			r := <-results
			if r.group != "web" || r.id != uint64(i+1) || r.took != want.took || (r.err == nil) != (want.errs == nil) {
				t.Errorf("act %d ended as %+v", i+1, r)
			}
			for _, e := range want.errs {
				if !errors.Is(r.err, e) {
					t.Errorf("act %d: %v, want also %v", i+1, r.err, e)
				}
			}
		}
		close(release)
	})
}

func TestWorkerCancelsTheActUnderWay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		results := make(chan result, 1)
		w := newWorker(results, 5*time.Second)
		ctx, stop := context.WithCancel(t.Context())
		defer stop()
		go w.Run(ctx, "web")
		if err := w.Begin(job{7, "wait", time.Hour, func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }}); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		w.Cancel(7)
		if r := <-results; !errors.Is(r.err, errActCancelled) || r.took != 0 {
			t.Errorf("it ended as %+v", r)
		}
	})
}

func TestWorkerRefusesWhatItCannotHold(t *testing.T) {
	w := newWorker(make(chan result), time.Second)
	for i := range queueLength {
		if err := w.Begin(job{id: uint64(i + 1)}); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Begin(job{id: 99, name: "one more"}); !errors.Is(err, errQueueFull) {
		t.Error(err)
	}
}
