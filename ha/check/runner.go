package check

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"time"
)

// Item is one check that a Runner is to ask.
type Item struct {
	Name   string // unique in the Runner: "dns/named answers"
	Policy Policy
	Spec   Spec
	Start  State // Unknown, or what a predecessor knew (see Track)
	Off    bool  // not asked until Enable
}

// Status is what is known of a check.
type Status struct {
	Name   string
	Kind   string
	On     bool // it is asked
	State  State
	Since  time.Time     // when the state began, in the Runner's clock
	Reason string        // why it is not green, or what was wrong with the last answer; one line
	Passes int           // good answers in a row
	Fails  int           // bad ones
	Asked  time.Time     // when the last answer came; zero: none yet
	Took   time.Duration // from that question to its answer
}

// Errors of Runner.
var (
	ErrExists  = errors.New("a check of that name is there already")
	ErrUnknown = errors.New("no check of that name")
	ErrEnded   = errors.New("the checks have ended")
)

// Bounds of the schedule.
const (
	firstWithin = 500 * time.Millisecond // all checks are asked once so soon after their beginning
	// beat is what times are rounded to, so that checks share wake-ups: to wake a process costs several times what a question does (a hundred
	// checks a second: 2.7 % of a processor one by one, see BenchmarkHundredChecks).
	beat  = 100 * time.Millisecond
	slack = 5 * time.Millisecond // checks due so close together share one wake-up
	// heldUp is how late a wake-up may be before it proves that this process, or the machine, stood still: an answer that is missing then says
	// nothing of whom it was asked.
	heldUp = 500 * time.Millisecond
	// stuckAfter is how long after its timeout a probe may go on before that counts as an answer.
	stuckAfter = time.Second
)

const notAsked = "not asked on this node at present"

// Runner asks checks, each in its own time. Run owns every goroutine; no check waits for another, and nothing waits for whoever reads the
// results.
type Runner struct {
	env   Env
	now   func() time.Time
	wake  chan struct{} // to the loop of Run
	news  chan struct{}
	under sync.WaitGroup // questions under way

	mu      sync.Mutex
	entries map[string]*entry
	fresh   map[string]bool // names whose state changed since Take
	ended   bool
}

// entry is one check in a Runner. Its fields belong to Runner.mu.
type entry struct {
	item    Item
	probe   Probe
	track   Track
	on      bool
	epoch   int // grows when answers to questions asked before no longer count
	asking  bool
	removed bool      // closed when no question is under way
	began   time.Time // of the question under way
	overdue time.Time // when a question under way counts as failed although its probe has not come back
	glanced int       // answers in a row that were glances
	held    bool      // this process stood still while the question was under way
	asked   time.Time
	took    time.Duration
}

// NewRunner gives a Runner that measures in now's clock, CLOCK_BOOTTIME for an agent; it starts nothing.
func NewRunner(env Env, now func() time.Time) *Runner {
	return &Runner{env: env, now: now, wake: make(chan struct{}, 1), news: make(chan struct{}, 1), entries: map[string]*entry{},
		fresh: map[string]bool{}}
}

