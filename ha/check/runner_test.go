package check

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// model is a subject that answers as it is told to. It is its own Spec and Probe.
type model struct {
	mu      sync.Mutex
	err     error         // of the next answers
	takes   time.Duration // until an answer
	deaf    chan struct{} // not nil: Ask ignores its context until this is closed
	asked   []time.Time
	asking  int
	closed  int
	changed func()
	t       *testing.T
}

func (m *model) Kind() string             { return "model" }
func (m *model) Validate() error          { return nil }
func (m *model) Probe(Env) (Probe, error) { return m, nil }
func (m *model) Push(changed func())      { m.changed = changed }
func (m *model) set(err error)            { m.mu.Lock(); defer m.mu.Unlock(); m.err = err }
func (m *model) times() []time.Time       { m.mu.Lock(); defer m.mu.Unlock(); return m.asked }
func (m *model) closes() int              { m.mu.Lock(); defer m.mu.Unlock(); return m.closed }

func (m *model) Close() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.closed++
	if m.asking > 0 || m.closed > 1 {
		m.t.Errorf("closed %d times, %d questions under way", m.closed, m.asking)
	}
}

func (m *model) Ask(ctx context.Context) error {
	m.mu.Lock()
	m.asked = append(m.asked, time.Now())
	m.asking++
	if m.asking > 1 || m.closed > 0 {
		m.t.Errorf("%d questions at a time, closed %d times", m.asking, m.closed)
	}
	takes, deaf := m.takes, m.deaf
	m.mu.Unlock()
	var err error
	if deaf != nil {
		<-deaf
	} else {
		select {
		case <-time.After(takes):
		case <-ctx.Done():
			err = ctx.Err()
		}
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.asking--
	return errors.Join(err, m.err)
}

var second = Policy{Interval: time.Second, Timeout: time.Second, Fall: 3, Rise: 2}

// inBubble runs f with a Runner that is running, and ends it.
func inBubble(t *testing.T, f func(r *Runner)) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		r := NewRunner(Env{}, time.Now)
		done := make(chan error)
		go func() { done <- r.Run(ctx) }()
		f(r)
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		if err := r.Add(Item{Name: "late", Policy: second, Spec: &model{t: t}}); !errors.Is(err, ErrEnded) {
			t.Errorf("after the end: %v", err)
		}
	})
}

func add(t *testing.T, r *Runner, name string, m *model) *model {
	t.Helper()
	m.t = t
	if err := r.Add(Item{Name: name, Policy: second, Spec: m}); err != nil {
		t.Fatal(err)
	}
	return m
}

func get(t *testing.T, r *Runner, name string) Status {
	t.Helper()
	for _, s := range r.All() {
		if s.Name == name {
			return s
		}
	}
	t.Fatalf("no check %s", name)
	return Status{}
}

// states are what Take gives, as "name state".
func states(r *Runner) string {
	select {
	case <-r.News():
	default:
		return ""
	}
	var all []string
	for _, s := range r.Take() {
		all = append(all, fmt.Sprintf("%s %v", s.Name, s.State))
	}
	return strings.Join(all, ", ")
}

func TestRunnerAsksInTime(t *testing.T) {
	inBubble(t, func(r *Runner) {
		m := add(t, r, "a", &model{})
		time.Sleep(firstWithin + time.Millisecond)
		synctest.Wait()
		if got := states(r); got != "a green" {
			t.Errorf("first news %q", got)
		}
		time.Sleep(time.Hour - firstWithin)
		synctest.Wait()
		asked := m.times()
		if n := len(asked); n < 3600 || n > 3602 {
			t.Errorf("asked %d times in an hour", n)
		}
		for i, at := range asked[2:] {
			if d := at.Sub(asked[i+1]); d < time.Second-2*slack || d > time.Second+2*slack {
				t.Fatalf("question %d after %v", i+2, d)
			}
		}
		if got := states(r); got != "" {
			t.Errorf("news %q", got)
		}
	})
}

