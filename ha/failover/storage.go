package failover

import (
	"slices"
	"time"
)

// Resource is a DRBD resource that is primary on the active node only.
type Resource struct {
	Name             string
	UpTimeout        time.Duration // of bringing it up, with the wait for the replication address
	PrimaryTimeout   time.Duration
	SecondaryTimeout time.Duration
}

// Mount is a file system that is mounted on the active node only.
type Mount struct {
	Dir            string
	MountTimeout   time.Duration // with the check of the file system
	UnmountTimeout time.Duration // with the end of whoever holds it
}

// Disk is what is known of a resource, told at each change.
type Disk struct {
	Name         string
	State        DiskState
	Apart        Apart
	Syncing      bool // a resync is under way, in whichever direction
	PeerUpToDate bool
	Why          string // what an admin can act on; empty: nothing is wrong
	Frozen       string // why writes stand still, where they do so for long; empty: they do not
	Command      string // of Frozen: what a person may type; empty: nothing
}

// DiskState sums a resource up.
type DiskState int

// The states.
const (
	DiskUnknown  DiskState = iota // not looked at yet
	DiskUpToDate                  // every volume here
	DiskWaits                     // Outdated, Inconsistent, a resync or a connect under way: the peer or the time mends it
	DiskFailed                    // Diskless, Failed or not configured: somebody has to bring it up again
)

// Apart is why a connection is StandAlone. All three look alike to DRBD (facts/ha.md 4.4).
type Apart int

// The causes.
const (
	Together       Apart = iota // it is not StandAlone
	ApartUnclear                // nobody can say yet
	ApartSecret                 // the shared secrets differ
	ApartAdmin                  // somebody disconnected it
	ApartSplit                  // split brain: both sides hold what the other one lacks
	ApartPrimaries              // both were primary when they met: they connect again by themselves once one is not
	ApartSettings               // a setting that has to be the same is not
)

// Right says whether this node may write without asking anybody (FAILOVER.md, safety 2 and 3), told at each change.
type Right struct {
	State   RightState
	Sole    bool   // of RightYes: this node went on alone, and its peer is not known to have done so too
	Why     string // of RightNo, RightAsk and RightLost: the fact that is missing
	Command string // of RightNo and RightAsk, what a person may type to override it; empty: nothing
}

// RightState sums the right to be alone up.
type RightState int

// The states.
const (
	RightUnknown RightState = iota
	RightYes                // the peer is connected and agrees, or this node is the one that was alone last
	RightAsk                // it is to be asked for: of a fence or the arbiter
	RightNo                 // only the peer or a person can give it
	RightLost               // somebody else has it: an active node has to let go
)

func (Disk) input()  {}
func (Right) input() {}

// The times of storage that no file sets.
const (
	upMin = 5 * time.Second // between two attempts to bring a resource up; doubles
	upMax = 5 * time.Minute

	refusedMin = 10 * time.Second // until a right that was refused is asked for again; doubles
	refusedMax = time.Minute
)

// storage is what the machine was told of its resources, and what it has tried.
type storage struct {
	disks   []Disk // as Config.Resources
	right   Right
	refused *refusal
	tries   int       // to bring resources up, since one of them was well
	upAt    time.Time // of the next one
	seen    []bool    // as disks: it was well here since the agent began
}

// refusal is a right that was asked for in vain.
type refusal struct {
	why     string
	command string // by which a person decides; "": none does
	until   time.Time
	times   int
}

// complete reports whether everything was told once.
func (s *storage) complete() bool {
	if len(s.disks) == 0 {
		return true
	}
	return s.right.State != RightUnknown && !slices.ContainsFunc(s.disks, func(d Disk) bool { return d.State == DiskUnknown })
}

