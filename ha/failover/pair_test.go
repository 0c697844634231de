package failover

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"kvmctl/ha/carp"
)

// The figures of the model nodes. Those of the lease are lease.md's.
const (
	modelStart   = 20 * time.Millisecond
	modelLook    = 10 * time.Millisecond
	modelRefresh = 250 * time.Millisecond
	modelLease   = 1250 * time.Millisecond // the longest that was measured
)

// wire joins the nodes of a pair.
type wire struct {
	mu    sync.Mutex
	nodes []*node
	cut   bool
	dual  time.Duration // how long both had the addresses
}

// node is a model of a host with the agent's two machines in one loop, as the agent has them: a unit, a check, leased addresses.
type node struct {
	name  string
	w     *wire
	carp  *carp.Machine
	group *Machine
	in    chan any
	steps chan Step
	stop  chan struct{}
	once  sync.Once
	done  sync.WaitGroup

	mu       sync.Mutex // of what follows, which the test looks at
	hold     bool
	lease    time.Time // until when the kernel has the addresses
	up, sick bool      // its unit
	hang     Kind      // steps of this kind never end
	dead     bool      // the host is off
	cancel   uint64
	log      []string
	moves    int // to active
	sent     []time.Time
	hung     chan struct{} // closed when a stopped agent goes on
}

func startNode(w *wire, name string, skew int, cfg Config) *node {
	random := uint64(skew) << 32
	n := &node{name: name, w: w, in: make(chan any, 1000), steps: make(chan Step, 100), stop: make(chan struct{})}
	n.carp = carp.New(carp.Config{VHID: 1, Base: 1, Skew: skew, DeadRatio: 3, Profile: carp.KVMHA, Authoritative: true,
		Source: netip.MustParseAddr("10.2.0." + name), Random: func() uint64 { random++; return random }}, time.Now())
	n.group = New(cfg, time.Now())
	w.nodes = append(w.nodes, n)
	n.done.Go(n.loop)
	n.done.Go(n.executor)
	n.done.Go(n.checks)
	for _, in := range []Input{Interface{true}, Carrier{true}} {
		n.in <- in
	}
	return n
}

// loop is the agent's: it alone steps the machines, refreshes the lease and sends adverts.
func (n *node) loop() {
	refresh, last := time.NewTicker(modelRefresh), time.Now()
	defer refresh.Stop()
	for {
		wait := time.Hour
		for _, at := range []time.Time{n.carp.Next(), n.group.Next()} {
			if !at.IsZero() {
				wait = min(wait, time.Until(at))
			}
		}
		timer := time.NewTimer(max(wait, 0))
		var in any
		select {
		case <-n.stop:
			timer.Stop()
			return
		case in = <-n.in:
		case <-refresh.C:
		case <-timer.C:
		}
		timer.Stop()
		n.mu.Lock()
		hung := n.hung
		n.mu.Unlock()
		if hung != nil {
			<-hung
		}
		if gap := time.Since(last); gap > time.Second {
			n.tell(Freeze{gap})
		}
		last = time.Now()
		n.mu.Lock()
		if n.hold {
			n.lease = last.Add(modelLease)
		}
		n.mu.Unlock()
		switch in := in.(type) {
		case carp.Input:
			n.tellCarp(in)
		case Input:
			n.tell(in)
		}
		n.tellCarp(carp.Turn{})
		n.tell(Turn{})
	}
}

func (n *node) tellCarp(in carp.Input) {
	for _, e := range n.carp.Step(time.Now(), in) {
		switch e := e.(type) {
		case carp.Send:
			n.w.send(n, e.Advert)
		case carp.Elected:
			by := ByPreempt
			switch {
			case e.Cause == carp.ByDeadMaster:
				by = BySilence
			case e.Cause == carp.ByBowOut:
				by = ByBowOut
			}
			n.tell(Elected{by})
		case carp.Deposed:
			n.tell(Deposed{By: e.By.String(), Cause: string(e.Cause)})
		}
	}
	if r, ok := in.(carp.Received); ok && !r.Claim.Advert.BowOut() {
		n.tell(PeerActive{r.Claim.From.String()})
	}
}

