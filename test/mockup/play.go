package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"
)

// scenario is a row, once for each mode.
type scenario struct {
	name  string
	title string
	how   []mode
	play  func(context.Context, *stage) error // fails unless it ends as it should
}

// stage is what a scenario plays on.
type stage struct {
	*pair
	began time.Time // of what breaks
}

// mark is called right before something breaks.
func (s *stage) mark() { s.began = time.Now() }

// result is a row of the table.
type result struct {
	scenario
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
	err     error
}

func names() []string {
	var all []string
	for _, s := range scenarios() {
		all = append(all, s.name)
	}
	return all
}

// known tells whether each of some names is one of a row, or its beginning.
func known(only string) bool {
	for name := range strings.SplitSeq(only, ",") {
		if name != "" && !strings.HasPrefix(strings.Join(names(), ","), name) && !strings.Contains(strings.Join(names(), ","), ","+name) {
			return false
		}
	}
	return true
}

func (o options) wants(name string) bool {
	if o.only == "" {
		return true
	}
	for n := range strings.SplitSeq(o.only, ",") {
		if n != "" && strings.HasPrefix(name, n) {
			return true
		}
	}
	return false
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
	w.readers.Go(func() { w.client.run(ctx) })
	w.readers.Go(func() { w.pings.pings(ctx, vardaAddress) })
	say("seed %d", o.seed)
	results, err := w.rows(ctx)
	fmt.Print(markdown(o, results, time.Since(began)))
	bad := 0
	for _, r := range results {
		if r.err != nil || r.lost > 0 {
			bad++
		}
	}
	if err == nil && o.out != "" {
		err = writePage(o.out, markdown(o, results, time.Since(began)))
	}
	if bad > 0 {
		err = errors.Join(err, fmt.Errorf("%d of %d rows are not as they should be", bad, len(results)))
	}
	return 0, err
}

// rows plays all that is wanted.
func (w *world) rows(ctx context.Context) (all []result, err error) {
	varda := &pair{w: w, group: "varda", a: w.machines[varda2.name], b: w.machines[vmVarda.name]}
	for _, how := range []mode{withPDU, withSilent, withJudge} {
		for _, s := range scenarios() {
			for _, h := range s.how {
				if h != how || !w.o.wants(s.name) {
					continue
				}
				r := w.row(ctx, varda, s, h)
				all = append(all, r)
				if ctx.Err() != nil {
					return all, context.Cause(ctx)
				}
			}
		}
	}
	return all, nil
}

// row plays one, and brings the pair back to where it was; it never fails otherwise than in its result.
func (w *world) row(ctx context.Context, p *pair, s scenario, how mode) (r result) {
	r = result{scenario: s, how: how}
	started := time.Now()
	say("%s (%s)", s.title, how)
	defer func() {
		r.took = time.Since(started)
		say("%s (%s): %s; address away %v, service %v, lost %d, %d mails, took %v: %v", s.title, how, r.active, r.address.Round(time.Millisecond), r.service.Round(time.Millisecond),
			r.lost, len(r.mails), r.took.Round(time.Second), r.err)
	}()
	if err := w.ready(ctx, p, how); err != nil {
		r.err = fmt.Errorf("make it ready: %w", err)
		return r
	}
	w.relay.take()
	r.before = p.disks(ctx)
	acked := w.client.count()
	st := &stage{pair: p, began: time.Now()}
	within, cancel := context.WithTimeout(ctx, 3*time.Minute)
	r.err = s.play(within, st)
	cancel()
	ended := time.Now()
	r.after = p.disks(ctx)
	r.active = activeWhen(w.since(st.began.Add(-50*time.Millisecond)), st.began, p.a.name, p.a.name, p.b.name)
	r.address, r.service = w.pings.away(st.began, ended), w.client.away(st.began, ended)
	r.back = !w.client.first(ended.Add(-2 * time.Second)).IsZero()
	if r.err != nil {
		say("%v\n%s", r.err, w.trouble(ctx, p.a, p.b))
	}
	if err := p.mend(ctx, how); err != nil {
		r.err = errors.Join(r.err, fmt.Errorf("bring it back: %w", err))
		say("%v\n%s", err, w.trouble(ctx, p.a, p.b))
		p.how = "" // the next row begins with new disks
	}
	r.mails = w.relay.take()
	r.acked = w.client.count() - acked
	r.lost = -1
	if m, err := p.serving(ctx); err == nil {
		var text lines
		if _, err := m.run(ctx, &text, nil, "cat", share+"/lines"); err == nil {
			r.lost = len(w.client.lost(text.String()))
		}
	}
	if r.lost < 0 {
		r.err = errors.Join(r.err, errors.New("what was acknowledged could not be read back"))
	}
	return r
}

// ready has the pair begin a row.
func (w *world) ready(ctx context.Context, p *pair, how mode) error {
	if p.how == "" {
		w.client.forget()
		return p.new(ctx, how)
	}
	if p.how != how {
		return p.change(ctx, how)
	}
	return w.client.more(ctx, 20*time.Second, 3)
}

// serving is the one of the two that is active.
func (p *pair) serving(ctx context.Context) (*machine, error) {
	for _, m := range []*machine{p.a, p.b} {
		if s, err := m.status(ctx); err == nil && s.Groups[0].Role == "active" {
			return m, nil
		}
	}
	return nil, errors.New("neither is active")
}

// lines is a strings.Builder that a reader may fill.
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
