package check

import (
	"context"
	"fmt"
	"time"
)

// Run asks the checks until ctx ends. It returns when no question is under way any more, at most when the slowest probe comes back.
func (r *Runner) Run(ctx context.Context) error {
	timer := time.NewTimer(0)
	defer timer.Stop()
	planned := r.now()
	for {
		select {
		case <-ctx.Done():
			r.end()
			return nil
		case <-r.wake:
		case <-timer.C:
		}
		now := r.now()
		next := r.turn(ctx, now, now.Sub(planned) > heldUp)
		planned = next
		timer.Reset(next.Sub(now))
	}
}

// restAtMost is how long the loop rests when nothing is due.
const restAtMost = time.Minute

// turn begins what is due and gives the time of the next turn.
func (r *Runner) turn(ctx context.Context, now time.Time, held bool) time.Time {
	r.mu.Lock()
	defer r.mu.Unlock()
	next := now.Add(restAtMost)
	for _, e := range r.entries {
		if at := r.visit(ctx, e, now, held); at.Before(next) {
			next = at
		}
	}
	return next
}

// visit does for one check what is due and gives the time when something will be again.
func (r *Runner) visit(ctx context.Context, e *entry, now time.Time, held bool) time.Time {
	switch {
	case e.asking:
		if held {
			e.held, e.overdue = true, now.Add(e.item.Policy.Timeout+stuckAfter)
		}
		if !now.Before(e.overdue) {
			e.overdue = now.Add(e.item.Policy.Interval)
			r.count(e, now, Answer{Verdict: Fail, Reason: fmt.Sprintf("no answer after %v, and the check itself hangs",
				now.Sub(e.began).Round(100*time.Millisecond))})
		}
		return e.due(now)
	case !e.on:
		return now.Add(restAtMost)
	case e.track.Next().Sub(now) <= slack:
		if e.glance(now) {
			return e.track.Next()
		}
		r.begin(ctx, e, now)
		return e.due(now)
	default:
		return e.track.Next()
	}
}

// glance answers a question of a check that is green without a goroutine, which would cost more than the answer.
func (e *entry) glance(now time.Time) bool {
	g, ok := e.probe.(Glancer)
	if s, _, _ := e.track.State(); !ok || s != Green || !g.Glance(e.glanced) {
		e.glanced = 0
		return false
	}
	e.glanced++
	e.track.Began(now)
	e.track.Take(now, Answer{Verdict: Pass})
	e.asked, e.took = now, 0
	return true
}

// due is when a check whose question is under way has to be looked at again.
func (e *entry) due(now time.Time) time.Time {
	if next := e.track.Next(); next.After(now) && next.Before(e.overdue) {
		return next // it will have been answered by then, mostly
	}
	return e.overdue
}

// finish takes an answer. One to a question that was asked before the check began afresh is dropped.
func (r *Runner) finish(e *entry, epoch int, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := r.now()
	e.asking = false
	if e.removed || r.ended {
		e.probe.Close()
		return
	}
	if e.track.Next().Sub(now) <= slack {
		ring(r.wake) // it was due already while the question was under way
	}
	if epoch != e.epoch {
		return
	}
	a := answerOf(err)
	e.asked, e.took = now, now.Sub(e.began)
	if a.Verdict == Fail && (e.held || e.took > e.item.Policy.Timeout+heldUp) {
		a = Answer{Verdict: NoIdea, Reason: "this agent was held up while it asked: " + a.Reason}
	}
	r.count(e, now, a)
}

func (r *Runner) count(e *entry, now time.Time, a Answer) {
	if e.on && e.track.Take(now, a) {
		r.tell(e)
	}
}

// end closes every probe, those under way when they come back.
func (r *Runner) end() {
	r.mu.Lock()
	r.ended = true
	for _, e := range r.entries {
		if !e.asking {
			e.probe.Close()
		}
	}
	r.mu.Unlock()
	r.under.Wait()
}