func (n *node) tell(in Input) {
	for _, e := range n.group.Step(time.Now(), in) {
		n.mu.Lock()
		n.log = append(n.log, fmt.Sprintf("%v %s: %v", time.Now().Format("05.000"), n.name, e))
		switch e := e.(type) {
		case LeaseHold:
			n.hold, n.lease = true, time.Now().Add(modelLease)
			n.in <- Result{ID: e.ID}
		case LeaseDrop:
			n.hold, n.lease = false, time.Time{}
			n.in <- Result{ID: e.ID}
		case Cancel:
			n.cancel = e.ID
		case Transition:
			if e.To == Active {
				n.moves++
			}
		}
		n.mu.Unlock()
		switch e := e.(type) {
		case Run:
			n.steps <- e.Step
		case Allow:
			n.tellCarp(carp.Allow{Preempt: e.Preempt})
		case Silence:
			n.tellCarp(carp.Silence{BowOut: e.BowOut})
		case Ready:
			n.tellCarp(carp.Ready{})
		case Release:
			n.tellCarp(carp.Release{})
		}
	}
}

// executor carries out steps, one at a time.
func (n *node) executor() {
	for {
		var s Step
		select {
		case <-n.stop:
			return
		case s = <-n.steps:
		}
		r := Result{ID: s.ID}
		takes := map[Kind]time.Duration{KindStart: modelStart, KindRestart: modelStart, KindChecks: modelLook, KindProbe: s.Timeout}[s.Kind]
		if s.Kind == KindLetGo {
			takes = s.Timeout
		}
		n.mu.Lock()
		if n.hang == s.Kind {
			takes, r.Outcome = s.Timeout, TimedOut
		}
		n.mu.Unlock()
		for end := time.Now().Add(takes); time.Now().Before(end); {
			select {
			case <-n.stop:
				return
			case <-time.After(min(time.Until(end), 5*time.Millisecond)):
			}
			n.mu.Lock()
			cancelled := n.cancel == s.ID
			n.mu.Unlock()
			if cancelled || s.Kind == KindLetGo && !n.w.answered(n) {
				break
			}
		}
		n.mu.Lock()
		switch s.Kind {
		case KindStart, KindRestart:
			n.up = r.Outcome == Done
		case KindStop, KindKill:
			n.up = n.up && r.Outcome != Done
		case KindChecks:
			if n.sick {
				r.Outcome = Failed
			}
		}
		n.mu.Unlock()
		if s.Kind == KindProbe && n.w.answered(n) {
			r.Outcome, r.Why = Failed, "the peer has it"
		}
		n.in <- r
	}
}

// checks looks at the unit every second; three bad looks are red, one good is green.
func (n *node) checks() {
	bad, state := 0, Unknown
	for {
		select {
		case <-n.stop:
			return
		case <-time.After(time.Second):
		}
		n.mu.Lock()
		looks, sick := n.hold, n.sick
		n.mu.Unlock()
		was := state
		switch {
		case !looks:
			bad, state = 0, Unknown
		case !sick:
			bad, state = 0, Green
		default:
			if bad++; bad >= 3 {
				state = Red
			}
		}
		if state != was && state != Unknown {
			n.in <- Checked{Name: "http", State: state, Why: "it is sick"}
		}
	}
}

func (w *wire) send(from *node, a carp.Advert) {
	w.mu.Lock()
	defer w.mu.Unlock()
	from.mu.Lock()
	from.sent = append(from.sent, time.Now())
	off := from.dead
	from.mu.Unlock()
	for _, n := range w.nodes {
		if n == from || w.cut || off {
			continue
		}
		select {
		case n.in <- carp.Received{Claim: carp.Claim{From: netip.MustParseAddr("10.2.0." + from.name), Advert: a}}:
		default:
		}
	}
}

