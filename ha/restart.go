package ha

import (
	"context"
	"errors"
	"os"
	"strconv"
	"syscall"
	"time"

	"kvmctl/ha/carp"
	"kvmctl/ha/failover"
)

// errReading says that the file is being read for a restart already.
var errReading = errors.New("a restart is under way already")

// askRestart has the file read beside the loop before anything ends: a new program could begin nothing with one that has a mistake.
func (a *Agent) askRestart(besides context.Context, now time.Time, q *asked) {
	switch {
	case a.readsForRestart:
		a.refuseRestart(q, Reply{Refused: true, Error: errReading.Error(), Hint: "kvmha status"})
		return
	case a.Load == nil:
		a.beginRestart(now, q)
		return
	}
	a.readsForRestart = true
	a.beside.Go(func() {
		_, err := a.Load(besides)
		select {
		case a.news <- func(now time.Time) { a.looksRestartable(now, q, err) }:
		case <-besides.Done():
		}
	})
}

// looksRestartable begins the restart that was asked for, unless the file has a mistake.
func (a *Agent) looksRestartable(now time.Time, q *asked, err error) {
	a.readsForRestart = false
	if err != nil {
		a.degrade("configuration", err)
		a.refuseRestart(q, unusable(err))
		return
	}
	a.beginRestart(now, q)
}

// refuseRestart says why there is none.
func (a *Agent) refuseRestart(q *asked, r Reply) {
	a.Log.Warn("no restart in place", "reason", r.Error)
	if q != nil {
		q.reply <- r
	}
}

// beginRestart makes everything ready for the program that takes the agent over, unless a group moves at the moment.
func (a *Agent) beginRestart(now time.Time, q *asked) {
	refuse := func(why string) {
		a.refuseRestart(q, Reply{Refused: true, Error: why, Hint: "kvmha status, and again when no group moves"})
	}
	if a.stopping || a.wanted != nil {
		refuse("the agent is stopping, or takes a new file")
		return
	}
	h := &Handover{Version: handoverVersion, BootID: a.BootID, Made: bootAge(now), Began: bootAge(a.began), Restarts: a.loop.Restart, Control: -1, Node: savedSpecOf(a.Spec)}
	for _, g := range a.groups {
		r, ok := g.fo.Handover(bootAge)
		if !ok {
			refuse("group " + g.spec.Name + " moves at the moment: it is " + g.fo.Status().Role.String())
			return
		}
		c := g.carp.Handover(bootAge)
		h.Groups = append(h.Groups, groupHandover{Spec: saved(g.spec), Failover: r, CARP: &c, Maintenance: g.maintenance, Moves: g.moves, Heartbeat: g.beaten})
	}
	h.Held = a.Network.Held()
	h.Ports = a.keptPorts()
	if q != nil {
		q.reply <- Reply{}
	}
	if err := a.tell("RELOADING=1", a.monotonic()); err != nil {
		a.degrade("notify", err)
	}
	a.end = h
	if a.pulse != nil {
		a.pulse.next = now // it is told that silence may follow
	}
}

// keptPorts gives the CARP sockets to the next program. One that cannot be kept is opened anew there, and misses what is sent meanwhile.
func (a *Agent) keptPorts() (kept []portHandover) {
	for iface, p := range a.ports {
		socket, ok := p.Port.(interface{ File() (*os.File, error) }) // a model's is no file
		if !ok {
			continue
		}
		f, err := socket.File()
		var raw syscall.RawConn
		if err == nil {
			raw, err = f.SyscallConn()
		}
		if err == nil { // Fd would let the socket, which is still being read, block
			err = raw.Control(func(fd uintptr) { kept = append(kept, portHandover{iface, p.index, int(fd), f}) })
		}
		if err != nil {
			a.Log.Warn("keep the CARP socket", "interface", iface, "error", err)
		}
	}
	return kept
}

// Handover is what Run has left for the next program, when it gave ErrReplaced.
func (a *Agent) Handover() *Handover { return a.end }

// resumeAll puts the groups to where the program before had them, built from what it had read, and then has them follow the file of now as
// after a reload: whatever has changed meanwhile is let go by those who know what they hold.
func (a *Agent) resumeAll(besides context.Context, now time.Time) error {
	for _, h := range a.Resume.Groups {
		a.out[h.Spec.Name] = h.Maintenance
		if err := a.add(besides, h.Spec.spec(), now); err != nil {
			return err
		}
	}
	a.follows(a.Spec.Groups)
	return nil
}

// resume puts a group to where the program before had it: its addresses are there, and an advert is due at once.
func (a *Agent) resume(g *group, now time.Time) {
	for _, h := range a.Resume.Groups {
		if h.Spec.Name != g.spec.Name {
			continue
		}
		g.moves = h.Moves
		fo, effects := failover.Resume(g.spec.failoverConfig(), h.Failover, sinceBoot, now)
		g.fo = fo
		for _, e := range effects {
			if _, ready := e.(failover.Ready); ready {
				a.stepCARP(g, now, carp.Ready{Unelected: true})
				continue
			}
			a.carryOut(g, now, e)
		}
		if h.Failover.Active {
			g.held = true
			a.wantClaims()
			a.activeChecks(g, true)
			a.watchUnits(g, true)
		}
		return
	}
}

// resumeCARP lets a group's election go on where the program before had it.
func (a *Agent) resumeCARP(g *group) {
	if a.Resume == nil {
		return
	}
	for _, h := range a.Resume.Groups {
		if h.Spec.Name == g.spec.Name && h.CARP != nil {
			g.carp.Resume(*h.CARP, sinceBoot)
		}
	}
}

// monotonic is the line that sd_notify(3) wants beside RELOADING=1.
func (a *Agent) monotonic() string {
	return "MONOTONIC_USEC=" + strconv.FormatInt(a.Clock.Monotonic().Microseconds(), 10)
}

// dropOrphans deletes the addresses that the program before held and that no group of this one is about.
func (a *Agent) dropOrphans() {
	for _, h := range a.Network.Held() {
		if g := a.holder(h.Interface, h.Addr); g == nil || !g.held {
			a.degrade("address "+h.Addr.String(), a.Network.Drop(h.Interface, h.Addr))
		}
	}
}