// Add takes a check on. It is asked first within half a second of this, or of Run's beginning.
func (r *Runner) Add(it Item) error {
	if err := errors.Join(it.Policy.Validate(), it.Spec.Validate()); err != nil {
		return fmt.Errorf("add check %q: %w", it.Name, err)
	}
	p, err := it.Spec.Probe(r.env)
	if err != nil {
		return fmt.Errorf("add check %q: %w", it.Name, err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	err = ErrEnded
	if !r.ended {
		if _, there := r.entries[it.Name]; !there {
			e := &entry{item: it, probe: p, on: !it.Off, track: newTrack(it, r.now())}
			r.entries[it.Name] = e
			if pu, ok := p.(Pusher); ok {
				pu.Push(func() { r.push(e) })
			}
			ring(r.wake)
			return nil
		}
		err = ErrExists
	}
	p.Close()
	return fmt.Errorf("add check %q: %w", it.Name, err)
}

func newTrack(it Item, now time.Time) Track {
	first := now.Add(rand.N(min(it.Policy.Interval, firstWithin)))
	if it.Policy.Interval < 2*beat {
		return NewTrack(it.Policy, it.Start, now, first, 0)
	}
	return NewTrack(it.Policy, it.Start, now, first.Truncate(beat), rand.N(it.Policy.Interval).Truncate(beat))
}

// Remove forgets a check. A question under way is left to end by itself; its answer is dropped.
func (r *Runner) Remove(name string) error {
	return r.change(name, "remove", func(e *entry) {
		delete(r.entries, name)
		delete(r.fresh, name)
		e.removed = true
		if !e.asking {
			e.probe.Close()
		}
	})
}

// Enable has a check asked, or not: what is not asked is Unknown. Asked again, its first answer decides.
func (r *Runner) Enable(name string, on bool) error {
	return r.change(name, "enable", func(e *entry) {
		if e.on == on {
			return
		}
		e.on = on
		r.restart(e, 0)
	})
}

// Afresh forgets what is known of a check because its subject has just been started: it is asked at once, and again every HurryEvery until it
// is green or hurry has passed.
func (r *Runner) Afresh(name string, hurry time.Duration) error {
	return r.change(name, "begin afresh", func(e *entry) { r.restart(e, hurry) })
}

// AskNow asks a check out of turn.
func (r *Runner) AskNow(name string) error {
	return r.change(name, "ask", func(e *entry) { e.track.AskNow(r.now()) })
}

func (r *Runner) restart(e *entry, hurry time.Duration) {
	before, _, _ := e.track.State()
	e.epoch++
	e.track.Afresh(r.now(), hurry)
	if before != Unknown {
		r.tell(e)
	}
}

func (r *Runner) change(name, act string, f func(*entry)) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	e, ok := r.entries[name]
	if !ok {
		return fmt.Errorf("%s check %q: %w", act, name, ErrUnknown)
	}
	f(e)
	ring(r.wake)
	return nil
}

// push makes a check due because its probe heard something.
func (r *Runner) push(e *entry) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !e.removed && e.on {
		e.track.AskNow(r.now())
		ring(r.wake)
	}
}

// News is readable when Take has something to give. It holds one token however much happened: a reader who is late misses no state, only
// states in between.
func (r *Runner) News() <-chan struct{} { return r.news }

// Take gives the checks whose state changed since the last Take, by name.
func (r *Runner) Take() []Status {
	r.mu.Lock()
	defer r.mu.Unlock()
	var all []Status
	for name := range r.fresh {
		all = append(all, r.entries[name].status())
	}
	clear(r.fresh)
	return sorted(all)
}

// All gives every check, by name.
func (r *Runner) All() []Status {
	r.mu.Lock()
	defer r.mu.Unlock()
	all := make([]Status, 0, len(r.entries))
	for _, e := range r.entries {
		all = append(all, e.status())
	}
	return sorted(all)
}

func sorted(all []Status) []Status {
	slices.SortFunc(all, func(a, b Status) int { return strings.Compare(a.Name, b.Name) })
	return all
}

func (e *entry) status() Status {
	s := Status{Name: e.item.Name, Kind: e.item.Spec.Kind(), On: e.on, Asked: e.asked, Took: e.took}
	s.State, s.Since, s.Reason = e.track.State()
	s.Passes, s.Fails = e.track.InARow()
	if !e.on {
		s.Reason = notAsked
	}
	return s
}

// tell marks a check's state as new.
func (r *Runner) tell(e *entry) {
	if e.removed {
		return
	}
	r.fresh[e.item.Name] = true
	ring(r.news)
}

func ring(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default: // it rings already
	}
}

// begin asks a check in a goroutine of its own, which Run waits for.
func (r *Runner) begin(ctx context.Context, e *entry, now time.Time) {
	e.asking, e.held, e.began = true, false, now
	e.overdue = now.Add(e.item.Policy.Timeout + stuckAfter)
	e.track.Began(now)
	epoch := e.epoch
	r.under.Go(func() {
		ctx, cancel := context.WithTimeout(ctx, e.item.Policy.Timeout)
		err := e.probe.Ask(ctx)
		cancel()
		r.finish(e, epoch, err)
	})
}
