package ha

import (
	"context"
	"slices"
	"time"

	"kvmctl/ha/failover"
	"kvmctl/ha/link"
)

// turnAtLeast is how often the loop turns although nothing is due: the gap between two turns is how it notices that it stood still.
const turnAtLeast = 250 * time.Millisecond

// turnUntil is the main loop. Nothing in it waits but the select.
func (a *Agent) turnUntil(ctx, besides context.Context) error {
	timer := time.NewTimer(0)
	defer timer.Stop()
	done := ctx.Done()
	for {
		var act func(now time.Time)
		select {
		case <-timer.C:
		case f := <-a.frames:
			act = func(now time.Time) { a.receive(now, f) }
		case b := <-a.heartbeat.heard:
			act = func(now time.Time) { a.beatHeard(now, b) }
		case e := <-a.links:
			act = func(now time.Time) { a.linksChanged(now, e) }
		case act = <-a.news:
		case r := <-a.results:
			act = func(now time.Time) { a.stepEnded(now, r) }
		case <-a.checks.News():
			act = a.takeChecks
		case <-a.units.News():
			act = a.takeUnits
		case q := <-a.asks:
			act = func(now time.Time) { a.answer(besides, now, q) }
		case r := <-a.looks:
			act = func(now time.Time) { a.looked(r); a.lookAgain(now) }
		case f := <-a.faults:
			act = func(time.Time) { a.degrade(f.subject, f.err) }
		case l := <-a.specs:
			act = func(now time.Time) { a.reloaded(now, l) }
		case <-a.Reload:
			act = func(now time.Time) { a.reload(besides, now, nil) }
		case <-a.Restart:
			act = func(now time.Time) { a.askRestart(besides, now, nil) }
		case <-done:
			done, act = nil, a.beginStop
		}
		now := a.Clock.Now()
		a.keepLeases(now) // first of all: a loop that stood still must not answer for an address any more
		if act != nil {
			act(now)
			a.settle(now)
		}
		a.runDue(now)
		a.follow(besides, now)
		a.settle(now)
		a.sendBeats(now)
		if a.end != nil {
			return ErrReplaced
		}
		if a.stopping && !slices.ContainsFunc(a.groups, func(g *group) bool { return !g.stopped }) {
			return nil
		}
		timer.Reset(max(0, a.next(now).Sub(a.Clock.Now())))
	}
}

// keepLeases refreshes what is due, and lets go of what the kernel may have let go of already.
func (a *Agent) keepLeases(now time.Time) {
	gap := a.freeze.Turn(now)
	a.loop.Turns++
	if s := gap.Seconds(); s > a.loop.Longest {
		a.loop.Longest = s
	}
	stood := gap >= link.TermsFor(0).Lifetime && gap >= link.TermsFor(len(a.Network.Held())).Lifetime
	lost, err := a.Network.Turn()
	a.degrade("refresh of the addresses", err) // it is tried again; past its lifetime an address comes back as lost
	if stood {
		a.frozen(gap)
	}
	a.atOnce(func() {
		for _, l := range lost {
			if g := a.holder(l.Interface, l.Addr); g != nil {
				a.Log.Warn("address lost", "group", g.spec.Name, "address", l.Addr, "reason", l.Why)
				a.lost(g, now, l, stood)
			}
		}
	})
	a.settle(now)
}

// lost tells a group, at once, of an address that it held; stood: it knows already that the agent stood still.
func (a *Agent) lost(g *group, now time.Time, l link.Lost, stood bool) {
	switch {
	case l.Why == link.Expired && stood:
	case l.Why == link.Expired:
		a.loop.Freezes++
		a.push(g, failover.Freeze{Gap: now.Sub(l.Since)})
	case l.Why == link.Gone:
		a.lookAt(g, now) // which comes first: without an interface there is nothing to put back
		fallthrough
	default:
		a.push(g, failover.AddressLost{Addr: l.Addr})
	}
}

// frozen has every group let go within this turn that is active, or on its way there or back: a peer may have taken over meanwhile, and the
// advert that is overdue would depose it.
func (a *Agent) frozen(gap time.Duration) {
	a.loop.Freezes++
	for _, g := range a.groups {
		a.push(g, failover.Freeze{Gap: gap})
	}
}

// looked judges a reading of the clocks.
func (a *Agent) looked(r Reading) {
	gap := a.freeze.Look(r)
	if gap < link.TermsFor(len(a.Network.Held())).Lifetime {
		return
	}
	a.Log.Warn("the machine stood still", "gap", gap)
	a.frozen(gap)
}

// runDue gives every machine whose time has come its turn.
func (a *Agent) runDue(now time.Time) {
	a.receiveAll(now) // a master whose advert lies here unread is not gone, however late the loop is
	for _, g := range a.groups {
		g.turn(a, now)
	}
	a.settle(now)
	a.judgeBeats(now)
	if a.Notifier == nil {
		return
	}
	if dog := a.Notifier.Watchdog(); dog > 0 && now.Sub(a.petted) >= dog/4 {
		a.petted = now
		if err := a.tell("WATCHDOG=1"); err != nil {
			a.degrade("watchdog", err)
		}
	}
}

// next is when the loop has to turn again, whatever happens until then.
func (a *Agent) next(now time.Time) time.Time {
	at := earlier(now.Add(turnAtLeast), a.Network.Next())
	for _, g := range a.groups {
		at = earlier(at, g.next())
	}
	return earlier(at, a.nextBeat(now))
}

// earlier gives the earlier of two times of which the zero one is none.
func earlier(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}

// push queues an input for a group's machine. Settle brings it there: a machine is never told anything while it decides.
func (a *Agent) push(g *group, in failover.Input) { a.queue = append(a.queue, event{g, in}) }

// maxSettle bounds the decisions that follow from one fact: more of them would be a machine that argues with itself.
const maxSettle = 10000

// settle lets the machines decide until nothing follows any more.
func (a *Agent) settle(now time.Time) {
	for n := 0; len(a.queue) > 0; n++ {
		e := a.queue[0]
		a.queue = a.queue[1:]
		if n > maxSettle {
			a.Log.Error("decisions without an end", "group", e.g.spec.Name, "input", e.in.String())
			a.queue = nil
			return
		}
		for _, f := range e.g.fo.Step(now, e.in) {
			a.carryOut(e.g, now, f)
		}
	}
	a.queue = nil
}
