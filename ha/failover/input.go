package failover

import (
	"net/netip"
	"time"
)

// Input is a fact or a wish that Step is told.
type Input interface {
	input()
	String() string
}

// Turn is a turn of the clock: nothing happened but time.
type Turn struct{}

// Elected says that CARP would have this node as master (carp.Elected). Adverts flow already unless By is ByPreempt.
type Elected struct{ By Election }

// Election is why CARP elected this node.
type Election int

// The elections.
const (
	BySilence Election = iota // no advert within the dead interval
	ByBowOut                  // the master said that it leaves
	ByPreempt                 // the master is worse; it serves until Ready

	// By heartbeats, instead of CARP (FAILOVER.md, profile F).
	ByHandOver  // the peer has let go, for this node
	ByDeclined  // the peer did not take what this node let go of
	ByLot       // both stand by, and this node goes first
	ByUnfit     // the peer is alive, and cannot serve
	ByPeerQuiet // the peer is silent on every path, for longer than its lease lasts
)

// Deposed says that CARP has a better master (carp.Deposed); our adverts have ended.
type Deposed struct {
	By    string // its address
	Cause string // in which way it is better
}

// PeerActive says that a valid advert of a master came in, one input an advert.
type PeerActive struct{ By string }

// Peer is what is known of the other node by other means than CARP: by its heartbeat.
type Peer struct {
	Worse   bool
	Why     string
	Passing bool // that it is worse ends by itself: it is on its way from one role to another
	Fit     bool // it is alive, stands by, and hears its link
}

// Wanted says that the peer stands by, goes before this node, and wants to take over.
type Wanted struct{ By string }

// Misconfigured says that the wire contradicts our configuration (carp.Misconfigured); an empty Why takes it back.
type Misconfigured struct{ Why string }

// Carrier is the link's carrier, debounced.
type Carrier struct{ Up bool }

// Interface says whether the group's interface exists.
type Interface struct{ Present bool }

// Isolated says that the service link has a carrier and yet brings nothing: no frame, no answer to ARP or ND.
type Isolated struct {
	On  bool
	Why string
}

// Checked is a check's state after fall and rise, told at each change.
type Checked struct {
	Name  string
	State State
	Why   string // of red: what an admin can act on
}

// State is that of a check.
type State int

// The states.
const (
	Unknown State = iota // not looked at yet, or not any more
	Green
	Red
)

// UnitDied says that a unit of the group ended by itself.
type UnitDied struct{ Name, Why string }

// UnitRuns says that a unit of the group runs: whoever has started it again.
type UnitRuns struct{ Name string }

// Result ends a step that Run, LeaseHold or LeaseDrop has begun. Those of steps that were cancelled or have timed out are ignored.
type Result struct {
	ID      uint64
	Outcome Outcome
	Why     string
	Command string // what a person is to type to mend it; empty: nobody knows
}

// Outcome is how a step ended.
type Outcome int

// The outcomes.
const (
	Done Outcome = iota
	Failed
	TimedOut
)

// Maintenance is a person's wish that this node stays out.
type Maintenance struct{ On bool }

// Switch is a person's wish to hand the group over. It is answered by Reply with the same ID.
type Switch struct {
	ID    uint64
	Force bool // to a peer that is known to be worse, too
}

// Restart asks whether the agent may be replaced by exec now. It is answered by Reply at once: refused while a step is under way.
type Restart struct{ ID uint64 }

// Stop says that the group ends on this node: it is handed over and let go, then Stopped is said. The first Stop tells why.
type Stop struct{ Why string } // empty: the agent stops

// Freeze says that agent or machine stood still for Gap, longer than the lease lasts: the addresses may be somebody else's by now.
// It is told before CARP is stepped again, which would send the advert that is overdue and depose whoever took over.
type Freeze struct{ Gap time.Duration }

// AddressLost says that an address that is held was removed by somebody else.
type AddressLost struct{ Addr netip.Addr }

// AddressFound says that an address is configured here although the group does not hold it.
type AddressFound struct {
	Addr netip.Addr
	File string // the static configuration that it comes from, where one was found
}

// AddressTaken says that somebody else on the wire answers for an address that is held.
type AddressTaken struct {
	Addr netip.Addr
	By   string // a MAC address
}

func (Turn) input()          {}
func (Elected) input()       {}
func (Deposed) input()       {}
func (PeerActive) input()    {}
func (Peer) input()          {}
func (Wanted) input()        {}
func (Misconfigured) input() {}
func (Carrier) input()       {}
func (Interface) input()     {}
func (Isolated) input()      {}
func (Checked) input()       {}
func (UnitDied) input()      {}
func (UnitRuns) input()      {}
func (Result) input()        {}
func (Maintenance) input()   {}
func (Switch) input()        {}
func (Restart) input()       {}
func (Stop) input()          {}
func (Freeze) input()        {}
func (AddressLost) input()   {}
func (AddressFound) input()  {}
func (AddressTaken) input()  {}
