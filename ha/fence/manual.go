package fence

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"kvmctl/internal/child"
)

// Manual ends nobody: it waits for a person who says that the node is off, and stays off. The zero value is ready. It may be used by several
// goroutines at once.
type Manual struct {
	mu      sync.Mutex
	waiting []*asked
}

// asked is a request that waits for a word.
type asked struct {
	Asked
	by   string
	done chan struct{} // closed when by is there
}

// Asked is a request that waits for a person.
type Asked struct {
	Request Request
	Since   time.Time // wall clock, for people
}

// ErrNobodyAsked says that no request waits for a word about that node: a word given beforehand is none.
var ErrNobodyAsked = errors.New("nobody waits for a word about it")

// ErrNobody says that a word was not anybody's.
var ErrNobody = errors.New("it is not said who says so")

// Fence is Fencer's.
func (m *Manual) Fence(ctx context.Context, r Request) (Receipt, error) {
	a := &asked{Asked: Asked{r, now()}, done: make(chan struct{})}
	m.mu.Lock()
	m.waiting = append(m.waiting, a)
	m.mu.Unlock()
	defer m.leave(a)
	select {
	case <-a.done:
		return receipt(r, "%s says that it is off", a.by), nil
	case <-ctx.Done():
		return Receipt{}, &NotCertainError{r.Node, fmt.Errorf("nobody said that it is off: %w", context.Cause(ctx))}
	}
}

func (m *Manual) leave(a *asked) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.waiting = slices.DeleteFunc(m.waiting, func(other *asked) bool { return other == a })
}

// Confirm is a person's word that a node is off and stays off until it is seen by its peer. It answers every request about that node that waits now.
func (m *Manual) Confirm(node, who string) error {
	if who = child.Printable(who); who == "" {
		return fmt.Errorf("confirm that %s is off: %w", node, ErrNobody)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	before := len(m.waiting)
	m.waiting = slices.DeleteFunc(m.waiting, func(a *asked) bool {
		if a.Request.Node != node {
			return false
		}
		a.by = who
		close(a.done)
		return true
	})
	if len(m.waiting) == before {
		return fmt.Errorf("confirm that %s is off: %w", node, ErrNobodyAsked)
	}
	return nil
}

// Waiting lists the requests that wait for a word, the oldest first.
func (m *Manual) Waiting() (all []Asked) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, a := range m.waiting {
		all = append(all, a.Asked)
	}
	slices.SortStableFunc(all, func(a, b Asked) int {
		return cmp.Or(a.Since.Compare(b.Since), cmp.Compare(a.Request.Node, b.Request.Node))
	})
	return all
}
