package ha

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"kvmctl/ha/carp"
	"kvmctl/ha/failover"
)

// ask brings a request to the loop and its answer back.
func (a *Agent) ask(ctx context.Context, r Request) Reply {
	q := asked{r, make(chan Reply, 1)}
	late := time.After(controlWait)
	select {
	case a.asks <- q:
	case <-late:
		return Reply{Error: "the agent's loop does not turn"}
	case <-ctx.Done():
		return Reply{Error: "the agent ends"}
	}
	switch r.Verb {
	case VerbSwitch:
		late = time.After(SwitchWait)
	case VerbFencePeer, VerbUnfence, VerbBeforeResync, VerbSplitBrain, VerbConfirmDead, VerbResolve:
		late = time.After(verbWait + controlWait)
	}
	select {
	case out := <-q.reply:
		return out
	case <-late:
		if r.Verb == VerbSwitch {
			return Reply{Error: "it is not handed over after " + SwitchWait.String(), Hint: "kvmha status"}
		}
		return Reply{Error: "the agent's loop does not turn"}
	case <-ctx.Done():
		return Reply{Error: "the agent ends"}
	}
}

// answer carries out a request, or has a group's machine answer it later.
func (a *Agent) answer(besides context.Context, now time.Time, q asked) {
	groups, err := a.named(q.Groups)
	if err != nil {
		q.reply <- Reply{Usage: true, Error: err.Error(), Hint: "kvmha status"}
		return
	}
	if q.Verb != VerbStatus {
		a.Log.Info("asked", "verb", q.Verb, "groups", strings.Join(q.Groups, " "), "on", q.On, "by", q.Who)
	}
	switch q.Verb {
	case VerbStatus:
		s := a.status(now, groups)
		q.reply <- Reply{Status: &s}
	case VerbMaintenance:
		for _, g := range groups {
			a.maintain(g, q.On)
		}
		q.reply <- Reply{}
	case VerbSwitch:
		if len(groups) != 1 {
			q.reply <- Reply{Error: "one group is switched at a time", Hint: "kvmha switch <group>"}
			return
		}
		a.push(groups[0], failover.Switch{ID: a.wish(groups[0], q)})
	case VerbFencePeer, VerbUnfence, VerbBeforeResync, VerbSplitBrain, VerbConfirmDead, VerbResolve:
		a.beside.Go(func() { a.askStorage(besides, q) })
	case VerbReload:
		a.reload(besides, now, &q)
	case VerbRestart:
		a.askRestart(besides, now, &q)
	default:
		q.reply <- Reply{Error: fmt.Sprintf("nobody here knows %q", q.Verb)}
	}
}

// maintain notes a person's wish that a group stays out.
func (a *Agent) maintain(g *group, on bool) {
	g.maintenance = on
	a.push(g, failover.Maintenance{On: on})
}

// wish is a request that a group's machine answers.
type wish struct {
	asked
	g *group
}

// wish numbers a request.
func (a *Agent) wish(g *group, q asked) uint64 {
	a.lastWish++
	a.wishes[a.lastWish] = wish{q, g}
	return a.lastWish
}

// dropWishes answers what a group that ends was asked for and leaves open.
func (a *Agent) dropWishes(g *group) {
	for id, w := range a.wishes {
		if w.g == g {
			delete(a.wishes, id)
			w.reply <- Reply{Error: "the group ends here", Hint: "kvmha status"}
		}
	}
}

// replied passes on what a machine answered.
func (a *Agent) replied(r failover.Reply) {
	q, ok := a.wishes[r.ID]
	if !ok {
		return
	}
	delete(a.wishes, r.ID)
	out := Reply{Refused: r.Refused, Passing: r.Passing}
	if r.Refused || r.Failed {
		out.Error, out.Hint = r.Why, "kvmha status"
	}
	q.reply <- out
}