// answered reports whether another node answers for the addresses.
func (w *wire) answered(by *node) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return !w.cut && slices.ContainsFunc(w.nodes, func(n *node) bool { return n != by && n.has() })
}

func (n *node) has() bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return !n.dead && time.Now().Before(n.lease)
}

func (n *node) serves() bool {
	ok := n.has()
	n.mu.Lock()
	defer n.mu.Unlock()
	return ok && n.up && !n.sick
}

func (n *node) set(f func(n *node)) {
	n.mu.Lock()
	defer n.mu.Unlock()
	f(n)
}

// crash is the end of a host: its loop goes on in the void until the test ends.
func (n *node) crash() { n.set(func(n *node) { n.dead = true }) }

// kill is the end of its agent: the host goes on without.
func (n *node) kill() { n.once.Do(func() { close(n.stop) }) }

// pair runs a test with two nodes of which the first, 1, is active: 2 has a skew of 100.
func pair(t *testing.T, change func(*Config), f func(t *testing.T, w *wire, a, b *node)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		cfg := plain()
		cfg.Units, cfg.Checks, cfg.Restarts = cfg.Units[1:], cfg.Checks[:1], 0
		cfg.Dead = 3 * time.Second
		if change != nil {
			change(&cfg)
		}
		w := &wire{}
		a := startNode(w, "1", 0, cfg)
		b := startNode(w, "2", 100, cfg)
		defer func() {
			for _, n := range w.nodes {
				n.kill()
				n.set(func(n *node) {
					if n.hung != nil {
						close(n.hung)
					}
				})
				n.done.Wait()
			}
			if t.Failed() {
				log := slices.Concat(a.log, b.log)
				slices.SortStableFunc(log, func(x, y string) int { return cmp.Compare(x[:6], y[:6]) })
				t.Log(strings.Join(log, "\n"))
			}
		}()
		if _, ok := w.until(10*time.Second, a.serves); !ok {
			t.Fatal("nobody took the role")
		}
		time.Sleep(5 * time.Second)
		w.dual = 0
		f(t, w, a, b)
	})
}

// until lets time pass until something is so, looking every 5 ms as the client of the measurements does, and tells how long that took.
func (w *wire) until(limit time.Duration, so func() bool) (time.Duration, bool) {
	for began := time.Now(); time.Since(began) < limit; time.Sleep(5 * time.Millisecond) {
		if w.nodes[0].has() && w.nodes[1].has() {
			w.dual += 5 * time.Millisecond
		}
		if so() {
			return time.Since(began), true
		}
	}
	return limit, false
}

// takeovers measures how long the other node needs, over the phases of a second.
func takeovers(t *testing.T, change func(*Config), event func(a, b *node)) (median, worst, dual time.Duration) {
	t.Helper()
	var took []time.Duration
	for phase := time.Duration(0); phase < time.Second; phase += time.Second / 32 {
		pair(t, change, func(t *testing.T, w *wire, a, b *node) {
			time.Sleep(phase)
			event(a, b)
			d, ok := w.until(20*time.Second, b.serves)
			if !ok {
				t.Fatal("nobody took over")
			}
			w.until(time.Second, func() bool { return false })
			took, dual = append(took, d), max(dual, w.dual)
		})
	}
	slices.Sort(took)
	return took[len(took)/2], took[len(took)-1], dual
}

