package failover

import "time"

// Stage is one part of a promote.
type Stage string

// The stages. Their order in Config.Order is that of a promote; a demote undoes them in reverse.
const (
	StageDRBD     Stage = "drbd"     // the right to be alone, then every resource primary
	StageMounts   Stage = "mounts"   // their file systems, in their order
	StageUnits    Stage = "units"    // started, in their order
	StageChecks   Stage = "checks"   // every check that does not only tell was green once
	StageAddress  Stage = "address"  // nobody else has them, CARP is told, the addresses are there
	StageAnnounce Stage = "announce" // gratuitous ARP, unsolicited NA
	StageHooks    Stage = "hooks"
)

// Config is what the machine knows of its group. Zero durations and counts are taken as they stand: the loader fills in defaults.
type Config struct {
	Name   string
	Iface  string // for the reason of a group that waits for it
	Order  []Stage
	Units  []Unit // started in this order, stopped in the reverse one
	Checks []Check

	Resources    []Resource    // primary on the active node; none: the group has no storage
	Mounts       []Mount       // mounted in this order
	RightTimeout time.Duration // in which a fence or an arbiter has to answer

	Hooks Hooks

	Probe         bool          // ask whether somebody has the addresses before they are taken from a peer that is silent
	ProbeWait     time.Duration // how long an answer may take; 0: 50 ms, many times what a LAN needs
	ChecksTimeout time.Duration // in which all checks must have been green once; 0: 30 s

	Dead          time.Duration // CARP's dead interval: after so long without an advert nobody is master
	Preempt       bool          // take over from a master that is worse
	PreemptDelay  time.Duration // how long the group has been fit before it does
	IgnoreCarrier bool

	Restarts      int           // how often units are restarted here within RestartWindow before the role is given away
	RestartWindow time.Duration // in which Restarts are counted
	Stay          bool          // do not give the role away for a failed check: mail, and go on with what still works
	Remind        time.Duration // an alert that lasts is repeated so often; 0: never
	Damping       Damping
}

// Unit is something that runs on the active node only.
type Unit struct {
	Name         string
	StartTimeout time.Duration
	StopTimeout  time.Duration
}

// Check is what the machine knows of a check.
type Check struct {
	Name       string
	ActiveOnly bool          // it is looked at on the active node only, and says nothing about another one
	TellsOnly  bool          // red, it raises an alert and moves nothing: the other node has the same trouble
	Unit       string        // the unit that is restarted when it is red; empty: all of them
	Settle     time.Duration // how long after a restart it may stay red: rise × interval + timeout; 0: 5 s
}

// Damping bounds how often a group may move.
type Damping struct {
	Min, Max time.Duration // how long it stays away after it gave the role away: doubles from Min to Max
	Moves    int           // after so many moves within Window it stays where it is, and mails
	Window   time.Duration
}

// Hooks says which hooks there are.
type Hooks struct {
	Active, Standby, Waiting bool
	Timeout                  time.Duration
}

// The times that no file sets.
const (
	defaultProbeWait     = 50 * time.Millisecond
	defaultChecksTimeout = 30 * time.Second
	defaultSettle        = 5 * time.Second

	partingWait = 25 * time.Millisecond // for the answer of a master that is said to have left: the kernel of one that has not gives it at once

	// letGoTimeout is longer than most down scripts of ucarp's, which keeps the addresses, and answers for them, until its script has ended.
	letGoTimeout = 10 * time.Second

	leaseTimeout = time.Second      // adding or deleting the addresses: one netlink message each
	killTimeout  = 10 * time.Second // SIGKILL to the end of the last process
	grace        = 5 * time.Second  // how much later than its timeout the executor may say that a step has ended; then it is not waited for

	startWait = 5 * time.Second // in which the first facts are expected

	holdEvery = 300 * time.Millisecond // adding the addresses that failed is tried again: the kernel may be busy, and disks and units are back already
	holdTries = 3

	dropEvery = time.Second // a delete of the addresses that failed is tried again; the kernel ends the lease within 2.4 s anyway (lease.md)
	dropTries = 5

	stuckMin = 30 * time.Second // between two attempts to free a group that is stuck; doubles
	stuckMax = 5 * time.Minute

	nobodyAfter = 10 * time.Second // FAILOVER.md, "Roles": nobody-active
	nobodyAgain = 10 * time.Minute
	nobodyThen  = time.Hour

	putBackMax    = 3 // FAILOVER.md, safety 9
	putBackWindow = time.Minute

	calm      = 10 * time.Minute // an alert that comes back within it is the old one; it ends when it stayed away so long
	noticeMax = 4                // so many mails about moves within calm; then one that says it flaps
)
