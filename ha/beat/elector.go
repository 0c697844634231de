package beat

import "time"

// How long the kernel may keep a leased address after the last heartbeat of an agent that is dead or hangs (lease.md).
const (
	LeaseBound     = 2400 * time.Millisecond
	LeaseBoundTick = 1300 * time.Millisecond // where kvmha-tick runs, too
)

// Peer is what a Session knows of the peer at one moment, and of one group there.
type Peer struct {
	Alive      bool      // heard, and hears this node
	Heard      time.Time // zero: never
	Since      time.Time // heard all the time from then on
	Mark       Mark      // of the datagram
	Echo       uint64    // the newest of this node's datagrams that it has seen
	Sent       uint64    // the newest of this node's
	Tick       bool
	Longer     time.Duration // its leases may last so much longer than those that LeaseBound is for: it has many addresses
	Restarting bool
	FirstOnTie bool // this node goes first where the skews are equal
	Behind     bool // this node went on alone with the group's storage, and the peer is not known to have done so too: this one goes first, whatever the skews
	Present    bool // it has the group
	Group      Group
}

func (p Peer) unfit() bool {
	return !p.Present || p.Group.Role == Waiting || p.Group.Role == Starting || p.Group.Role == Stuck
}

// Cause is why a group is to be active here.
type Cause int

// The causes.
const (
	HandedOver Cause = iota // the peer has let go of it, for this node
	Declined                // the peer did not take what this node has let go of
	Lot                     // both nodes stand by, and this one goes first
	Unfit                   // the peer is alive, and cannot serve
	Silence                 // the peer is silent on every path, for longer than its lease lasts
)

// String gives the word for logs.
func (c Cause) String() string {
	if c < HandedOver || c > Silence {
		return "unknown"
	}
	return [...]string{"handed over", "declined", "lot", "unfit", "silence"}[c]
}

// Verdict is what follows from a Step.
type Verdict struct {
	Elected *Cause // nil: nothing has changed
	Deposed string // why this node has to let go; empty: it has not
	Serving bool   // the peer has said once more that it is active
	Again   bool   // both are, were or may have been active, and this one stays: the network is told again where the addresses are
	Wanted  bool   // the peer goes first, stands by, and wants to take over
	Silent  bool   // the peer is silent on every path, for longer than a hiccup
	Fit     bool   // the peer is alive and stands by
}

// Elector decides on which of two nodes that hear each other's heartbeats one group is to be active. It is a value of its inputs.
//
// Whatever a node decides because of what the peer is (that it stands by, say) it decides on a datagram that answers one of its own, of the role
// that it has now. So two nodes cannot both take a group: the one whose answer is awaited has seen that the other may.
//
// Both have it in three cases that no heartbeat can help. Each is cut off from the other: until Fresh and Dead after that has ended. Only one is not
// heard: the other takes over, and until its word of that is there, one way of a datagram, both have the addresses, be the cut over by then or not.
// And one that dies or hangs unheard, or within Fresh of being heard again, has them as long as their lease lasts.
type Elector struct {
	skew uint8
	role Role
	from uint64    // the newest sequence of ours that was sent before role
	last time.Time // of the last Step
	wait time.Time // silence counts from here on: before, this node was not listening, or was not standing by

	released uint64
	answered uint64
	declined bool
	taking   uint64 // the peer's hand-over that a promote is under way for
	elected  time.Time
	seen     Mark
	both     bool
	apart    bool // active, and the peer is not alive: it may have taken over, and have let go of it by the time that it is heard
}

// NewElector begins in the role Starting.
func NewElector(skew uint8, now time.Time) *Elector {
	return &Elector{skew: skew, last: now, wait: now}
}

// Release says that this node has let go, and wants the peer to take over. It stands in every heartbeat until the peer has answered.
func (e *Elector) Release(now time.Time) { e.released = max(e.released+1, SequenceOf(now)) }

// Listen says that nothing was heard before now: a new Session begins.
func (e *Elector) Listen(now time.Time) { e.wait = now }

// Report gives the group's part of a datagram.
func (e *Elector) Report(id GroupID, role Role, reasons uint16, preempt bool) Group {
	return Group{ID: id, Role: role, Skew: e.skew, Reasons: reasons, Preempt: preempt && role == Standby, Released: e.released, Answered: e.answered, Declined: e.declined}
}

// Step judges what is known now. role is this node's, and was reached before.
func (e *Elector) Step(now time.Time, role Role, p Peer) (v Verdict) {
	if now.Sub(e.last) >= Dead { // nobody has listened meanwhile
		e.wait = now
	}
	e.last = now
	e.moved(now, role, p)
	back := false
	if p.Alive && p.Present {
		back = e.answers(p.Group)
		e.asked(now, role, p.Group, &v)
	}
	v.Serving = p.Present && p.Group.Role == Active && p.Alive && p.Mark != e.seen
	v.Fit = p.Alive && p.Present && p.Group.Role == Standby
	v.Silent = p.Heard.IsZero() || now.Sub(p.Heard) >= Fresh
	e.seen = p.Mark
	if v.Elected != nil {
		return v
	}
	both := false
	switch role {
	case Standby:
		if c, yes := e.elect(now, p, back); yes && now.Sub(e.elected) >= Interval {
			e.elected, v.Elected = now, &c
		}
	case Promoting:
		v.Deposed = e.whilePromoting(p)
	case Active:
		v.Deposed = e.whileActive(now, p)
		v.Wanted = v.Fit && p.Group.Preempt && e.answeredSince(p) && !e.first(p)
		both = v.Deposed == "" && p.Alive && p.Present && (p.Group.Role == Active || p.Group.Role == Demoting)
		v.Again = v.Deposed == "" && (both != e.both || e.apart && p.Alive)
		e.apart = !p.Alive
	case Starting, Waiting, Demoting, Stuck:
	}
	e.both = both
	return v
}

