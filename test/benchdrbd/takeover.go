package main

import (
	"context"
	"fmt"
	"time"

	"kvmctl/test/drbdlab"
)

// sample is one take-over of a contender, after planned switch-overs there and back.
type sample struct {
	steps   [6]time.Duration // as stepNames
	total   time.Duration
	acked   int
	lost    int
	planned []time.Duration // outages as the client saw them
}

// stepNames are what comes between the power cut and the first line that the standby acknowledges. What a contender does not do takes no time.
var stepNames = [6]string{"until it acts", "right to go on", "DRBD primary", "mount", "address", "client"}

// split gives the time of each step: from the latest one before, because contenders do not all have them in the same order.
func split(cut time.Time, all []event, first time.Time) (steps [6]time.Duration) {
	at := func(names ...string) (earliest time.Time) {
		for _, n := range names {
			if t, ok := since(all, n, cut); ok && (earliest.IsZero() || t.Before(earliest)) {
				earliest = t
			}
		}
		return earliest
	}
	before := cut
	for i, t := range []time.Time{at("asked", "decided", "alone"), at("alone"), at("primary"), at("mounted"), at("address"), first} {
		if t.After(before) {
			steps[i], before = t.Sub(before), t
		}
	}
	return steps
}

// takeovers has the contenders take turns.
func (b *bench) takeovers(ctx context.Context) error {
	all := b.contenders()
	b.report.contenders = all
	b.report.samples = make([][]sample, len(all))
	b.report.costs = make([]costs, len(all))
	longest := make([]time.Duration, len(all))
	for turn := range b.o.runs {
		for i, c := range all {
			began := time.Now()
			if left := b.o.limit - time.Since(b.began); left < longest[i]*11/10 {
				b.report.note("%s had no turn %d: it takes %s, and of %s were %s left.", c.name, turn+1, longest[i].Round(time.Second), b.o.limit, left.Round(time.Second))
				continue
			}
			x, err := b.takeover(ctx, c, turn == 0, &b.report.costs[i])
			longest[i] = max(longest[i], time.Since(began))
			if err != nil {
				b.report.note("%s, turn %d: %v.", c.name, turn+1, err)
				say("%s, turn %d: %v", c.name, turn+1, err)
				if ctx.Err() != nil {
					return err
				}
				continue
			}
			b.report.samples[i] = append(b.report.samples[i], x)
			say("%s, turn %d of %d: %.2f s to the first line (%v), planned %v, %d of %d lines lost; the turn took %s", c.name, turn+1, b.o.runs,
				x.total.Seconds(), x.steps, x.planned, x.lost, x.acked, time.Since(began).Round(time.Second))
		}
	}
	return nil
}

func (b *bench) takeover(ctx context.Context, c *contender, idle bool, cost *costs) (x sample, err error) {
	ctx, cancel := context.WithTimeout(ctx, 3*c.patience+b.o.idle)
	defer cancel()
	s, err := b.stage(ctx, c)
	if err != nil {
		return x, err
	}
	defer func() {
		if err != nil {
			s.explain(err)
		}
		s.close()
	}()
	if idle {
		if *cost, err = s.cost(ctx, s.A, b.o.idle); err != nil {
			return x, err
		}
	}
	cl, stop, err := s.client(ctx, service)
	if err != nil {
		return x, err
	}
	defer stop()
	if err := until(ctx, "the client is served", func() bool { return len(cl.all()) > 20 }); err != nil {
		return x, err
	}
	for _, from := range []*drbdlab.Guest{s.A, s.B} {
		d, err := s.planned(ctx, cl, from)
		if err != nil {
			return x, fmt.Errorf("planned switch-over from %s: %w", from.Name, err)
		}
		x.planned = append(x.planned, d)
	}
	cut := time.Now()
	s.A.PowerCut()
	if c.fenced { // the PDU answers at once, and says what is true
		if _, err := s.B.Sh(ctx, ": >/run/pdu.off"); err != nil {
			return x, err
		}
	}
	first, err := cl.first(ctx, s.B.Name, cut)
	if err != nil {
		return x, err
	}
	if err := until(ctx, "20 more lines", func() bool { return len(cl.all()) > 0 && time.Since(first) > time.Second }); err != nil {
		return x, err
	}
	stop()
	text, err := s.file(ctx, s.B)
	if err != nil {
		return x, err
	}
	x.steps, x.total = split(cut, s.facts[s.B].events(), first), first.Sub(cut)
	x.acked, x.lost = len(cl.all()), len(lost(cl.all(), text))
	return x, nil
}

// planned moves the service away from a node, and gives how long the client was without an answer.
func (s *stage) planned(ctx context.Context, cl *client, from *drbdlab.Guest) (time.Duration, error) {
	began := time.Now()
	if err := s.c.move(ctx, s, from); err != nil {
		return 0, err
	}
	to := s.other(from)
	if err := s.settled(ctx, to); err != nil {
		return 0, err
	}
	first, err := cl.first(ctx, to.Name, began)
	if err != nil {
		return 0, err
	}
	if err := until(ctx, "a second has passed", func() bool { return time.Since(first) > time.Second }); err != nil {
		return 0, err
	}
	return outage(cl.all(), began), nil
}

// rests counts what all cost at rest, without anything else.
func (b *bench) rests(ctx context.Context) error {
	b.report.contenders = b.contenders()
	b.report.samples, b.report.costs = make([][]sample, len(b.report.contenders)), make([]costs, len(b.report.contenders))
	for i, c := range b.report.contenders {
		s, err := b.stage(ctx, c)
		if err != nil {
			return err
		}
		b.report.costs[i], err = s.cost(ctx, s.A, b.o.idle)
		s.close()
		if err != nil {
			return err
		}
	}
	return nil
}

// costs are what a contender's programs use on the active node at rest.
type costs struct {
	own      float64 // of one CPU, by its programs
	children float64 // by what they run
	rss, pss int     // KiB
}

func (s *stage) cost(ctx context.Context, g *drbdlab.Guest, d time.Duration) (c costs, err error) {
	look := func() (own, children int, err error) {
		argv := "/bin/lines cost"
		for _, p := range s.c.programs {
			argv += " " + p
		}
		text, err := g.Sh(ctx, argv)
		if err == nil {
			_, err = fmt.Sscan(text, &own, &children, &c.rss, &c.pss)
		}
		return own, children, err
	}
	own, children, err := look()
	if err != nil {
		return c, err
	}
	began := time.Now()
	if err := until(ctx, "it has rested", func() bool { return time.Since(began) >= d }); err != nil {
		return c, err
	}
	took := time.Since(began).Seconds()
	ownAfter, childrenAfter, err := look()
	c.own, c.children = float64(ownAfter-own)/100/took, float64(childrenAfter-children)/100/took
	return c, err
}
