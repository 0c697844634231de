package right

import (
	"strings"
	"testing"

	"kvmctl/ha/arbiter"
)

// each gives our decisions about what change makes of a situation.
func each(change func(*Situation)) rules {
	r := ours()
	r.promote = func(s Situation) Verdict { change(&s); return MayPromote(s) }
	r.stay = func(s Situation) Verdict { change(&s); return MayStayAlone(s) }
	return r
}

// TestEachRuleIsNeeded takes one rule away at a time, and finds what it prevents. Rules that are missing here are second lines: taken away by themselves they
// break nothing. They are who asks itself does not let go, a target is paired before its resync, who hears that its peer went on alone waits.
func TestEachRuleIsNeeded(t *testing.T) {
	for _, tc := range []struct {
		name   string
		alone  string
		broken string // how the invariant begins
		rules  func() rules
		more   func(*config)
	}{
		{"nobody is promoted on a disk that is not UpToDate", "fence", "S2", func() rules {
			return each(func(s *Situation) { s.Disk = UpToDate })
		}, nil},
		{"paired waits when it boots", "a", "S", func() rules {
			return each(func(s *Situation) {
				if s.Own.State == Paired && s.Last.State == Unwritten {
					s.Own.State, s.Own.N = Alone, max(1, s.Own.N)
				}
			})
		}, nil},
		{"who was not connected until the loss asks nobody", "fence", "S", func() rules {
			return each(func(s *Situation) { s.BothUpToDate, s.Last = true, s.Own })
		}, nil},
		{"who was not connected until the loss is not helped by its name", "a", "S", func() rules {
			return each(func(s *Situation) { s.BothUpToDate, s.Last = true, s.Own })
		}, nil},
		{"equals have the same number", "fence", "S", func() rules {
			return each(func(s *Situation) { s.Last.N = s.Own.N })
		}, nil},
		{"the source is paired before its target is an equal", "fence", "S", func() rules {
			return each(func(s *Situation) {
				if s.Last.State == Alone && s.Last.N == s.Own.N {
					s.Last.State = Paired
				}
			})
		}, nil},
		{"an answer to an earlier request counts for nothing (fence)", "fence", "S", func() rules {
			return each(func(s *Situation) { s.InFlight = s.Licence.Request })
		}, nil},
		{"an answer to an earlier request counts for nothing (arbiter)", "arbiter", "S", func() rules {
			return each(func(s *Situation) { s.InFlight, s.Licence.N = s.Licence.Request, s.Own.N+1 })
		}, nil},
		{"an answer for an earlier number counts for nothing", "fence", "S", func() rules {
			return each(func(s *Situation) { s.Licence.N = s.Own.N + 1 })
		}, nil},
		{"a fence is no licence for the one that is not named", "a", "S", func() rules {
			return each(func(s *Situation) {
				if s.Alone.Node != s.Node {
					s.Alone = AloneBy{Who: ByFence}
				}
			})
		}, nil},
		{"a fence is no licence beside an arbiter", "arbiter", "S", func() rules {
			return each(func(s *Situation) {
				if s.Node == "b" {
					s.Alone = AloneBy{Who: ByFence}
				}
			})
		}, nil},
		{"the name of the other one is no licence", "a", "S1", func() rules {
			return each(func(s *Situation) { s.Alone.Node = s.Node })
		}, nil},
		{"nobody goes on by silence", "fence", "S1", func() rules {
			return each(func(s *Situation) {
				if s.InFlight != (arbiter.ID{}) {
					s.Licence = Licence{Fence, s.InFlight, s.Own.N + 1}
				}
			})
		}, nil},
		{"the two files agree", "a", "S1", func() rules {
			return each(func(s *Situation) { s.Agreed = true })
		}, func(c *config) { c.alone = [2]string{"a", "b"} }},
		{"the right is on the disk first", "a", "S2", func() rules {
			return unwritten()
		}, nil},
		{"an active node does not let go", "fence", "S", func() rules {
			r := ours()
			r.yield = func(s Situation, n uint64) Verdict { s.Active = false; return MayYield(s, n) }
			return r
		}, nil},
		{"who went on alone does not let go", "a", "S", func() rules {
			r := ours()
			r.yield = func(s Situation, n uint64) Verdict {
				if s.Own.State == Alone {
					s.Own.State = Paired
				}
				return MayYield(s, n)
			}
			return r
		}, nil},
		{"a let-go is written down", "arbiter", "S", func() rules {
			r := ours()
			r.yield = func(s Situation, n uint64) Verdict { v := MayYield(s, n); v.Write = nil; return v }
			return r
		}, nil},
		{"records are paired only while connected", "arbiter", "S", func() rules {
			r := ours()
			r.lonelyMeet = true
			return r
		}, nil},
		{"of two that went on alone, the one that is not active gives its right up", "a", "S1", func() rules {
			r := ours()
			r.meet = func(s Session) Meeting {
				m := Meet(s)
				if m.Split {
					m.Write = nil
				}
				return m
			}
			return r
		}, func(c *config) { c.person = true }},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			c := config{alone: [2]string{tc.alone, tc.alone}, maxFaults: 2, maxN: 3}
			if tc.more != nil {
				tc.more(&c)
			}
			f := search(c, tc.rules(), most)
			if f.trace == nil {
				t.Fatalf("nothing breaks in %d states", f.states)
			}
			if got := f.trace[len(f.trace)-1]; !strings.HasPrefix(got, tc.broken) {
				t.Errorf("%s, not %s", got, tc.broken)
			}
			t.Logf("%d states: %s", f.states, strings.Join(f.trace, "; "))
		})
	}
}

// unwritten goes on without what has to be written first.
func unwritten() rules {
	drop := func(v Verdict) Verdict { v.Write = nil; return v }
	r := ours()
	r.promote = func(s Situation) Verdict { return drop(MayPromote(s)) }
	r.stay = func(s Situation) Verdict { return drop(MayStayAlone(s)) }
	return r
}