// diskTold notes the state of a resource. Its alarms last until it is well again, wherever the group is by then.
func (m *Machine) diskTold(in Disk) {
	s := &m.storage
	i := slices.IndexFunc(s.disks, func(d Disk) bool { return d.Name == in.Name })
	if i < 0 {
		return
	}
	s.disks[i] = in
	if in.Apart == Together {
		m.clear(AboutStandAlone, in.Name)
	} else {
		m.raise(AboutStandAlone, in.Name, ResolveCommand(in), in.standAlone(), "the group is moved by nobody until it is mended")
	}
	if in.Frozen == "" {
		m.clear(AboutFrozen, in.Name)
	} else {
		m.raise(AboutFrozen, in.Name, in.Command, "writes to resource "+in.Name+" stand still: "+in.Frozen, "they lose nothing, and go on when the peer is back or somebody lets them")
	}
	if in.State == DiskFailed {
		if m.role != Active && (s.seen[i] || s.tries > 1) { // there heal says what becomes of it; after a boot nobody but bringUp has brought it up
			m.diskAlarm(in)
		}
		return
	}
	s.seen[i] = in.State != DiskUnknown
	m.clear(AboutDisk, in.Name)
	if !slices.ContainsFunc(s.disks, func(d Disk) bool { return d.State == DiskFailed }) {
		s.tries, s.upAt = 0, time.Time{}
	}
}

func (m *Machine) diskAlarm(d Disk) {
	m.raise(AboutDisk, d.Name, DiskCommand(d.Name), d.failed(), "it is brought up again, less and less often")
}

// rightTold notes what may be done alone. Whatever is new is worth asking again.
func (m *Machine) rightTold(in Right) {
	if in != m.storage.right {
		m.storage.right, m.storage.refused = in, nil
	}
}

// apart gives the resource that is StandAlone.
func (s *storage) apart() (Disk, bool) {
	return s.first(func(d Disk) bool { return d.Apart != Together })
}

// syncing gives the resource that is being resynced.
func (s *storage) syncing() (Disk, bool) { return s.first(func(d Disk) bool { return d.Syncing }) }

func (s *storage) failed() (Disk, bool) {
	return s.first(func(d Disk) bool { return d.State == DiskFailed })
}

// stranded gives the resource that has failed here, of which nobody knows that it is well at the peer: mostly because DRBD cannot be asked, and then it could
// not be let go of either.
func (s *storage) stranded() (Disk, bool) {
	return s.first(func(d Disk) bool { return d.State == DiskFailed && !d.PeerUpToDate })
}

func (s *storage) first(is func(Disk) bool) (Disk, bool) {
	if i := slices.IndexFunc(s.disks, is); i >= 0 {
		return s.disks[i], true
	}
	return Disk{}, false
}

// gate gives what the disks have against a group that stands by (FAILOVER.md, safety 1).
func (s *storage) gate() (Reason, string) {
	if d, yes := s.apart(); yes {
		return ReasonStandAlone, d.standAlone()
	}
	for _, d := range s.disks {
		switch d.State {
		case DiskUpToDate:
		case DiskUnknown:
			return ReasonDisk, "resource " + d.Name + " was not seen yet"
		case DiskFailed:
			return ReasonDisk, d.failed()
		case DiskWaits:
			return ReasonDisk, because("resource "+d.Name+" is not up to date", d.Why)
		}
	}
	return ReasonNone, ""
}

// Sole reports whether the group's newest data are here alone, as far as is known: then no peer goes before this node.
func (m *Machine) Sole() bool { return m.storage.right.Sole }

// licence gives what the right to be alone has against it (safety 2 and 3).
func (m *Machine) licence() (Reason, string) {
	s := &m.storage
	switch {
	case len(s.disks) == 0:
	case s.right.State == RightUnknown:
		return ReasonRight, "nobody has said yet whether this node may go on alone"
	case s.right.State == RightNo || s.right.State == RightLost:
		return ReasonRight, s.right.Why
	case s.refused != nil && m.now.Before(s.refused.until):
		return ReasonRight, s.refused.why
	}
	return ReasonNone, ""
}

// refusedRight stays away for a while without having failed: whoever refused it may think again.
func (m *Machine) refusedRight(why, command string) {
	s := &m.storage
	times := 0
	if s.refused != nil {
		times = s.refused.times + 1
	}
	s.refused = &refusal{why: why, command: command, times: times, until: m.now.Add(min(refusedMin<<min(times, 8), refusedMax))}
	m.fire(EventRefused, why)
}

// person gives the command by which a person decides about the right; "": none does.
func (s *storage) person() string {
	if s.refused != nil && s.refused.command != "" {
		return s.refused.command
	}
	return s.right.Command
}

// next gives when a group that waits for its storage has something to do by time alone.
func (s *storage) next(now time.Time, busy bool) (at time.Time) {
	if s.refused != nil && s.refused.until.After(now) {
		at = s.refused.until
	}
	if _, failed := s.failed(); failed && !busy && s.upAt.After(now) && (at.IsZero() || s.upAt.Before(at)) {
		at = s.upAt
	}
	return at
}

