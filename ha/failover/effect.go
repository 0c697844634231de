package failover

import "time"

// Effect is something to do. The effects of one Step are begun in their order; Run is carried out beside the loop, one at a time a group, all
// others by the loop itself before it does anything else.
type Effect interface {
	effect()
	String() string
}

// Step is one act of a promote, a demote or a repair. It is answered by Result with its ID.
type Step struct {
	ID      uint64
	Kind    Kind
	Name    string        // of the unit
	Timeout time.Duration // then its process group is killed and TimedOut said
	Inverse Kind          // what undoes it; KindNone: nothing has to
	Why     string        // the cause of what it belongs to; KVMHA_REASON of hooks
}

// Kind is what a step does. Each is idempotent.
type Kind int

// The kinds.
const (
	KindNone        Kind = iota
	KindStart            // of a unit; one that runs is adopted
	KindStop             // of a unit
	KindKill             // SIGKILL to everything a unit has left behind
	KindRestart          // of a unit
	KindChecks           // look at every check now and again until each was green once
	KindProbe            // ask for the addresses: failed when somebody answers
	KindLetGo            // wait until a master that is worse, and has heard that CARP is ready, answers for the addresses no more
	KindHold             // the addresses are added, and refreshed from now on
	KindDrop             // they are deleted, and not refreshed any more
	KindReady            // CARP is told (never run: it becomes the effect Ready)
	KindAnnounce         // the network is told (never run: it becomes the effect Announce)
	KindHookActive       // whose failure changes nothing, as with all hooks
	KindHookStandby      // likewise
	KindHookWaiting      // likewise
	KindUp               // of a resource: its address awaited, then brought up
	KindRight            // make sure that nobody else may write, and note that durably
	KindPrimary          // of a resource
	KindSecondary        // of a resource, verified; one that is not configured is none
	KindMount            // of a file system, checked first
	KindUnmount          // with the end of whoever holds it
)

// Run begins a step beside the loop.
type Run struct{ Step }

// Cancel ends a step that was begun, with its process group. The next Run begins when it has ended; its own Result is ignored.
type Cancel struct{ ID uint64 }

// LeaseHold adds the addresses within this turn of the loop and has them refreshed from now on.
type LeaseHold struct{ Step }

// LeaseDrop deletes the addresses within this turn of the loop and ends their refresh, whether or not the delete succeeds. An interface that is
// gone has no addresses: that is done. ID 0 wants no Result.
type LeaseDrop struct{ Step }

// Allow lets CARP contend: it listens, and may be elected. Preempt: from a master that is worse, too. Said again when Preempt changes.
type Allow struct{ Preempt bool }

// Silence ends CARP's adverts; BowOut: with the 255/255 that makes the others elect at once.
type Silence struct{ BowOut bool }

// Ready tells CARP that the promote has come to the addresses: it is master from now on.
type Ready struct{}

// Release lets CARP bow out by 255/255 and go on listening: it takes the role again if nobody does within the dead interval.
type Release struct{}

// Announce tells the network where the addresses are: three gratuitous ARP or unsolicited NA for each. Nothing waits for it.
type Announce struct{}

// Transition is a change of role: one line of the audit log. Waiting's reason is part of the role.
type Transition struct {
	From, To Role
	Reason   Reason // of To, when that is Waiting
	Event    Event
	Cause    string   // one line for people
	Facts    []string // what was known, for `kvmha log --explain`
}

// Alert is a mail and what else an admin listens to.
type Alert struct {
	Kind    AlertKind
	Subject Subject
	Name    string   // of the check or the unit, or an address
	Facts   []string // the first says what it is about
	Command string   // what a person may type to override it; empty: nothing
}

// AlertKind says where in its life an alert is.
type AlertKind int

// The kinds of alert.
const (
	AlertNotice   AlertKind = iota // something was done, and is over
	AlertFirst                     // something is wrong
	AlertReminder                  // and still is
	AlertEnd                       // and is over
)

// Subject is what an alert is about.
type Subject int

// The subjects.
const (
	AboutTakeover      Subject = iota // notice: this node has become active
	AboutHandOver                     // notice: this node has given the role away
	AboutNobody                       // nobody is active
	AboutCheck                        // a check is red
	AboutUnit                         // a unit ended by itself
	AboutPromote                      // a promote failed
	AboutStuck                        // a demote failed
	AboutAddress                      // somebody removes, has or configured an address
	AboutMisconfigured                // the wire contradicts our configuration
	AboutFlapping                     // moves are too many to mail each
	AboutSync                         // configuration of the active node could not be copied here
	AboutDisk                         // a DRBD resource has failed
	AboutStandAlone                   // a DRBD resource is StandAlone
	AboutFrozen                       // writes to a DRBD resource stand still
	AboutVerify                       // notice: both sides of a DRBD resource were compared
)

// Reply answers a person's wish.
type Reply struct {
	ID      uint64
	Refused bool // nothing was done
	Passing bool // nor will it be refused for long
	Failed  bool // it was tried
	Why     string
}

// Stopped says that the group is let go as Stop asked; Clean: of everything.
type Stopped struct{ Clean bool }

func (Run) effect()        {}
func (Cancel) effect()     {}
func (LeaseHold) effect()  {}
func (LeaseDrop) effect()  {}
func (Allow) effect()      {}
func (Silence) effect()    {}
func (Ready) effect()      {}
func (Release) effect()    {}
func (Announce) effect()   {}
func (Transition) effect() {}
func (Alert) effect()      {}
func (Reply) effect()      {}
func (Stopped) effect()    {}
