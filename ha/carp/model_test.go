package carp

import (
	"container/heap"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// world is nodes on a network in virtual time. A node is a machine and the shortest group that there is: it promotes for a while and is ready,
// and has let go as soon as it is deposed.
type world struct {
	now     time.Time
	rand    *rand.Rand
	nodes   []*member
	queue   events
	serial  int
	log     []string
	loss    float64
	twice   float64
	delay   time.Duration // at most
	cut     map[[2]int]bool
	changed int // changes of state
	sent    int
}

type member struct {
	id      int
	cfg     Config
	preempt bool
	promote time.Duration
	machine *Machine // nil: crashed
	life    int
	turn    time.Time
}

type event struct {
	at     time.Time
	serial int
	do     func()
}

type events []event

func (q events) Len() int { return len(q) }
func (q events) Less(i, j int) bool {
	return q[i].at.Before(q[j].at) || q[i].at.Equal(q[j].at) && q[i].serial < q[j].serial
}
func (q events) Swap(i, j int) { q[i], q[j] = q[j], q[i] }
func (q *events) Push(x any)   { *q = append(*q, x.(event)) }
func (q *events) Pop() (x any) {
	x, *q = (*q)[len(*q)-1], (*q)[:len(*q)-1]
	return x
}

func (w *world) after(d time.Duration, do func()) {
	w.serial++
	heap.Push(&w.queue, event{w.now.Add(d), w.serial, do})
}

// run lets time pass, and looks at the world whenever something has happened.
func (w *world) run(d time.Duration, look func()) {
	end := w.now.Add(d)
	for w.queue.Len() > 0 && !w.queue[0].at.After(end) {
		e := heap.Pop(&w.queue).(event)
		w.now = e.at
		e.do()
		if look != nil {
			look()
		}
	}
	w.now = end
}

func (w *world) start(n *member) {
	n.life++
	n.turn = time.Time{}
	n.machine = New(n.cfg, w.now)
	w.step(n, Allow{n.preempt})
}

func (w *world) step(n *member, in Input) {
	if n.machine == nil {
		return
	}
	life := n.life
	for _, e := range n.machine.Step(w.now, in) {
		switch e := e.(type) {
		case Send:
			w.sent++
			w.send(n, e.Advert)
		case Changed:
			w.changed++
			w.log = append(w.log, fmt.Sprintf("%v %d %v", w.now.Sub(epoch), n.id, e))
		case Elected:
			w.after(n.promote, func() {
				if n.life == life {
					w.step(n, Ready{})
				}
			})
		}
	}
	if next := n.machine.Next(); !next.IsZero() && !next.Equal(n.turn) {
		n.turn = next
		w.after(max(next.Sub(w.now), 0), func() {
			if n.life == life && n.turn.Equal(next) {
				n.turn = time.Time{}
				w.step(n, Turn{})
			}
		})
	}
}

func (w *world) send(from *member, a Advert) {
	for _, to := range w.nodes {
		if to == from || w.cut[[2]int{from.id, to.id}] {
			continue
		}
		for copies := 1; copies > 0; copies-- {
			if w.rand.Float64() < w.twice && copies == 1 {
				copies++
			}
			if w.rand.Float64() < w.loss {
				continue
			}
			life := to.life
			w.after(time.Duration(w.rand.Int64N(int64(w.delay)+1)), func() {
				if to.life == life {
					w.step(to, Received{Claim{From: from.cfg.Source, TTL: 255, Advert: a}})
				}
			})
			if copies == 2 {
				copies = 1
				w.after(time.Duration(w.rand.Int64N(int64(w.delay)+1)), func() {
					if to.life == life {
						w.step(to, Received{Claim{From: from.cfg.Source, TTL: 255, Advert: a}})
					}
				})
			}
		}
	}
}

func (w *world) masters() (ids []int) {
	for _, n := range w.nodes {
		if n.machine != nil && n.machine.Facts().State == Master {
			ids = append(ids, n.id)
		}
	}
	return ids
}

// plan is a schedule of faults.
type plan struct {
	profile Profile
	skews   []int
	preempt []bool
	promote []time.Duration
	faults  []fault
	seed    uint64
}

type fault struct {
	after time.Duration
	kind  int // crash, restart, cut one way, heal, bad network, good network
	a, b  int
}

// obey runs a plan, heals everything, and looks at what is left.
func obey(p plan) error {
	w := &world{now: epoch, rand: rand.New(rand.NewPCG(p.seed, 1)), cut: map[[2]int]bool{}, delay: time.Millisecond}
	worst := time.Duration(0)
	for i, skew := range p.skews {
		cfg := config(p.profile, 1, skew)
		cfg.Source = netip.AddrFrom4([4]byte{10, 77, byte(3 - i), byte(i + 1)})
		cfg.Random = w.rand.Uint64
		n := &member{id: i, cfg: cfg, preempt: p.preempt[i], promote: p.promote[i]}
		w.nodes = append(w.nodes, n)
		worst = max(worst, cfg.Dead())
		w.start(n)
	}
	begin := w.now
	for _, f := range p.faults {
		w.run(f.after, nil)
		n := w.nodes[f.a%len(w.nodes)]
		switch f.kind {
		case 0:
			n.life++
			n.machine = nil
		case 1:
			if n.machine == nil {
				w.start(n)
			}
		case 2:
			w.cut[[2]int{n.id, f.b % len(w.nodes)}] = true
		case 3:
			w.cut = map[[2]int]bool{}
		case 4:
			w.loss, w.twice, w.delay = float64(f.b)/10, 0.2, time.Duration(f.b)*time.Second/4
		case 5:
			w.loss, w.twice, w.delay = 0, 0, time.Millisecond
		}
	}
	w.cut, w.loss, w.twice, w.delay = map[[2]int]bool{}, 0, 0, time.Millisecond
	for _, n := range w.nodes {
		if n.machine == nil {
			w.start(n)
		}
	}
	w.run(4*worst, nil)
	settled, quiet := w.masters(), w.changed
	if len(settled) != 1 {
		return fmt.Errorf("masters %v after 4 dead times of peace\n%s", settled, strings.Join(w.log, "\n"))
	}
	var err error
	w.run(4*worst, func() {
		if now := w.masters(); err == nil && (!slices.Equal(now, settled) || w.changed != quiet) {
			err = fmt.Errorf("in peace the masters change from %v to %v\n%s", settled, now, strings.Join(w.log, "\n"))
		}
	})
	seconds := int(w.now.Sub(begin)/time.Second) + 1
	if n := len(w.nodes); w.sent > 4*n*seconds || w.changed > 4*n*seconds {
		return fmt.Errorf("%d adverts and %d changes in %d s\n%s", w.sent, w.changed, seconds, strings.Join(w.log, "\n"))
	}
	return err
}

// Two and three machines through crashes, cuts, loss, delay, doubling and reordering: 4 dead times after the last fault exactly one serves, and
// nothing moves any more.
func TestOneMasterSoonAfterTheLastFault(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := plan{
			profile: rapid.SampledFrom([]Profile{UCARP, BSD, KVMHA}).Draw(t, "profile"),
			skews:   rapid.SliceOfNDistinct(rapid.IntRange(0, 240), 2, 3, rapid.ID).Draw(t, "skews"),
			seed:    rapid.Uint64().Draw(t, "seed"),
		}
		if p.profile != BSD && rapid.Bool().Draw(t, "equal") { // BSD's equals yield to each other: refused by the configuration
			for i := range p.skews {
				p.skews[i] = p.skews[0]
			}
		}
		for range p.skews {
			p.preempt = append(p.preempt, rapid.Bool().Draw(t, "preempt"))
			p.promote = append(p.promote, time.Duration(rapid.IntRange(0, 1500).Draw(t, "promote"))*time.Millisecond)
		}
		for range rapid.IntRange(0, 12).Draw(t, "faults") {
			p.faults = append(p.faults, fault{
				after: time.Duration(rapid.IntRange(0, 9000).Draw(t, "after")) * time.Millisecond,
				kind:  rapid.IntRange(0, 5).Draw(t, "kind"), a: rapid.IntRange(0, 2).Draw(t, "a"), b: rapid.IntRange(0, 9).Draw(t, "b"),
			})
		}
		if err := obey(p); err != nil {
			t.Fatalf("%+v: %v", p, err)
		}
	})
}
