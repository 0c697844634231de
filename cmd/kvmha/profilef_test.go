package main

import (
	"context"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"kvmctl/ha/hatest"
)

// FAILOVER.md, profile F: two agents by heartbeats, each event endRuns times at random times. `make bench-ha` has the same beside keepalived.

// round is one run of an event: from has the address and to stands by. It gives what the bound is of, and who has the address in the end.
type round func(s *site, from, to *agent, r *rand.Rand) (took time.Duration, now, then *agent)

func TestProfileF(t *testing.T) {
	t.Parallel()
	const late = 100 * time.Millisecond // of a busy machine, in the middle of the runs
	for _, cell := range []struct {
		name string
		tick bool
		most time.Duration // the median
		dual bool          // both have the address by the nature of the event
		run  round
	}{
		{"machine crashes", false, 2900*time.Millisecond + late, false, func(s *site, from, to *agent, _ *rand.Rand) (time.Duration, *agent, *agent) {
			return s.lost(from, to, from.node.Crash, func() error { from.start(); return from.node.Join() })
		}},
		{"agent is killed", true, 1600*time.Millisecond + late, false, func(s *site, from, to *agent, _ *rand.Rand) (time.Duration, *agent, *agent) {
			return s.lost(from, to, from.Kill, func() error { from.start(); return nil })
		}},
		{"agent hangs", true, 1600*time.Millisecond + late, false, func(s *site, from, to *agent, _ *rand.Rand) (time.Duration, *agent, *agent) {
			return s.lost(from, to, func() error { return from.Signal(unix.SIGSTOP) }, func() error { return from.Signal(unix.SIGCONT) })
		}},
		{"hand-over", false, 50 * time.Millisecond, false, (*site).handedOver},
		{"partition heals", true, 50*time.Millisecond + late, true, (*site).healed},
		{"standby is deaf", true, 50 * time.Millisecond, false, (*site).deafened},
	} {
		t.Run(cell.name, func(t *testing.T) {
			s := start(t)
			ctx, cancel := context.WithTimeout(t.Context(), 4*time.Minute)
			defer cancel()
			s.ctx = ctx
			random := phases(t)
			from, to := s.beating("")
			if cell.tick {
				from.ticks()
				to.ticks()
			}
			var all []time.Duration
			for i := range endRuns {
				r := random(i)
				<-time.After(within(r, time.Second)) // ten heartbeats, and two refreshes
				var took time.Duration
				took, from, to = cell.run(s, from, to, r)
				all = append(all, took.Round(time.Millisecond))
			}
			t.Log(all)
			slices.Sort(all)
			if median := (all[endRuns/2-1] + all[endRuns/2]) / 2; median > cell.most {
				t.Errorf("median %s, want at most %s", median, cell.most)
			}
			if !cell.dual {
				s.noDual()
			}
		})
	}
}

// lost takes a node from the other one until that has the address, and gives the time until the other answers.
func (s *site) lost(from, to *agent, event, back func() error) (time.Duration, *agent, *agent) {
	s.t.Helper()
	at := time.Now()
	s.must(event())
	took := s.answers(to.node.Name, at)
	to.role("active")
	s.must(back())
	from.role("standby")
	s.beatsAgain(from, to)
	s.held(to.node.Name)
	return took, to, from
}

// beatsAgain waits until two agents hear each other on both paths.
func (s *site) beatsAgain(agents ...*agent) {
	s.t.Helper()
	for _, x := range agents {
		s.must(hatest.Until(s.ctx, func() bool {
			st, err := x.status()
			return err == nil && st.Groups[0].Decides == "heartbeat" && st.Beat.Alive && st.Beat.Paths[0].Hears && st.Beat.Paths[1].Hears
		}))
	}
}

func (s *site) handedOver(from, to *agent, _ *rand.Rand) (time.Duration, *agent, *agent) {
	s.t.Helper()
	s.answers(from.node.Name, time.Now())
	at := time.Now()
	if out, err := from.ask("switch", "web"); err != nil {
		s.t.Fatalf("%v: %s", err, out)
	}
	s.answers(to.node.Name, at)
	to.role("active")
	from.role("standby")
	return s.probe.Answers().Outage(at, time.Now()), to, from
}

// healed parts the node that goes first from the other and from the client, on every path, and joins them again.
func (s *site) healed(from, to *agent, r *rand.Rand) (time.Duration, *agent, *agent) {
	s.t.Helper()
	s.must(from.node.Cut())
	s.run(from.node.Name, "ip", "link", "set", "eth1", "down")
	to.role("active")
	s.answers(to.node.Name, time.Now())
	<-time.After(within(r, 300*time.Millisecond))
	at := time.Now()
	s.must(from.node.Join())
	s.run(from.node.Name, "ip", "link", "set", "eth1", "up")
	s.answers(from.node.Name, at)
	s.held(from.node.Name)
	to.role("standby")
	s.beatsAgain(from, to)
	return s.probe.Answers().Outage(at, time.Now()), from, to
}

// deafened cuts off the node that stands by, whose other path lives, for as long as it would take to take over.
func (s *site) deafened(from, to *agent, r *rand.Rand) (time.Duration, *agent, *agent) {
	s.t.Helper()
	at, stayed := time.Now(), stays(from, to)
	s.must(to.node.Cut())
	<-time.After(2*time.Second + within(r, 300*time.Millisecond))
	stayed()
	s.must(to.node.Join())
	to.role("standby")
	s.beatsAgain(from, to)
	s.answers(from.node.Name, time.Now())
	return s.probe.Answers().Outage(at, time.Now()), from, to
}
