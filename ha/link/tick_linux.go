package link

import (
	"context"
	"errors"
	"time"
)

// Tick keeps the kernel's lifetime check on time until ctx ends: each address that anybody adds runs the check, which then does not run
// again for a second, so that a lease may end up to 1.3 s late (lease.md). A refresh of whatever leased address runs it at once: this keeps
// one on lo. It is a program of its own, for it must outlive an agent that dies.
func Tick(ctx context.Context) error {
	l, err := OpenLeases(time.Now)
	if err != nil {
		return err
	}
	defer l.Close()
	turn := time.NewTicker(TermsFor(1).Every)
	defer turn.Stop()
	for {
		// After a stall it is simply taken again: nobody is served by it, so nobody can be served twice.
		if len(l.Held()) == 0 {
			if err := l.Take(ctx, "lo", TickAddress); err != nil && ctx.Err() == nil {
				return err
			}
		}
		select {
		case <-turn.C:
		case <-ctx.Done():
			last, cancel := context.WithTimeout(context.WithoutCancel(ctx), answerTime)
			defer cancel()
			return l.Drop(last, "lo", TickAddress)
		}
		if _, err := l.Turn(answerTime); err != nil && !errors.Is(err, context.Canceled) {
			return err
		}
	}
}

// Ticking reports whether a Tick runs in the calling thread's network namespace, or did until a second ago.
func Ticking(ctx context.Context) (bool, error) {
	found, err := FindAddresses(ctx, TickAddress)
	return len(found) > 0, err
}
