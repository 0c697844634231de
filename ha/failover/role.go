package failover

// Role is what a node does for a group.
type Role int

// The roles.
const (
	Starting  Role = iota // the first facts are not in yet
	Waiting               // silent, for one Reason
	Standby               // CARP listens
	Promoting             // on the way to Active
	Active                // the addresses are here
	Demoting              // on the way from Active, or back from a promote
	Stuck                 // letting go has failed; the addresses are not here
)

// Reason is why a group waits.
type Reason int

// The reasons. Where several hold, blocked says which is named. The numbers are the wire's.
const (
	ReasonNone Reason = iota
	ReasonStopping
	ReasonMaintenance
	ReasonMisconfigured
	ReasonInterface // gone
	ReasonCarrier
	ReasonIsolated
	ReasonChecks
	ReasonAddress // somebody else has it
	ReasonCooling // it gave the role away a short while ago
	ReasonStandAlone
	ReasonDisk  // a DRBD resource is not up to date
	ReasonRight // it may not go on without its peer
)

// Event is what may move a group from one role to another.
type Event int

// The events.
const (
	EventFit           Event = iota // nothing keeps it from standing by
	EventBlocked                    // something does: Reason
	EventElected                    // CARP would have it
	EventPromoted                   // the promote is done
	EventPromoteFailed              // a step of the promote failed
	EventDeposed                    // CARP has a better one
	EventCheckFailed                // a check is red or a unit dead, and no restart is left
	EventAddress                    // somebody else has the addresses, or keeps removing them
	EventFrozen                     // agent or machine stood still for longer than the lease lasts
	EventSwitch                     // a person hands it over
	EventWanted                     // the peer goes first, and is ready
	EventUnreachable                // the link brings nothing here, and the peer hears it
	EventLeftovers                  // units run here although it is the peer's turn
	EventReleased                   // the demote is done, and nothing keeps it from standing by
	EventStuck                      // a step of the demote failed, and so did killing what it left
	EventFreed                      // what was stuck has gone
	EventDisk                       // a disk has failed here, and the peer's is good
	EventRefused                    // the right to be alone was asked for in vain
)

// transitions is the whole of the graph: where an event leads, by the role it meets. An event that a role does not list changes nothing there.
// states.dot is drawn from it.
var transitions = map[Role]map[Event]Role{
	Starting: {EventFit: Standby, EventBlocked: Waiting},
	Waiting:  {EventFit: Standby, EventBlocked: Waiting, EventLeftovers: Demoting},
	Standby:  {EventBlocked: Waiting, EventElected: Promoting, EventLeftovers: Demoting},
	Promoting: {
		EventPromoted: Active, EventPromoteFailed: Demoting, EventDeposed: Demoting, EventBlocked: Demoting, EventAddress: Demoting,
		EventFrozen: Demoting, EventRefused: Demoting,
	},
	Active: {
		EventDeposed: Demoting, EventBlocked: Demoting, EventCheckFailed: Demoting, EventAddress: Demoting, EventFrozen: Demoting, EventSwitch: Demoting,
		EventWanted: Demoting, EventUnreachable: Demoting, EventDisk: Demoting,
	},
	Demoting: {EventReleased: Standby, EventBlocked: Waiting, EventStuck: Stuck},
	Stuck:    {EventFreed: Waiting},
}