// Profile C of FAILOVER.md, "Promises to measure against", in virtual time, with a unit that starts in 20 ms.
func TestPairTakesOverInTime(t *testing.T) {
	for _, c := range []struct {
		name          string
		event         func(a, b *node)
		median, worst time.Duration
	}{
		{"crash (catalogue 1.7: ucarp 4.15 s, keepalived 3.04 s)", func(a, _ *node) { a.crash() }, 3000 * time.Millisecond, 3500 * time.Millisecond},
		{"agent killed (case 1)", func(a, _ *node) { a.kill() }, 3000 * time.Millisecond, 3500 * time.Millisecond},
		{"agent hangs (case 2)", func(a, _ *node) { a.set(func(n *node) { n.hung = make(chan struct{}) }) }, 3000 * time.Millisecond, 3500 * time.Millisecond},
		{"service fails, 1 s × 3", func(a, _ *node) { a.set(func(n *node) { n.sick = true }) }, 3200 * time.Millisecond, 3500 * time.Millisecond},
		{"switch", func(a, _ *node) { a.in <- Switch{ID: 1} }, 100 * time.Millisecond, 900 * time.Millisecond},
		{"clean stop", func(a, _ *node) { a.in <- Stop{} }, 100 * time.Millisecond, 900 * time.Millisecond},
		{"carrier lost", func(a, _ *node) { a.in <- Carrier{false} }, 100 * time.Millisecond, 900 * time.Millisecond},
		{"switch with a stop script that hangs (case 15)", func(a, _ *node) {
			a.set(func(n *node) { n.hang = KindStop })
			a.in <- Switch{ID: 1}
		}, 100 * time.Millisecond, 900 * time.Millisecond},
	} {
		t.Run(c.name, func(t *testing.T) {
			median, worst, dual := takeovers(t, nil, c.event)
			t.Logf("takeover: median %v, worst %v, both %v", median, worst, dual)
			if median > c.median || worst > c.worst || dual > 0 {
				t.Errorf("takeover: median %v of %v, worst %v of %v, both for %v", median, c.median, worst, c.worst, dual)
			}
		})
	}
}

// Cases 6 and 8: in a partition both answer, and one of them leaves soon after it heals; the other never stops.
func TestPairPartitionHeals(t *testing.T) {
	pair(t, nil, func(t *testing.T, w *wire, a, b *node) {
		w.mu.Lock()
		w.cut = true
		w.mu.Unlock()
		if d, ok := w.until(4*time.Second, b.serves); !ok {
			t.Fatalf("after %v 2 does not serve its side", d)
		}
		time.Sleep(10 * time.Second)
		w.mu.Lock()
		w.cut = false
		w.mu.Unlock()
		w.dual = 0
		away := false
		w.until(5*time.Second, func() bool { away = away || !a.serves(); return false })
		if w.dual > 1050*time.Millisecond || b.has() || away {
			t.Errorf("after the heal both had it for %v, 2 has it %v, 1 was away %v", w.dual, b.has(), away)
		}
	})
}

// A frozen agent finds its peer active when it goes on, and holds nothing.
func TestPairThaw(t *testing.T) {
	pair(t, nil, func(t *testing.T, w *wire, a, b *node) {
		hung := make(chan struct{})
		a.set(func(n *node) { n.hung = hung })
		if _, ok := w.until(5*time.Second, b.serves); !ok {
			t.Fatal("nobody took over")
		}
		a.set(func(n *node) { n.hung = nil })
		close(hung)
		w.until(10*time.Second, func() bool { return false })
		if w.dual > 0 || a.has() || !b.serves() {
			t.Errorf("both for %v, 1 has it %v, 2 serves %v", w.dual, a.has(), b.serves())
		}
	})
}

// The better node comes back: it preempts after its delay, and the old master serves until the new one does.
func TestPairPreempts(t *testing.T) {
	pair(t, func(c *Config) { c.Preempt = true }, func(t *testing.T, w *wire, a, b *node) {
		a.in <- Carrier{false}
		w.until(5*time.Second, b.serves)
		a.in <- Carrier{true}
		gap, served := time.Duration(0), time.Now()
		d, ok := w.until(30*time.Second, func() bool {
			if a.serves() || b.serves() {
				served = time.Now()
			}
			gap = max(gap, time.Since(served)-5*time.Millisecond) // it looks every 5 ms, before or after what happens at that instant
			return a.serves() && !b.has()
		})
		if !ok || d < 10*time.Second || d > 12500*time.Millisecond || gap > 5*time.Millisecond || w.dual > 10*time.Millisecond {
			t.Errorf("preempted %v after %v, nobody for %v, both for %v", ok, d, gap, w.dual)
		}
	})
}

