package ha

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"kvmctl/ha/failover"
)

// carryOut does what a group's failover machine decided. What may wait goes to the group's worker; all else is done here and now.
func (a *Agent) carryOut(g *group, now time.Time, f failover.Effect) {
	switch f := f.(type) {
	case failover.Run:
		a.beginStep(g, f.Step)
	case failover.Cancel:
		g.worker.Cancel(f.ID)
	case failover.LeaseHold:
		a.stepDone(g, f.ID, a.hold(g))
	case failover.LeaseDrop:
		a.stepDone(g, f.ID, a.drop(g))
	case failover.Announce:
		a.announce(g, now)
	case failover.Transition:
		a.changedRole(g, f)
	case failover.Alert:
		a.alert(g, f)
	case failover.Reply:
		a.replied(f)
	case failover.Stopped:
		g.stopped, g.unclean = true, !f.Clean
	default: // Allow, Silence, Ready, Release
		a.direct(g, now, f)
	}
}

// hold adds a group's addresses; from now on the loop refreshes them.
func (a *Agent) hold(g *group) error {
	g.held = true
	a.wantClaims()
	for _, addr := range g.spec.Addresses {
		if err := a.Network.Take(g.home, addr); err != nil {
			return err
		}
	}
	return nil
}

// drop deletes them, and ends their refresh whether or not that succeeds: the kernel ends them, then.
func (a *Agent) drop(g *group) error {
	g.held = false
	a.wantClaims()
	var errs []error
	for _, addr := range g.spec.Addresses {
		errs = append(errs, a.Network.Drop(g.home, addr))
	}
	return errors.Join(errs...)
}

// Gratuitous ARP and unsolicited NA are sent so often: a frame may get lost, and nobody answers it.
const (
	announceTimes = 3
	announceEvery = 300 * time.Millisecond
)

// announce tells the network where they are, now and a few times again.
func (a *Agent) announce(g *group, now time.Time) {
	g.announces, g.announceAt = announceTimes, now
	a.announceAgain(g, now)
}

// announceAgain is one time of it.
func (a *Agent) announceAgain(g *group, now time.Time) {
	if g.announces == 0 || now.Before(g.announceAt) {
		return
	}
	if g.announces--; !g.held {
		g.announces = 0
		return
	}
	g.announceAt = now.Add(announceEvery)
	for _, addr := range g.spec.Addresses {
		a.degrade("announcement of "+addr.String(), a.Network.Announce(g.home, addr))
	}
}

// stepDone reports a step that was done at once.
func (a *Agent) stepDone(g *group, id uint64, err error) {
	if id == 0 {
		return
	}
	r := failover.Result{ID: id}
	if err != nil {
		r.Outcome, r.Why = failover.Failed, oneLine(err)
	}
	a.push(g, r)
}

// stepEnded reports a step that the worker has ended.
func (a *Agent) stepEnded(_ time.Time, r result) {
	g := a.group(r.group)
	if g == nil || g.worker != r.by {
		return // a reload has taken it away, or begun it anew
	}
	a.restarted(g, r.id)
	out := failover.Result{ID: r.id}
	switch {
	case errors.Is(r.err, errActTimeout) && !errors.Is(r.err, errTaken):
		out.Outcome, out.Why = failover.TimedOut, oneLine(r.err)
	case r.err != nil:
		out.Outcome, out.Why = failover.Failed, oneLine(r.err)
	}
	if hint, ok := errors.AsType[interface {
		error
		Hint() string
	}](r.err); ok {
		out.Command = hint.Hint()
	}
	a.Log.Debug("step ended", "group", r.group, "id", r.id, "step", r.name, "outcome", out.Outcome, "reason", out.Why, "took", r.took)
	a.push(g, out)
}

// changedRole writes the one line of a change of role.
func (a *Agent) changedRole(g *group, t failover.Transition) {
	r := Record{Node: a.Spec.Node, Group: g.spec.Name, From: t.From.String(), To: t.To.String(), Event: t.Event.String(), Cause: t.Cause, Facts: t.Facts}
	if t.To == failover.Waiting {
		r.Reason = t.Reason.String()
	}
	a.Log.Info("role", "group", r.Group, "from", r.From, "to", r.To, "reason", r.Reason, "event", r.Event, "cause", r.Cause, "vhid", g.spec.VHID)
	if a.Journal != nil {
		a.Journal.Record(r)
	}
	if t.To == failover.Active {
		g.moves++
		a.activeChecks(g, true) // an order without "checks" has not begun them
	}
	a.watchUnits(g, t.To == failover.Active)
	if t.To != failover.Active && t.To != failover.Promoting {
		a.activeChecks(g, false) // what they ask runs on the active node only
	}
	if err := a.tell("STATUS=" + a.oneLine()); err != nil {
		a.degrade("notify", err)
	}
}

// alert passes on what people should know.
func (a *Agent) alert(g *group, t failover.Alert) {
	a.Log.Warn("alert", "group", g.spec.Name, "kind", t.Kind, "subject", t.Subject, "name", t.Name, "facts", strings.Join(t.Facts, "; "), "command", t.Command)
	key := alarmKey{t.Subject, t.Name}
	switch t.Kind {
	case failover.AlertFirst, failover.AlertReminder:
		g.alarms[key] = t
	case failover.AlertEnd:
		delete(g.alarms, key)
	case failover.AlertNotice:
	}
	if a.Voices != nil {
		a.Voices.Say(a.Spec, g.spec, t)
	}
}

// oneLine gives an error of bounded length on one line.
func oneLine(err error) string {
	const most = 400
	line := make([]rune, 0, 64)
	for _, r := range err.Error() {
		if r < ' ' || r == 0x7f {
			r = ' '
		}
		if line = append(line, r); len(line) >= most {
			return string(line) + "…"
		}
	}
	return string(line)
}

// oneLine sums the groups up for the service manager.
func (a *Agent) oneLine() string {
	roles := map[failover.Role]int{}
	for _, g := range a.groups {
		roles[g.fo.Status().Role]++
	}
	line := fmt.Sprintf("%d groups", len(a.groups))
	if len(a.groups) == 1 {
		line = "1 group"
	}
	for r := failover.Starting; r <= failover.Stuck; r++ {
		if roles[r] > 0 {
			line += fmt.Sprintf(", %d %s", roles[r], r)
		}
	}
	return line
}
