package check

import (
	"errors"
	"time"
)

// State is what a check says of its subject.
type State int

// The states.
const (
	Unknown State = iota // not asked yet, or nothing that can be asked answers
	Green                // works
	Red                  // does not
)

// String is the word for people and for JSON.
func (s State) String() string {
	switch s {
	case Unknown:
		return "unknown"
	case Green:
		return "green"
	case Red:
		return "red"
	}
	return "invalid"
}

// MarshalText implements encoding.TextMarshaler.
func (s State) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// Policy is when a check is asked and how many answers decide.
type Policy struct {
	Interval time.Duration // from the beginning of one question to that of the next
	Timeout  time.Duration // for one answer
	Fall     int           // so many bad answers in a row make it red, at least 1
	Rise     int           // so many good ones make it green again, at least 1
}

// Errors of Policy.Validate.
var (
	errInterval = errors.New("interval must be more than 0")
	errTimeout  = errors.New("timeout must be more than 0")
	errFall     = errors.New("fall must be at least 1")
	errRise     = errors.New("rise must be at least 1")
)

// Validate says what is wrong with a policy.
func (p Policy) Validate() error {
	var all []error
	for _, c := range []struct {
		bad bool
		err error
	}{{p.Interval <= 0, errInterval}, {p.Timeout <= 0, errTimeout}, {p.Fall < 1, errFall}, {p.Rise < 1, errRise}} {
		if c.bad {
			all = append(all, c.err)
		}
	}
	return errors.Join(all...)
}

// Verdict is what one answer says.
type Verdict int

// The verdicts.
const (
	Pass    Verdict = iota // it works
	Fail                   // it does not, this time
	Certain                // it does not, and that is a fact rather than a missing answer: a process that ended. Decides without Fall
	NoIdea                 // nothing was learned of the subject: systemd itself does not answer
)

// Answer is the outcome of one question.
type Answer struct {
	Verdict Verdict
	Reason  string // one line; empty for Pass
}

// Track is the pure state of one check: which answers came in a row, what they mean, and when to ask next.
//
// From Unknown the first answer decides, good or bad: at that time nobody relies on the subject, so waiting for Fall bad answers would only
// let a node with a dead service take a group for Fall intervals, and waiting for Rise good ones would delay every start for nothing. An
// agent that takes over from its own predecessor (an upgrade) gives the state that this had, and a single bad answer then decides nothing.
type Track struct {
	policy Policy
	state  State
	since  time.Time
	reason string // of the last answer that was no Pass, while that matters
	passes int    // in a row
	fails  int    // in a row
	next   time.Time
	shift  time.Duration // taken off the interval after the first question
	hurry  time.Time     // until then it is asked every HurryEvery, and one Pass is enough
	asked  time.Time     // the question under way, or the last one
	failed failure       // the last that counted
}

// failure is when a question was asked and when it failed.
type failure struct{ asked, at time.Time }

// HurryEvery is the interval of a check whose subject has just been started.
const HurryEvery = 100 * time.Millisecond

// NewTrack gives the track of a check that is to be asked first at first, and then again an interval less shift later: many checks that
// begin together are asked at their own times from then on.
func NewTrack(p Policy, start State, now, first time.Time, shift time.Duration) Track {
	t := Track{policy: p, state: start, since: now, next: first, shift: shift}
	if start == Red {
		t.reason = "red before, and not asked since"
	}
	return t
}

// Next is when to ask.
func (t *Track) Next() time.Time { return t.next }

// Began notes that a question is under way since now. Questions keep their own grid: one that was late does not shift the others, and
// those that were missed are not made up for.
func (t *Track) Began(now time.Time) {
	t.asked = now
	if t.hurrying(now) {
		t.next = now.Add(min(HurryEvery, t.policy.Interval))
		return
	}
	t.next = t.next.Add(t.policy.Interval - t.shift)
	t.shift = 0
	if late := now.Sub(t.next); late >= 0 {
		t.next = t.next.Add(late/t.policy.Interval*t.policy.Interval + t.policy.Interval)
	}
	// After a hurry, or a question out of turn, the grid may lie almost an interval ahead at most.
	if ahead := t.next.Sub(now); ahead > t.policy.Interval+slack {
		t.next = now.Add(t.policy.Interval)
	}
}

// AskNow makes the check due at now: something was pushed.
func (t *Track) AskNow(now time.Time) {
	if t.next.After(now) {
		t.next = now
	}
}

// Afresh forgets everything, for a subject that has just been started: it is asked at now, and until now+hurry every HurryEvery until it is
// green. In that time bad answers leave it Unknown: it may need a moment.
func (t *Track) Afresh(now time.Time, hurry time.Duration) {
	*t = Track{policy: t.policy, state: Unknown, since: now, reason: "started, not asked yet", next: now}
	if hurry > 0 {
		t.hurry = now.Add(hurry)
	}
}

func (t *Track) hurrying(now time.Time) bool { return now.Before(t.hurry) }

// Take counts an answer and reports whether the state changed.
func (t *Track) Take(now time.Time, a Answer) (changed bool) {
	before := t.state
	switch a.Verdict {
	case Pass:
		t.fails, t.passes = 0, t.passes+1
		if t.state == Unknown || t.passes >= t.policy.Rise {
			t.state, t.reason, t.hurry = Green, "", time.Time{}
		}
	case Fail, Certain:
		t.passes, t.reason = 0, a.Reason
		if t.counts(now) {
			t.fails, t.failed = t.fails+1, failure{t.asked, now}
		}
		switch {
		case t.hurrying(now):
		case t.state == Unknown, a.Verdict == Certain, t.fails >= t.policy.Fall:
			t.state = Red
		}
	case NoIdea:
		t.reason = a.Reason // nothing is counted: an agent that cannot see does not move a service that may well run
	}
	if t.state == before {
		return false
	}
	t.since = now
	return true
}

// counts reports whether a failure is one more in the row. Fall is a number of intervals: a restart pushes three or four questions out of turn
// within milliseconds, and they are one.
func (t *Track) counts(now time.Time) bool {
	half := t.policy.Interval / 2
	return t.fails == 0 || t.asked.Sub(t.failed.asked) >= half || now.Sub(t.failed.at) >= half
}

// State gives the state, since when it holds, and the reason of the last answer that was not good ("" while nothing is wrong).
func (t *Track) State() (s State, since time.Time, reason string) { return t.state, t.since, t.reason }

// InARow gives how many good or bad answers came last, one of them 0.
func (t *Track) InARow() (passes, fails int) { return t.passes, t.fails }