// moved notes a change of this node's role.
func (e *Elector) moved(now time.Time, role Role, p Peer) {
	if e.taking != 0 && role != Promoting {
		e.answered, e.declined, e.taking = e.taking, role != Active, 0
	}
	if role == e.role {
		return
	}
	e.role, e.from = role, max(p.Sent, SequenceOf(now)-1) // the next datagram, which says so, has a higher one
	switch role {
	case Standby:
		e.wait = now
	case Promoting, Active:
		e.released = 0
	}
}

// answers takes the peer's answer to a Release, and reports whether it has declined.
func (e *Elector) answers(g Group) (declined bool) {
	switch {
	case e.released == 0:
	case g.Answered == e.released:
		e.released = 0
		return g.Declined
	case g.Role == Active: // it had said so, and was restarted
		e.released = 0
	}
	return false
}

// asked answers a Release of the peer's.
func (e *Elector) asked(now time.Time, role Role, g Group, v *Verdict) {
	if g.Released == 0 || g.Released == e.answered || e.taking != 0 {
		return
	}
	switch role {
	case Standby:
		by := HandedOver
		e.taking, e.elected, v.Elected = g.Released, now, &by
	case Promoting:
		e.taking = g.Released
	case Active:
		e.answered, e.declined = g.Released, false
	case Waiting, Stuck:
		e.answered, e.declined = g.Released, true
	case Starting, Demoting: // it will see
	}
}

// elect decides for a node that stands by.
func (e *Elector) elect(now time.Time, p Peer, back bool) (Cause, bool) {
	switch {
	case back:
		return Declined, true
	case !p.Alive && !p.Heard.IsZero() && now.Sub(p.Heard) < Dead: // it does not hear this node, and takes over itself unless it cannot
		return Unfit, p.unfit() && now.Sub(p.Since) >= Fresh && now.Sub(e.wait) >= Fresh // what lay in the socket is over by then
	case !p.Alive:
		return Silence, !now.Before(e.due(p))
	case e.released != 0 && p.Present || !e.answeredSince(p):
		return 0, false
	case p.unfit():
		return Unfit, true
	case p.Group.Role == Standby && p.Group.Released == 0:
		return Lot, e.first(p)
	case p.Group.Role == Standby && p.Group.Released == e.answered && !e.declined: // taken once, and let go of again
		return Lot, e.first(p)
	}
	return 0, false
}

// due gives when a peer that stays silent has lost its addresses for certain (FAILOVER.md, safety 6).
func (e *Elector) due(p Peer) time.Time {
	at := e.wait
	if p.Heard.After(at) {
		at = p.Heard
	}
	bound := LeaseBound
	if p.Tick {
		bound = LeaseBoundTick
	}
	bound += p.Longer
	if p.Restarting {
		bound += restartGrace
	}
	return at.Add(Dead + bound)
}

// Next gives when silence alone makes Step decide; zero: never.
func (e *Elector) Next(p Peer) time.Time {
	if e.role != Standby || p.Alive {
		return time.Time{}
	}
	return e.due(p)
}

// answeredSince reports whether the peer's last datagram was made by one that has seen this node's role of now.
func (e *Elector) answeredSince(p Peer) bool { return p.Echo > e.from }

// first reports whether this node goes before the peer.
func (e *Elector) first(p Peer) bool {
	if p.Behind {
		return true
	}
	if e.skew != p.Group.Skew {
		return e.skew < p.Group.Skew
	}
	return p.FirstOnTie
}

func (e *Elector) whilePromoting(p Peer) string {
	switch {
	case !p.Alive || !p.Present || !e.answeredSince(p):
	case p.Group.Role == Active && !p.Behind:
		return "it is active"
	case p.Group.Role == Promoting && !e.first(p):
		return "it takes over, too, and goes first"
	}
	return ""
}

// whileActive finds the peer active, too. After a partition the one that goes first stays. A peer that does not hear this node cannot know, and
// this one can: then it is the one that yields. Just after a partition neither hears yet, so it has to last.
func (e *Elector) whileActive(now time.Time, p Peer) string {
	switch {
	case !p.Present || p.Heard.IsZero() || now.Sub(p.Heard) >= Dead:
	case p.Alive && p.Group.Role == Active && !e.first(p):
		return "both are active, and it goes first"
	case !p.Alive && p.Group.Role == Active && !p.Behind && now.Sub(p.Since) >= Fresh: // not before: its promote may find the address in use
		return "it does not hear this node, and has taken over"
	}
	return ""
}
