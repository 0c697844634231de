package vm

import (
	"sync"
	"time"
)

// hardTime is what the ladder needs for a guest that its own time did not end: a process that hangs, then quit, SIGTERM and SIGKILL.
const hardTime = hangTime + 3*rungTime

// leastShare is what a guest gets to shut down, however little time there is: an agent or a quick guest needs no more.
const leastShare = time.Second

// StopNeeds gives the time in which all guests have ended for certain, each using up its own time and every rung: along the longest chain
// of guests that wait for each other, and by as many at once as StopAll takes.
func StopNeeds(specs []*Spec) time.Duration { return stopNeeds(specs, 1) }

// stopNeeds is StopNeeds with part of each guest's own time.
func stopNeeds(specs []*Spec, part float64) time.Duration {
	later := Before(specs) // what starts before a guest stops after it
	byName := map[string]*Spec{}
	for _, s := range specs {
		byName[s.Name] = s
	}
	chains := map[string]time.Duration{}
	var chain func(s *Spec) time.Duration
	chain = func(s *Spec) time.Duration {
		if d, ok := chains[s.Name]; ok {
			return d
		}
		var rest time.Duration
		for _, d := range later[s.Name] {
			rest = max(rest, chain(byName[d.Name]))
		}
		chains[s.Name] = share(s, part) + hardTime + rest
		return chains[s.Name]
	}
	var longest, sum time.Duration
	for _, s := range specs {
		longest = max(longest, chain(s))
		sum += share(s, part) + hardTime
	}
	if len(specs) <= parallelStops {
		return longest
	}
	return sum/parallelStops + longest*(parallelStops-1)/parallelStops // Graham's bound for list scheduling (1966)
}

func share(s *Spec, part float64) time.Duration {
	return min(s.StopTimeout, max(leastShare, time.Duration(float64(s.StopTimeout)*part)))
}

// Shares gives each guest its time to shut down so that all have ended within total: its own stop_timeout if that fits, else the same
// part of it for everyone, but a second at least. fits is false when even that is too long.
func Shares(specs []*Spec, total time.Duration) (shares map[string]time.Duration, fits bool) {
	part := 1.0
	fits = true
	if stopNeeds(specs, part) > total {
		lo, hi := 0.0, 1.0
		fits = stopNeeds(specs, 0) <= total
		for range 30 {
			if mid := (lo + hi) / 2; stopNeeds(specs, mid) <= total {
				lo = mid
			} else {
				hi = mid
			}
		}
		part = lo
	}
	shares = map[string]time.Duration{}
	for _, s := range specs {
		shares[s.Name] = share(s, part)
	}
	return shares, fits
}

// Budget hands out the time until a deadline to guests as they begin to stop: what one did not use is there for those after it.
type Budget struct {
	deadline time.Time
	mu       sync.Mutex
	waiting  []*Spec
}

// NewBudget begins a budget for specs that ends at deadline.
func NewBudget(specs []*Spec, deadline time.Time) *Budget {
	return &Budget{deadline: deadline, waiting: specs}
}

// Share gives a guest that begins to stop at now its time.
func (b *Budget) Share(s *Spec, now time.Time) time.Duration {
	b.mu.Lock()
	defer b.mu.Unlock()
	shares, _ := Shares(b.waiting, b.deadline.Sub(now))
	var rest []*Spec
	for _, w := range b.waiting {
		if w.Name != s.Name {
			rest = append(rest, w)
		}
	}
	b.waiting = rest
	if d, ok := shares[s.Name]; ok {
		return d
	}
	return share(s, 0) // it was not expected
}