// named gives the groups of these names, or all.
func (a *Agent) named(names []string) ([]*group, error) {
	if len(names) == 0 {
		return slices.Clone(a.groups), nil
	}
	var all []*group
	for _, n := range names {
		g := a.group(n)
		if g == nil {
			return nil, fmt.Errorf("there is no group %q", n)
		}
		if !slices.Contains(all, g) {
			all = append(all, g)
		}
	}
	return all, nil
}

// status describes the agent and some of its groups.
func (a *Agent) status(now time.Time, groups []*group) Status {
	s := Status{Node: a.Spec.Node, PID: os.Getpid(), Version: a.Version, Uptime: now.Sub(a.began).Seconds(), Loop: a.loop, Groups: []GroupStatus{},
		Peers: a.channel.status(now), Syncs: a.channel.syncStatus(), Arbiter: a.channel.witness.status()}
	for _, subject := range slices.Sorted(mapsKeys(a.broken)) {
		s.Degraded = append(s.Degraded, a.broken[subject])
	}
	if s.Beat = a.pulse.status(now); s.Beat != nil {
		s.Beat.Gateways = toldGateways(a.gateways)
	}
	checks := map[string]CheckStatus{}
	for _, c := range a.checks.All() {
		one := CheckStatus{State: c.State.String(), Reason: c.Reason}
		if !c.On { // it waits for nothing
			one.Reason = ""
		}
		checks[c.Name] = one
	}
	for _, g := range groups {
		s.Groups = append(s.Groups, g.status(now, checks))
	}
	return s
}

func mapsKeys[V any](m map[string]V) func(func(string) bool) {
	return func(yield func(string) bool) {
		for k := range m {
			if !yield(k) {
				return
			}
		}
	}
}

func (g *group) status(now time.Time, checks map[string]CheckStatus) GroupStatus {
	f, c := g.fo.Status(), g.carp.Facts()
	s := GroupStatus{
		Name: g.spec.Name, Interface: g.iface(), VHID: g.spec.VHID, Role: f.Role.String(), Since: now.Sub(f.Since).Seconds(), Cause: f.Cause,
		Alarms: f.Alerts, Missing: f.Missing, Moves: g.moves,
		CARP: CARPStatus{State: c.State.String(), Sent: c.Sent, Received: c.Received, Failed: c.Failed, Late: c.Late.Seconds()},
	}
	if s.Decides = "carp"; g.beaten {
		s.Decides = "heartbeat"
	}
	for reason, n := range c.Rejected {
		if n > 0 {
			if s.CARP.Rejected == nil {
				s.CARP.Rejected = map[string]uint64{}
			}
			s.CARP.Rejected[carp.Reason(reason).String()] = n
		}
	}
	if f.Role == failover.Waiting {
		s.Reason = f.Reason.String()
	}
	if !c.Heard.IsZero() {
		ago := now.Sub(c.Heard).Seconds()
		s.CARP.Peer, s.CARP.PeerSkew, s.CARP.Heard = c.Peer.From.String(), int(c.Peer.Advert.Skew), &ago
		s.Served = now.Sub(c.Heard) <= g.spec.carpConfig(g.station.IPv4).Dead() && !c.Peer.Advert.BowOut()
	}
	s.Served = s.Served || f.Role == failover.Active
	for _, alarm := range g.alarms {
		if alarm.Subject == failover.AboutNobody && alarm.Command != failover.StatusCommand(g.spec.Name) {
			s.Override = alarm.Command
		}
	}
	s.Mend = slices.Sorted(slices.Values(f.Mend))
	s.Mend = slices.Compact(s.Mend)
	if g.keeper != nil {
		standing := g.keeper.Standing()
		s.Storage = &standing
	}
	if g.maintenance {
		s.Override = failover.RetryCommand(g.spec.Name)
	}
	for _, addr := range g.spec.Addresses {
		s.Addresses = append(s.Addresses, AddressStatus{addr, g.held})
	}
	for _, k := range g.spec.Checks {
		one := checks[g.spec.CheckName(k)]
		one.Name = k.Name
		s.Checks = append(s.Checks, one)
	}
	return s
}