// A service that fails on whichever node is active moves twice from each at most, then stays and mails (safety 8, case 14).
func TestPairFlapTrain(t *testing.T) {
	pair(t, func(c *Config) { c.Preempt = true }, func(t *testing.T, w *wire, a, b *node) {
		for _, n := range w.nodes {
			n.set(func(n *node) { n.sick = true; n.moves = 0 })
		}
		// It starts well each time, and fails a while later.
		for range 10 * 60 {
			time.Sleep(time.Second)
			for _, n := range w.nodes {
				n.set(func(n *node) { n.sick = n.hold })
			}
		}
		if moves := a.moves + b.moves; moves > 5 || a.has() == b.has() {
			t.Errorf("%d moves in ten minutes; 1 has it %v, 2 has it %v", moves, a.has(), b.has())
		}
	})
}

// Case 15: a script that hangs holds up no advert.
func TestPairHungScript(t *testing.T) {
	pair(t, nil, func(t *testing.T, w *wire, a, b *node) {
		b.set(func(n *node) { n.hang = KindStart })
		a.crash()
		time.Sleep(20 * time.Second)
		b.mu.Lock()
		defer b.mu.Unlock()
		for i := 1; i < len(b.sent); i++ {
			if gap := b.sent[i].Sub(b.sent[i-1]); gap > 1391*time.Millisecond {
				t.Errorf("%v between two adverts", gap)
			}
		}
		if len(b.sent) < 11 || b.hold {
			t.Errorf("%d adverts while its unit starts, addresses %v", len(b.sent), b.hold)
		}
	})
}

// Random histories: without a partition never two have the addresses, and when all is well again exactly one has them soon.
func TestPairRandomHistories(t *testing.T) {
	for seed := range uint64(60) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			random := rand.New(rand.NewPCG(seed, 4))
			change := func(c *Config) { c.Preempt, c.Restarts = seed%2 == 0, int(seed/2%2) }
			pair(t, change, func(t *testing.T, w *wire, a, b *node) {
				var healed time.Time
				pass := func(d time.Duration) {
					w.dual = 0
					w.until(d, func() bool { return false })
					w.mu.Lock()
					defer w.mu.Unlock()
					// A heal may cost one advert, a preempt the time of one.
					if w.dual > 10*time.Millisecond && !w.cut && time.Since(healed)-d > 2*time.Second {
						t.Errorf("both for %v", w.dual)
					}
				}
				cut := func(on bool) {
					w.mu.Lock()
					defer w.mu.Unlock()
					if w.cut && !on {
						healed = time.Now()
					}
					w.cut = on
				}
				thaw := func(n *node) {
					n.set(func(n *node) {
						if n.hung != nil {
							close(n.hung)
							n.hung = nil
						}
					})
				}
				for range 30 {
					n := w.nodes[random.IntN(2)]
					switch random.IntN(9) {
					case 0:
						cut(true)
					case 1:
						cut(false)
					case 2:
						n.set(func(n *node) {
							if n.hung == nil {
								n.hung = make(chan struct{})
							}
						})
					case 3, 4:
						thaw(n)
					case 5:
						n.in <- Carrier{random.IntN(3) > 0}
					case 6:
						n.in <- Switch{ID: 1}
					case 7:
						n.set(func(n *node) { n.sick = !n.sick })
					case 8:
						n.set(func(n *node) { n.hang = Kind(random.IntN(int(KindHookWaiting))) })
					}
					pass(time.Duration(random.IntN(5000)) * time.Millisecond)
				}
				cut(false)
				for _, n := range w.nodes {
					n.set(func(n *node) { n.sick, n.hang = false, KindNone })
					thaw(n)
					n.in <- Carrier{true}
				}
				time.Sleep(6 * time.Minute) // the longest cool-down
				if _, ok := w.until(time.Minute, func() bool { return a.serves() != b.serves() && a.has() != b.has() }); !ok {
					t.Errorf("all is well: 1 %+v, 2 %+v", a.group.Status(), b.group.Status())
				}
			})
		})
	}
}
