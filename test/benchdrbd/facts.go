package main

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"time"

	"kvmctl/internal/runner"
	"kvmctl/test/drbdlab"
)

// event is a fact of a guest that has changed (cmd/lines has their names).
type event struct {
	name string
	is   bool
	at   time.Time
}

// facts are what `lines watch` tells of a guest.
type facts struct {
	mu   sync.Mutex
	all  []event
	rest string
}

// follow begins to watch a guest, until its power goes.
func follow(ctx context.Context, g *drbdlab.Guest) *facts {
	f := &facts{}
	go func() {
		_, _ = g.Run(ctx, runner.Command{Argv: []string{"/bin/lines", "watch"}, Stdout: f}) // it ends with the guest
	}()
	return f
}

func (f *facts) Write(b []byte) (int, error) {
	now := time.Now()
	f.mu.Lock()
	defer f.mu.Unlock()
	f.rest += string(b)
	for {
		line, rest, whole := strings.Cut(f.rest, "\n")
		if !whole {
			return len(b), nil
		}
		f.rest = rest
		if name, is, ok := strings.Cut(line, " "); ok {
			f.all = append(f.all, event{name, is == "true", now})
		}
	}
}

func (f *facts) events() []event {
	f.mu.Lock()
	defer f.mu.Unlock()
	return append([]event(nil), f.all...)
}

// is gives what a fact is now.
func (f *facts) is(name string) bool {
	now := false
	for _, e := range f.events() {
		if e.name == name {
			now = e.is
		}
	}
	return now
}

// until waits for facts.
func until(ctx context.Context, what string, so func() bool) error {
	for !so() {
		select {
		case <-ctx.Done():
			return fmt.Errorf("wait until %s: %w", what, context.Cause(ctx))
		case <-time.After(20 * time.Millisecond):
		}
	}
	return nil
}

// since gives when a fact became so after some time.
func since(all []event, name string, after time.Time) (time.Time, bool) {
	for _, e := range all {
		if e.name == name && e.is && e.at.After(after) {
			return e.at, true
		}
	}
	return time.Time{}, false
}

// together is how long a fact was so in both, until the end.
func together(a, b []event, name string, end time.Time) (sum time.Duration) {
	var isA, isB bool
	var from time.Time
	mark := func(now time.Time) {
		if isA && isB && now.After(from) {
			sum += now.Sub(from)
		}
		from = now
	}
	for i, j := 0, 0; i < len(a) || j < len(b); {
		var e event
		ofA := j == len(b) || i < len(a) && a[i].at.Before(b[j].at)
		if ofA {
			e = a[i]
			i++
		} else {
			e = b[j]
			j++
		}
		if e.name != name || e.at.After(end) {
			continue
		}
		mark(e.at)
		if ofA {
			isA = e.is
		} else {
			isB = e.is
		}
	}
	mark(end)
	return sum
}
