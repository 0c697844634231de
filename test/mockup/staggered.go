package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"time"
)

// plan is one staggered power loss: who goes off first, when the other one does, and who comes back first, when.
type plan struct {
	first  int           // 0: the primary
	gap    time.Duration // until the other one goes, too
	dark   time.Duration // with both off
	back   int           // who comes back first
	behind time.Duration // the other one
}

// drawn draws a plan. Gaps reach from before a fence is asked to behind a take-over.
func drawn(r *rand.Rand) plan {
	tenths := func(most int) time.Duration { return time.Duration(r.IntN(10*most+1)) * 100 * time.Millisecond }
	return plan{r.IntN(2), tenths(15), tenths(2), r.IntN(2), tenths(15)}
}

func (p plan) String() string {
	who := [2]string{varda2.name, vmVarda.name}
	return fmt.Sprintf("%s off, %.1f s, %s off, %.1f s, %s on, %.1f s, %s on", who[p.first], p.gap.Seconds(), who[1-p.first], p.dark.Seconds(), who[p.back],
		p.behind.Seconds(), who[1-p.back])
}

const staggeredName = "staggered"

// staggered are rows with plans that follow from a seed, by turns behind a PDU and with an arbiter.
func staggered(seed uint64, rounds int) (all []scenario) {
	r := rand.New(rand.NewPCG(seed, 0))
	for i := range rounds {
		p := drawn(r)
		how := []mode{withPDU, withJudge}[i%2]
		play := func(ctx context.Context, s *stage) error { return p.play(ctx, s) }
		all = append(all, scenario{staggeredName, fmt.Sprintf("staggered power loss %d: %v", i+1, p), []mode{how}, play, false})
	}
	return all
}

// play takes the power of both and gives it back, while the client writes all the time. In the end somebody serves again, by himself.
func (p plan) play(ctx context.Context, s *stage) error {
	who := [2]*machine{s.a, s.b}
	s.mark()
	if err := who[p.first].cut(ctx); err != nil {
		return err
	}
	if err := pause(ctx, p.gap); err != nil {
		return err
	}
	if err := who[1-p.first].cut(ctx); err != nil {
		return err
	}
	if err := pause(ctx, p.dark); err != nil {
		return err
	}
	for i, m := range []*machine{who[p.back], who[1-p.back]} {
		if i == 1 {
			if err := pause(ctx, p.behind); err != nil {
				return err
			}
		}
		if err := s.again(ctx, m); err != nil && m.on() { // a PDU may have taken its power once more
			return err
		}
	}
	return s.servedAgain(ctx)
}

// servedAgain waits until the client is served; whom a fence has switched off meanwhile is switched on, as a person would.
func (s *stage) servedAgain(ctx context.Context) error {
	want := s.served().count() + 10
	for deadline := time.Now().Add(silence); s.served().count() < want; {
		for _, m := range []*machine{s.a, s.b} {
			if !m.on() {
				if err := s.again(ctx, m); err != nil && m.on() {
					return err
				}
			}
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("nobody serves %v after both have power again: %w", silence, errEnd)
		}
		if err := pause(ctx, 200*time.Millisecond); err != nil {
			return err
		}
	}
	return nil
}
