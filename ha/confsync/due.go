package confsync

import "time"

// again is how long a job that failed waits for its next try, at most.
const again = 5 * time.Minute

// Pace is what is known of when a job ran.
type Pace struct {
	Began   time.Time // the last try, by the clock that nobody sets; zero: there was none
	Failed  bool      // it did
	Mark    uint64    // the source's at the last try: it is another one after each change there
	Settled time.Time // the newest of the instants of At that is done with, by the wall clock; zero: not known
}

// Due tells why a job is to run now; empty: it is not. now is of the clock of Pace.Began, wall of the one on the wall; mark is the source's, and 0
// when it tells none.
func (j Job) Due(p Pace, now, wall time.Time, mark uint64) (why string) {
	since, tried := now.Sub(p.Began), !p.Began.IsZero()
	pause := again
	if j.Every > 0 {
		pause = min(pause, j.Every)
	}
	switch {
	case j.Every <= 0 && !j.At.Set && !j.OnChange:
		return ""
	case j.OnChange && mark != 0 && mark != p.Mark:
		return "a change on the source"
	case p.Failed && since < pause:
		return ""
	case p.Failed:
		return "the last try failed"
	case j.Every > 0 && (!tried || since >= j.Every):
		return "every " + j.Every.String()
	case j.At.Set && j.overdue(p, wall):
		return "at " + j.At.String()
	}
	return ""
}

// overdue reports whether the last instant of At is not done with. One that lies in the future was noted by a clock that went wrong, then or now.
func (j Job) overdue(p Pace, wall time.Time) bool {
	return p.Settled.Before(j.At.Last(wall)) || p.Settled.After(wall)
}

// Settle notes what a run that went well is good for, or that this node was the source at that instant. It reports whether that is news.
func (j Job) Settle(p *Pace, wall time.Time) bool {
	if !j.At.Set || !j.overdue(*p, wall) {
		return false
	}
	p.Settled = j.At.Last(wall)
	return true
}
