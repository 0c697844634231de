package arbiter

import (
	"context"
	"fmt"
	"slices"
	"time"
)

// Request asks that a node may go on alone.
type Request struct {
	Group string `json:"group"`
	Want  string `json:"want"` // who wants to; a node asks for nobody else
	N     uint64 `json:"n"`    // one more than the last number that the node knows of
	ID    ID     `json:"id"`   // of this n, for ever: a request whose answer was lost is asked again with the same one
}

// Asker is an arbiter as a member sees it. It may be used by several goroutines at once.
type Asker interface {
	// Ask gives the record that the request has won, also when it had won it before. Otherwise the error is a *LostError, a *RefusedError or an
	// *UnknownError; only without an error has anybody won.
	Ask(ctx context.Context, r Request) (Record, error)
	// Look gives the present record; the error is a *RefusedError or an *UnknownError.
	Look(ctx context.Context, group string) (Record, error)
}

// Decide says what becomes of a request that from sent: the record to keep, which is the present one where the request has won already, or a
// *LostError or a *RefusedError, and then nothing changes. Who may win is who knows of the last record: a node that was not there when another one
// went on alone comes with a number that is taken, and loses.
func Decide(have Record, members []string, from string, r Request, when time.Time) (Record, error) {
	switch {
	case !r.valid():
		return have, refused(WhyBadRequest, "", "the request is not one of kvmha's")
	case r.Group != have.Group:
		return have, refused(WhyBadRequest, "", fmt.Sprintf("the record is not of group %s", r.Group))
	case !slices.Contains(members, from):
		return have, refused(WhyNoMember, "", fmt.Sprintf("%s is not a member of group %s", from, r.Group))
	case r.Want != from:
		return have, refused(WhyNoMember, "", fmt.Sprintf("%s asks for %s: a node asks for itself alone", from, r.Want))
	case r.N == have.N && r.Want == have.Holder && r.ID == have.ID:
		return have, nil
	case r.N <= have.N:
		return have, &LostError{have}
	case r.N != have.N+1:
		return have, refused(WhyBehind, createHint(r.Group)+" --force, with the larger n of what both members know",
			fmt.Sprintf("%s knows of number %d, but the arbiter's record ends at %d: it is an old copy", from, r.N-1, have.N))
	}
	return Record{r.Group, r.Want, r.N, r.ID, when}, nil
}

// valid reports whether a request could be one of ours.
func (r Request) valid() bool {
	return ValidGroup(r.Group) && validHolder(r.Want) && r.N > 0 && r.N <= maxN && r.ID != ID{}
}

// answers reports whether a record is what this request wins.
func (r Request) answers(won Record) bool {
	return won.Same(Record{Group: r.Group, Holder: r.Want, N: r.N, ID: r.ID})
}
