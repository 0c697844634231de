package fence

import (
	"context"
	"errors"
	"fmt"
	"time"

	"kvmctl/ha/arbiter"
)

// Request asks that a node be ended.
type Request struct {
	ID     arbiter.ID    // of this request, and of no other one; it is spent when the peer is seen again
	Group  string        // for which group, for people
	Node   string        // who is to be ended
	Within time.Duration // how long it may take, from the call on
}

// Receipt says that the node was ended after the request was made, and stays so until somebody switches it on.
type Receipt struct {
	ID  arbiter.ID // the request's
	How string     // for people
	At  time.Time  // wall clock, for people
}

// Fencer ends nodes. An error is a *NotCertainError, whatever went wrong: the node may be off, or may go off later, or not.
type Fencer interface {
	Fence(ctx context.Context, r Request) (Receipt, error)
}

// ErrNotCertain is what every *NotCertainError is.
var ErrNotCertain = errors.New("not certain")

// NotCertainError is everything short of certain. It never licenses anything.
type NotCertainError struct {
	Node string
	Err  error
}

func (e *NotCertainError) Error() string {
	return fmt.Sprintf("it is not certain that %s is off: %v", e.Node, e.Err)
}

// Unwrap gives the reason, and ErrNotCertain.
func (e *NotCertainError) Unwrap() []error { return []error{ErrNotCertain, e.Err} }

// Errors of requests and answers, wrapped in a *NotCertainError.
var (
	ErrNoRequest     = errors.New("the request has no id, no node or no time")
	ErrAnotherAnswer = errors.New("the answer is one to another request")
)

// Ask has a fencer carry a request out. Only its receipt counts: it has the request's own id and came in time.
func Ask(ctx context.Context, f Fencer, r Request) (Receipt, error) {
	if r.ID == (arbiter.ID{}) || r.Node == "" || r.Within <= 0 {
		return Receipt{}, &NotCertainError{r.Node, ErrNoRequest}
	}
	ctx, cancel := context.WithTimeout(ctx, r.Within)
	defer cancel()
	got, err := f.Fence(ctx, r)
	switch {
	case err == nil && ctx.Err() != nil: // whoever asked has gone on waiting for something else
		err = context.Cause(ctx)
	case err == nil && got.ID != r.ID:
		err = ErrAnotherAnswer
	}
	if err == nil {
		return got, nil
	}
	if sure, ok := errors.AsType[*NotCertainError](err); ok {
		return Receipt{}, sure
	}
	return Receipt{}, &NotCertainError{r.Node, err}
}

// receipt is the answer to a request.
func receipt(r Request, format string, args ...any) Receipt {
	return Receipt{ID: r.ID, How: fmt.Sprintf(format, args...), At: now()}
}

func now() time.Time { return time.Now().UTC() }
