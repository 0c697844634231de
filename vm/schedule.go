package vm

import (
	"fmt"
	"slices"
	"time"
)

// Dep is a guest that another one waits for.
type Dep struct {
	Name string
	Hard bool // by `after`: it has to be done; else it only has its turn earlier, however that ends
}

// Job is one guest of a Schedule.
type Job struct {
	Name    string
	Needs   []Dep         // of the same Schedule
	Delay   time.Duration // from when the last of its needs lets it go to its turn
	Await   bool          // it is done when it is ready; else when the act is
	Timeout time.Duration // how long it may take to be ready
	Outside bool          // nobody asked for it: it is only looked at, for those that need it
}

// Phase is how far a Job is.
type Phase int

// The phases, in their order.
const (
	PhaseWaits   Phase = iota // for its needs
	PhaseDelayed              // its delay runs
	PhaseQueued               // for a free slot
	PhaseActs                 // it is being started or stopped
	PhaseSettles              // it runs, and is not ready yet
	PhaseDone
	PhaseFailed
)

// Result is what became of a Job.
type Result struct {
	Err   error // why the act was not done
	Ready error // why it is not known to be ready, though the act was done
}

// Deed is what a Schedule wants done.
type Deed int

// The deeds.
const (
	DeedAct   Deed = iota // start or stop it; answer with EventActed
	DeedAwait             // wait until it is ready, at most until Until; answer with EventReady
)

// Effect is one thing to do now. The effects of one Step may be done side by side.
type Effect struct {
	Do    Deed
	Name  string
	Until time.Time
}

// Event is what happened.
type Event int

// The events.
const (
	EventTick      Event = iota // nothing but time has passed
	EventActed                  // an act is over
	EventReady                  // a wait for readiness is over
	EventInterrupt              // whoever asked wants no more: what has not begun does not begin
)

// Input is one event.
type Input struct {
	Event Event
	Name  string // of EventActed and EventReady
	Err   error
}

// job is a Job and how far it is.
type job struct {
	Job
	phase  Phase
	since  time.Time // of the phase
	until  time.Time // of PhaseDelayed and PhaseSettles
	result Result
}

// Schedule decides whose turn it is. It is a value of the past inputs and of the time that each Step is told: no clock, no goroutine.
type Schedule struct {
	jobs        []*job
	byName      map[string]*job
	free        int // slots
	interrupted error
}

// NewSchedule takes jobs without cycles, of which at most slots are acted on at once.
func NewSchedule(jobs []Job, slots int) *Schedule {
	s := &Schedule{byName: map[string]*job{}, free: slots}
	for _, j := range jobs {
		one := &job{Job: j}
		s.jobs = append(s.jobs, one)
		s.byName[j.Name] = one
	}
	return s
}

// Step takes what happened and gives what is to be done now.
func (s *Schedule) Step(now time.Time, in Input) []Effect {
	var effects []Effect
	j := s.byName[in.Name]
	switch {
	case in.Event == EventInterrupt:
		s.interrupted = in.Err
	case in.Event == EventActed && j != nil && j.phase == PhaseActs:
		s.free++
		switch {
		case in.Err != nil:
			j.end(now, Result{Err: in.Err})
		case !j.Await:
			j.end(now, Result{})
		case s.interrupted != nil:
			j.end(now, Result{Ready: &InterruptedError{Cause: s.interrupted}})
		default:
			j.enter(PhaseSettles, now)
			j.until = now.Add(j.Timeout)
			effects = append(effects, Effect{DeedAwait, j.Name, j.until})
		}
	case in.Event == EventReady && j != nil && j.phase == PhaseSettles:
		j.end(now, Result{Ready: in.Err})
	}
	for s.settle(now, &effects) {
	}
	return effects
}

