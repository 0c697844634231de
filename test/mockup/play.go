package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"
)

// stage is what a scenario plays on.
type stage struct {
	*pair
	began time.Time // of what breaks
	said  string    // what else the row tells of who was active
}

// mark is called right before something breaks.
func (s *stage) mark() { s.began = time.Now() }

// result is a row of the table.
type result struct {
	scenario
	pair    *pair
	how     mode
	active  string
	address time.Duration
	service time.Duration
	back    bool // the service was, at the end
	before  string
	after   string
	mails   []string
	acked   int
	lost    int
	took    time.Duration
	steps   []step
	err     error
}

// play is the whole of it, inside the namespaces.
func play(ctx context.Context, o options) (code int, err error) {
	began := time.Now()
	ctx, end := context.WithCancel(ctx)
	w, err := newWorld(ctx, o)
	if err != nil {
		end()
		return 1, err
	}
	defer func() {
		end()
		for _, m := range w.machines {
			m.gone()
		}
		w.dismiss()
		w.readers.Wait()
	}()
	say("seed %d", o.seed)
	results, err := w.rows(ctx)
	figures := markdown(o, results, time.Since(began))
	fmt.Print(figures)
	bad := 0
	for _, r := range results {
		if r.err != nil || r.lost != 0 {
			bad++
		}
	}
	if err == nil && o.out != "" {
		err = writePage(o.out, figures)
	}
	if bad > 0 {
		err = errors.Join(err, fmt.Errorf("%d of %d rows are not as they should be", bad, len(results)))
	}
	return 0, err
}

// rows plays all that is wanted.
func (w *world) rows(ctx context.Context) (all []result, err error) {
	varda := &pair{w: w, group: "varda", a: w.machines[varda2.name], b: w.machines[vmVarda.name], fresh: true, pings: &answers{}}
	varda.served = func() *answers { return &w.client.answers }
	olorin := &pair{w: w, group: "olorin", a: w.machines[olorin2.name], b: w.machines[vmOlorin.name], fresh: true, pings: &answers{}}
	names := &answers{}
	olorin.served = func() *answers { return names }
	w.readers.Go(func() { w.client.run(ctx) })
	w.readers.Go(func() { varda.pings.pings(ctx, vardaAddress) })
	w.readers.Go(func() { olorin.pings.pings(ctx, dnsAddress) })
	w.readers.Go(func() { names.asks(ctx) })
	for _, turn := range w.turns(varda, olorin) {
		all = append(all, w.row(ctx, turn.pair, turn.scenario, turn.how))
		if ctx.Err() != nil {
			return all, context.Cause(ctx)
		}
	}
	return all, nil
}

// turn is a row to come.
type turn struct {
	scenario
	pair *pair
	how  mode
}

// turns are the rows that are wanted, in an order that changes the members' files as seldom as can be.
func (w *world) turns(varda, olorin *pair) (all []turn) {
	rows := append(scenarios(), staggered(w.o.seed, w.o.rounds)...)
	for _, how := range []mode{withPDU, withSilent, withJudge} {
		for _, s := range rows {
			for _, h := range s.how {
				if h == how && w.o.wants(s.name) {
					all = append(all, turn{s, varda, h})
				}
			}
		}
	}
	for _, s := range plainScenarios() {
		if w.o.wants(s.name) {
			all = append(all, turn{s, olorin, withNobody})
		}
	}
	return all
}

// row plays one, and brings the pair back to where it was; it never fails otherwise than in its result.
func (w *world) row(ctx context.Context, p *pair, s scenario, how mode) (r result) {
	r = result{scenario: s, pair: p, how: how}
	started := time.Now()
	say("%s (%s)", s.title, how)
	defer func() {
		r.took = time.Since(started)
		say("%s (%s): %s; address away %v, service %v, lost %d of %d, %d mails, took %v: %v", s.title, how, r.active, r.address.Round(time.Millisecond),
			r.service.Round(time.Millisecond), r.lost, r.acked, len(r.mails), r.took.Round(time.Second), r.err)
	}()
	if err := w.ready(ctx, p, how); err != nil {
		r.err = fmt.Errorf("make it ready: %w", err)
		say("%v\n%s", r.err, w.trouble(ctx, p.a, p.b))
		p.fresh = true
		return r
	}
	w.relay.take()
	r.before = p.disks(ctx)
	acked := p.served().count()
	st := &stage{pair: p, began: time.Now()}
	within, cancel := context.WithTimeout(ctx, 4*time.Minute)
	r.err = s.play(within, st)
	cancel()
	ended := time.Now()
	r.after = p.disks(ctx)
	if err := pause(ctx, time.Second); err != nil { // what was the last change comes with the log
		r.err = errors.Join(r.err, err)
	}
	r.active = activeWhen(w.since(st.began.Add(-50*time.Millisecond)), st.began, p.a.name, p.a.name, p.b.name) + st.said
	r.address, r.service = p.pings.away(st.began, ended), p.served().away(st.began, ended)
	r.back = !p.served().first(ended.Add(-2 * time.Second)).IsZero()
	if r.err != nil {
		say("%v\n%s", r.err, w.trouble(ctx, p.a, p.b))
	} else if s.split {
		r.steps = w.split(ctx, st)
	}
	if err := p.mend(ctx, how); err != nil {
		r.err = errors.Join(r.err, fmt.Errorf("bring it back: %w", err))
		say("%v\n%s", err, w.trouble(ctx, p.a, p.b))
		p.fresh = true // the next row begins with new disks
	}
	r.mails = w.relay.take()
	r.acked = p.served().count() - acked
	if p.a.vhid != vardaVHID {
		r.err = errors.Join(r.err, w.offers(ctx, p.a))
		return r
	}
	lost, err := w.lost(ctx, p)
	r.lost, r.err = lost, errors.Join(r.err, err)
	return r
}

// lost counts the lines that were acknowledged and are not on the disk of who is active; -1: they cannot be read.
func (w *world) lost(ctx context.Context, p *pair) (int, error) {
	for _, m := range []*machine{p.a, p.b} {
		if m.says() != "active" {
			continue
		}
		var text lines
		acked := w.client.acknowledged() // before the file is read: the client goes on
		res, err := m.run(ctx, &text, nil, "cat", share+"/lines")
		if err != nil || res.Exit != 0 {
			return -1, fmt.Errorf("read the lines on %s: exit %d: %w", m.name, res.Exit, err)
		}
		lost := missing(acked, text.String())
		if len(lost) > 0 {
			say("ACKNOWLEDGED AND LOST: %v", lost[:min(len(lost), 50)])
		}
		return len(lost), nil
	}
	return -1, errors.New("neither is active, so the lines cannot be read")
}

// ready has the pair begin a row.
func (w *world) ready(ctx context.Context, p *pair, how mode) error {
	switch {
	case p.fresh:
		w.client.forget()
		return p.new(ctx, how)
	case p.how != how:
		return p.change(ctx, how)
	}
	return p.more(ctx, 20*time.Second, 3)
}

// lines is a strings.Builder that another goroutine fills.
type lines struct {
	mu sync.Mutex
	b  strings.Builder
}

func (l *lines) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(b)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}