// bringUp tries to mend what has failed on a node that is not active (row D3, "DRBD failed and not active").
func (m *Machine) bringUp() {
	s := &m.storage
	if _, yes := s.failed(); !yes || m.job.running || len(m.job.queue) > 0 || m.now.Before(s.upAt) {
		return
	}
	var plan []Step
	for i, d := range s.disks {
		if d.State == DiskFailed {
			up := m.step(KindUp, d.Name)
			up.Timeout, up.Why = m.cfg.Resources[i].UpTimeout, d.failed()
			plan = append(plan, up)
			if s.tries > 0 {
				m.diskAlarm(d)
			}
		}
	}
	s.upAt = m.now.Add(min(upMin<<min(s.tries, 8), upMax))
	s.tries++
	m.begin(job{queue: plan})
}

// diskHeal decides for an active group, and reports whether it is moved (row D3, "active, DRBD failed").
func (m *Machine) diskHeal() bool {
	s := &m.storage
	d, bad := s.failed()
	if !bad {
		return false
	}
	why := m.stays()
	switch {
	case why != "":
	case !m.facts.peer.Fit:
		why = "the peer does not stand by"
	case !d.PeerUpToDate:
		why = "the peer's disk is not up to date"
	}
	if why != "" {
		m.raiseAgain(AboutDisk, d.Name, DiskCommand(d.Name), d.failed(), "it stays active here: "+why)
		return false
	}
	m.raise(AboutDisk, d.Name, DiskCommand(d.Name), d.failed(), "the role is given away")
	m.coolDown()
	m.damp.moves = append(m.damp.moves, m.now)
	return m.fire(EventDisk, d.failed())
}

// known lists the storage's facts for a line of the log.
func (s *storage) known() (list []string) {
	for _, d := range s.disks {
		list = append(list, d.String())
	}
	if len(s.disks) > 0 {
		list = append(list, s.right.String())
	}
	return list
}

// storagePlan lists the steps of a stage of storage.
func (m *Machine) storagePlan(stage Stage) (plan []Step) {
	switch stage {
	case StageDRBD:
		if len(m.cfg.Resources) > 0 {
			right := m.step(KindRight, "")
			right.Timeout = m.cfg.RightTimeout
			plan = append(plan, right)
		}
		for _, r := range m.cfg.Resources {
			s := m.step(KindPrimary, r.Name)
			s.Timeout, s.Inverse = r.PrimaryTimeout, KindSecondary
			plan = append(plan, s)
		}
	case StageMounts:
		for _, mount := range m.cfg.Mounts {
			s := m.step(KindMount, mount.Dir)
			s.Timeout, s.Inverse = mount.MountTimeout, KindUnmount
			plan = append(plan, s)
		}
	}
	return plan
}

// storageTime is how long a promote may take for its disks.
func (m *Machine) storageTime() (d time.Duration) {
	for _, stage := range []Stage{StageDRBD, StageMounts} {
		for _, s := range m.storagePlan(stage) {
			d += s.Timeout
		}
	}
	return d
}

// storageInverse gives the step that undoes one of storage.
func (m *Machine) storageInverse(s Step) Step {
	for _, r := range m.cfg.Resources {
		if s.Inverse == KindSecondary && r.Name == s.Name {
			return Step{Kind: KindSecondary, Name: r.Name, Timeout: r.SecondaryTimeout}
		}
	}
	for _, mount := range m.cfg.Mounts {
		if s.Inverse == KindUnmount && mount.Dir == s.Name {
			return Step{Kind: KindUnmount, Name: mount.Dir, Timeout: mount.UnmountTimeout}
		}
	}
	return m.step(s.Inverse, s.Name)
}

// leftovers notes what an agent that died may have left: whatever a promote does that outlives its program, in that order.
func (m *Machine) leftovers() {
	for _, stage := range m.cfg.Order {
		switch stage {
		case StageUnits:
			for _, u := range m.cfg.Units {
				m.undo = append(m.undo, stopOf(u))
			}
		case StageDRBD, StageMounts:
			for _, s := range m.storagePlan(stage) {
				if s.Inverse != KindNone {
					m.undo = append(m.undo, m.storageInverse(s))
				}
			}
		}
	}
}

func (r Right) String() string { return because("right "+r.State.String(), r.Why) }
