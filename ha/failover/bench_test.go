package failover

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// began is the time at which every bench begins; CLOCK_BOOTTIME's own zero is as arbitrary.
var began = time.Unix(0, 0)

// answer is how the model executor ends a kind of step.
type answer struct {
	outcome Outcome
	why     string
	command string // what a person is to type
	takes   time.Duration
	hangs   bool // longer than its timeout: it is told to have timed out then
	dead    bool // it is never answered
}

// bench runs one machine in virtual time with a model executor, which does one step at a time as the real one does.
type bench struct {
	m       *Machine
	now     time.Time
	answers map[string]answer // by Step.act; "" for all others
	pending []Step            // of the executor, the first under way
	ends    time.Time         // when that one ends
	log     func(time.Duration, Effect)
	seen    func(Result) // before the machine is told of it
	all     []Effect
	steps   int // calls of Step
	most    int // effects of one Step
}

func newBench(cfg Config) *bench {
	return &bench{m: New(cfg, began), now: began, answers: map[string]answer{}}
}

// tell gives the machine an input and carries out what it answers, as far as that takes no time.
func (b *bench) tell(in Input) {
	queue := []Input{in}
	for len(queue) > 0 {
		if r, ok := queue[0].(Result); ok && b.seen != nil {
			b.seen(r)
		}
		effects := b.m.Step(b.now, queue[0])
		queue = queue[1:]
		b.steps++
		b.most = max(b.most, len(effects))
		for _, e := range effects {
			b.all = append(b.all, e)
			if b.log != nil {
				b.log(b.now.Sub(began), e)
			}
			switch e := e.(type) {
			case LeaseHold:
				queue = append(queue, b.lease(e.Step)...)
			case LeaseDrop:
				queue = append(queue, b.lease(e.Step)...)
			case Run:
				b.pending = append(b.pending, e.Step)
				if len(b.pending) == 1 {
					b.clock()
				}
			case Cancel:
				i := slices.IndexFunc(b.pending, func(s Step) bool { return s.ID == e.ID })
				if i >= 0 {
					b.pending = slices.Delete(b.pending, i, i+1)
					if i == 0 {
						b.clock()
					}
					queue = append(queue, Result{ID: e.ID, Outcome: Failed, Why: "cancelled"})
				}
			}
		}
		if len(queue) == 0 && len(b.pending) > 0 && !b.ends.After(b.now) {
			queue = append(queue, b.end())
		}
	}
}

func (b *bench) how(s Step) answer {
	if a, ok := b.answers[s.act()]; ok {
		return a
	}
	return b.answers[""]
}

func (b *bench) lease(s Step) []Input {
	a := b.how(s)
	if s.ID == 0 || a.dead {
		return nil
	}
	return []Input{Result{ID: s.ID, Outcome: a.outcome, Why: a.why, Command: a.command}}
}

// clock sets when the step under way ends.
func (b *bench) clock() {
	if len(b.pending) == 0 {
		return
	}
	s := b.pending[0]
	switch a := b.how(s); {
	case a.dead:
		b.ends = b.now.Add(1000 * time.Hour)
	case a.hangs:
		b.ends = b.now.Add(s.Timeout)
	default:
		b.ends = b.now.Add(a.takes)
	}
}

// end ends the step under way.
func (b *bench) end() Result {
	s := b.pending[0]
	b.pending = b.pending[1:]
	b.clock()
	a := b.how(s)
	if a.hangs {
		a.outcome = TimedOut
	}
	return Result{ID: s.ID, Outcome: a.outcome, Why: a.why, Command: a.command}
}

// advance lets time pass.
func (b *bench) advance(d time.Duration) error {
	until := b.now.Add(d)
	for range 100_000 {
		next := b.m.Next()
		step := len(b.pending) > 0 && (next.IsZero() || b.ends.Before(next))
		if step {
			next = b.ends
		}
		if next.IsZero() || next.After(until) {
			b.now = until
			return nil
		}
		if next.After(b.now) {
			b.now = next
		}
		if step {
			b.tell(b.end())
		} else {
			b.tell(Turn{})
		}
		if again := b.m.Next(); !again.IsZero() && !again.After(b.now) {
			return fmt.Errorf("at %v Next is %v, not after what it was just told, in %v", b.now.Sub(began), again.Sub(began), b.m.Status())
		}
	}
	return fmt.Errorf("never comes to rest")
}

// fit tells all facts of a node that nothing is wrong with.
func (b *bench) fit() {
	b.tell(Interface{true})
	b.tell(Carrier{true})
	for _, c := range b.m.cfg.Checks {
		if !c.ActiveOnly {
			b.tell(Checked{Name: c.Name, State: Green})
		}
	}
	for _, r := range b.m.cfg.Resources {
		b.tell(Disk{Name: r.Name, State: DiskUpToDate, PeerUpToDate: true})
	}
	if len(b.m.cfg.Resources) > 0 {
		b.tell(Right{State: RightYes})
	}
}

func (b *bench) String() string {
	var all []string
	for _, e := range b.all {
		all = append(all, e.String())
	}
	return strings.Join(all, "\n")
}