func TestRunnerTellsOfAFailureInThreeSecondsAndOfAFactAtOnce(t *testing.T) {
	for name, tt := range map[string]struct {
		err   error
		pushd bool
		least time.Duration
		most  time.Duration
	}{
		"three answers":  {errors.New("refused"), false, 2 * time.Second, 3*time.Second + 100*time.Millisecond},
		"a fact, pushed": {&CertainError{"ended"}, true, 0, time.Millisecond},
		"no fact":        {errors.New("deactivating"), true, time.Second, 3*time.Second + 100*time.Millisecond},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(r *Runner) {
				m := add(t, r, "a", &model{})
				time.Sleep(3300 * time.Millisecond)
				synctest.Wait()
				_ = states(r)
				m.set(tt.err)
				began := time.Now()
				if tt.pushd {
					m.changed()
				}
				<-r.News()
				if s := r.Take(); len(s) != 1 || s[0].State != Red || s[0].Reason != tt.err.Error() || !s[0].Since.Equal(time.Now()) {
					t.Errorf("news %+v", s)
				}
				if took := time.Since(began); took < tt.least || took > tt.most {
					t.Errorf("told after %v", took)
				}
			})
		})
	}
}

// One that ignores its context, one that is slow and one that never answers: the others, and the end of Run, do not wait for them.
func TestNoCheckBlocksAnother(t *testing.T) {
	inBubble(t, func(r *Runner) {
		deaf := make(chan struct{})
		add(t, r, "deaf", &model{deaf: deaf})
		add(t, r, "slow", &model{takes: 900 * time.Millisecond})
		add(t, r, "silent", &model{takes: time.Hour})
		var good []*model
		for i := range 100 {
			good = append(good, add(t, r, fmt.Sprintf("good %02d", i), &model{takes: time.Millisecond}))
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		for i, m := range good {
			asked := m.times()
			for k := 2; k < len(asked); k++ {
				if d := asked[k].Sub(asked[k-1]); d > time.Second+2*slack {
					t.Fatalf("good %02d: question %d after %v", i, k, d)
				}
			}
			if len(asked) < 60 {
				t.Errorf("good %02d: asked %d times", i, len(asked))
			}
		}
		if s := get(t, r, "slow"); s.State != Green || s.Took != 900*time.Millisecond {
			t.Errorf("slow: %+v", s)
		}
		if s := get(t, r, "silent"); s.State != Red || s.Reason != "context deadline exceeded" {
			t.Errorf("silent: %+v", s)
		}
		s := get(t, r, "deaf")
		if s.State != Red || !strings.Contains(s.Reason, "the check itself hangs") {
			t.Errorf("deaf: %+v", s)
		}
		close(deaf) // or Run would wait for ever, which is what its documentation says
	})
}

func TestRemoveWhileUnderWay(t *testing.T) {
	inBubble(t, func(r *Runner) {
		deaf := make(chan struct{})
		m := add(t, r, "a", &model{deaf: deaf})
		time.Sleep(firstWithin)
		synctest.Wait()
		if err := r.Remove("a"); err != nil {
			t.Fatal(err)
		}
		if err := r.Remove("a"); !errors.Is(err, ErrUnknown) {
			t.Errorf("again: %v", err)
		}
		second := add(t, r, "a", &model{}) // the name is free at once
		close(deaf)
		time.Sleep(firstWithin)
		synctest.Wait()
		if m.closes() != 1 || len(second.times()) < 1 || len(r.All()) != 1 {
			t.Errorf("closed %d, asked %d, %d checks", m.closes(), len(second.times()), len(r.All()))
		}
		if err := r.Add(Item{Name: "a", Policy: Policy{Interval: 1, Timeout: 1, Fall: 1, Rise: 1}, Spec: &model{t: t}}); !errors.Is(err, ErrExists) {
			t.Errorf("twice: %v", err)
		}
	})
}

func TestEnableAndAfresh(t *testing.T) {
	inBubble(t, func(r *Runner) {
		m := &model{t: t, err: errors.New("not yet")}
		if err := r.Add(Item{Name: "a", Policy: second, Spec: m, Off: true}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute)
		if s := get(t, r, "a"); s.On || s.State != Unknown || s.Reason != notAsked || len(m.times()) != 0 {
			t.Errorf("off: %+v", s)
		}
		if err := errors.Join(r.Enable("a", true), r.Afresh("a", 10*time.Second)); err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		time.Sleep(3 * time.Second)
		synctest.Wait()
		if s := get(t, r, "a"); s.State != Unknown || s.Reason != "not yet" || len(m.times()) < 28 {
			t.Errorf("in a hurry: %+v, asked %d times", s, len(m.times()))
		}
		m.set(nil)
		<-r.News()
		if s := r.Take(); s[0].State != Green || time.Since(began) > 3100*time.Millisecond {
			t.Errorf("green after %v: %+v", time.Since(began), s)
		}
		n := len(m.times())
		time.Sleep(10 * time.Second)
		if got := len(m.times()) - n; got < 10 || got > 11 {
			t.Errorf("asked %d times in the 10 s after", got)
		}
		if err := r.Enable("a", false); err != nil {
			t.Fatal(err)
		}
		if got := states(r); got != "a unknown" {
			t.Errorf("news %q", got)
		}
	})
}

// An answer to a question from before the restart says nothing of what was started.
func TestAnAnswerFromBeforeDoesNotCount(t *testing.T) {
	inBubble(t, func(r *Runner) {
		m := add(t, r, "a", &model{takes: 800 * time.Millisecond})
		time.Sleep(firstWithin + time.Millisecond)
		synctest.Wait() // it is under way
		if err := r.Afresh("a", 0); err != nil {
			t.Fatal(err)
		}
		m.set(&CertainError{"ended"})
		asked := len(m.times())
		time.Sleep(800 * time.Millisecond)
		synctest.Wait()
		if s := get(t, r, "a"); s.State != Unknown || asked != 1 || len(m.times()) != 2 {
			t.Errorf("%+v, asked %d", s, len(m.times()))
		}
	})
}

// clock is one that a test moves beside the bubble's: CLOCK_BOOTTIME after a suspend.
type clock struct {
	mu   sync.Mutex
	jump time.Duration
}

func (c *clock) now() time.Time { c.mu.Lock(); defer c.mu.Unlock(); return time.Now().Add(c.jump) }

// A machine that stood still for an hour makes nothing red: the answer that is missing then was not late.
func TestAFreezeMakesNothingRed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var c clock
		r := NewRunner(Env{}, c.now)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- r.Run(ctx) }()
		m := &model{t: t, takes: 900 * time.Millisecond}
		if err := r.Add(Item{Name: "a", Policy: Policy{time.Second, time.Second, 1, 1}, Spec: m}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(10 * time.Second)
		for n := len(m.times()); len(m.times()) == n; { // a question has just begun
			time.Sleep(time.Millisecond)
		}
		m.set(errors.New("cut off"))
		c.mu.Lock()
		c.jump = time.Hour
		c.mu.Unlock()
		time.Sleep(950 * time.Millisecond) // the question has ended badly, and the next one has not begun
		m.set(nil)
		synctest.Wait()
		if s := get(t, r, "a"); s.State != Green || !strings.Contains(s.Reason, "held up") {
			t.Errorf("%+v", s)
		}
		time.Sleep(2 * time.Second)
		synctest.Wait()
		if s := get(t, r, "a"); s.State != Green || s.Reason != "" {
			t.Errorf("later: %+v", s)
		}
		cancel()
		<-done
	})
}

// Whoever reads late, or never, delays no check.
func TestNobodyReads(t *testing.T) {
	inBubble(t, func(r *Runner) {
		m := add(t, r, "a", &model{})
		for range 50 {
			time.Sleep(5 * time.Second)
			m.mu.Lock()
			if m.err == nil {
				m.err = errors.New("no")
			} else {
				m.err = nil
			}
			m.mu.Unlock()
		}
		synctest.Wait()
		if n := len(m.times()); n < 249 {
			t.Errorf("asked %d times", n)
		}
		if got := states(r); !strings.HasPrefix(got, "a ") {
			t.Errorf("news %q", got)
		}
	})
}

func TestKinds(t *testing.T) {
	for _, k := range Kinds() {
		s, err := NewSpec(k)
		if err != nil || s.Kind() != k || (s.Validate() == nil) != (k == "pf") { // which has nothing to be set
			t.Errorf("%s: %v, %v", k, s, err)
		}
	}
	if _, err := NewSpec("nonsense"); err == nil {
		t.Error("nonsense is known")
	}
}