// settle moves each job as far as it can go; true: something moved, and may have freed others.
func (s *Schedule) settle(now time.Time, effects *[]Effect) (moved bool) {
	for _, j := range s.jobs {
		was := j.phase
		if was < PhaseActs && s.interrupted != nil {
			j.end(now, Result{Err: &InterruptedError{Cause: s.interrupted}})
		}
		if j.phase == PhaseWaits {
			switch held, failed := s.needs(j); {
			case failed != nil:
				j.end(now, Result{Err: failed})
			case held == "":
				j.enter(PhaseDelayed, now)
				j.until = now.Add(j.Delay)
			}
		}
		if j.phase == PhaseDelayed && !now.Before(j.until) {
			j.enter(PhaseQueued, now)
		}
		if j.phase == PhaseQueued && s.free > 0 {
			s.free--
			j.enter(PhaseActs, now)
			*effects = append(*effects, Effect{Do: DeedAct, Name: j.Name})
		}
		moved = moved || j.phase != was
	}
	return moved
}

// needs gives the first of a job's needs that still holds it, or else why it cannot be done any more.
func (s *Schedule) needs(j *job) (held string, failed error) {
	for _, d := range j.Needs {
		need := s.byName[d.Name]
		switch {
		case need == nil:
		case d.Hard && need.phase == PhaseFailed:
			return "", &NeedError{Need: d.Name, Outside: need.Outside, Result: need.result}
		case held != "" || need.phase >= PhaseDone || !d.Hard && need.phase == PhaseSettles:
		default:
			held = d.Name
		}
	}
	return held, nil
}

func (j *job) enter(p Phase, now time.Time) { j.phase, j.since, j.until = p, now, time.Time{} }

func (j *job) end(now time.Time, r Result) {
	p := PhaseDone
	if r != (Result{}) {
		p = PhaseFailed
	}
	j.enter(p, now)
	j.result = r
}

// Next gives the moment in which Step has to be called with EventTick if nothing else happens before; zero: none.
func (s *Schedule) Next() (t time.Time) {
	for _, j := range s.jobs {
		if j.phase == PhaseDelayed && (t.IsZero() || j.until.Before(t)) {
			t = j.until
		}
	}
	return t
}

// Done reports whether nothing is left to do or to wait for.
func (s *Schedule) Done() bool {
	return !slices.ContainsFunc(s.jobs, func(j *job) bool { return j.phase < PhaseDone })
}

// Results gives what became of each job, in their order.
func (s *Schedule) Results() []Result {
	all := make([]Result, len(s.jobs))
	for i, j := range s.jobs {
		all[i] = j.result
	}
	return all
}

// JobView is a job as people see it.
type JobView struct {
	Name  string
	Phase Phase
	Since time.Time // of the phase
	Until time.Time // of PhaseDelayed and PhaseSettles
	Held  string    // of PhaseWaits: the guest that it waits for
}

// View shows how far each job is, in their order.
func (s *Schedule) View() []JobView {
	all := make([]JobView, len(s.jobs))
	for i, j := range s.jobs {
		all[i] = JobView{Name: j.Name, Phase: j.phase, Since: j.since, Until: j.until}
		if j.phase == PhaseWaits {
			all[i].Held, _ = s.needs(j)
		}
	}
	return all
}

// NeedError says that a guest was not started because one that it comes after does not run or is not ready.
type NeedError struct {
	Need    string
	Outside bool // it was not among those to be started
	Result  Result
}

func (e *NeedError) Error() string {
	switch {
	case e.Outside && e.Result.Err != nil:
		return fmt.Sprintf("%s, which it comes after, %v", e.Need, e.Result.Err)
	case e.Result.Err != nil:
		return fmt.Sprintf("%s, which it comes after, did not start", e.Need)
	}
	return fmt.Sprintf("%s, which it comes after, is not ready: %v", e.Need, e.Result.Ready)
}

// NotRunningError says of a guest that others need, and that nobody asked to start, that it does not run as it should.
type NotRunningError struct {
	State StateWord
	Note  string
}

func (e *NotRunningError) Error() string {
	what := "is " + string(e.State)
	if e.State == StateStopped || e.State == StateCrashed {
		what = "does not run"
	}
	if e.Note != "" && e.Note != "never started" {
		what += " (" + e.Note + ")"
	}
	return what
}
