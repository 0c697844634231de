// Package create decides how a resource of drbd.conf is made usable for the first time: one step after the other, each by what is there, so that whatever
// was done before, by whomever, is neither done again nor undone.
package create

import (
	"fmt"
	"slices"
	"strings"

	"kvmctl/ha/drbd"
)

// Data is whose data the two nodes begin with.
type Data string

// The choices.
const (
	Unsaid Data = ""
	Here   Data = "here" // what is on this node's disk
	Peer   Data = "peer" // what is on the peer's
	None   Data = "none" // nobody's: both are blank
)

// Facts are what is known of a resource on this node.
type Facts struct {
	Resource string
	Peer     string // its name, for people
	Nine     bool   // DRBD is of a version that cannot be told whose data are good before the two connect
	Volumes  []Volume
	Meta     []Disk        // where metadata are that are not inside a volume's disk, and not shared by index
	Up       bool          // then State says the rest
	State    drbd.Resource // as DRBD has it
}

// Disk is a device, while no resource of ours has it.
type Disk struct {
	Path    string
	Missing bool
	Users   []User
	Content []string // what is on it, as wipefs(8) calls it: "ext4", "LVM2_member"
}

// User is who has a disk to himself.
type User struct {
	Who string // "mounted at /srv"
	End string // what to type to end it
}

// Volume is one of a resource's, with the disk below it.
type Volume struct {
	Number   int
	Disk     Disk
	Inside   bool // its metadata belong at the end of the disk
	Tail     bool // what is there is not empty; asked only where nothing else tells how much of the disk is used
	Metadata Metadata
}

// Metadata says what a volume has of DRBD's.
type Metadata int

// What there may be.
const (
	NoMetadata Metadata = iota
	Fresh               // just created: no data have ever been good
	Used                // the data were good once, or are
)

// Wish is what a person asked for.
type Wish struct {
	Data    Data
	Yes     bool // what is on the disk may be overwritten
	Forced  bool // this run has made the node primary
	Awaited bool // the peer was waited for, in vain
}

// Act is a step.
type Act int

// The steps.
const (
	Refuse   Act = iota // nothing is done, and Why says why
	Done                // nothing is left to do here
	Wipe                // wipefs --all: the signatures on a disk, which may be overwritten
	CreateMD            // drbdadm create-md, of one volume
	Claim               // drbdadm set-gi, of one volume: the data here are the good ones, and no others' copy
	Up                  // drbdadm up
	Await               // until the peer is connected
	Force               // drbdadm primary --force: the data here are the good ones
	Demote              // drbdadm secondary, after Force
	SkipSync            // drbdadm new-current-uuid --clear-bitmap: nobody's data are any good, so nothing is copied
)

// Step is what to do next.
type Step struct {
	Act    Act
	Why    string   // for people: of Refuse and Done the whole answer
	Hint   []string // what to type then
	Disk   string   // of Wipe
	Volume int      // of CreateMD and Claim
}

func refuse(why string, hint ...string) Step { return Step{Act: Refuse, Why: why, Hint: hint} }

func finished(why string, hint ...string) Step { return Step{Act: Done, Why: why, Hint: hint} }

// Next gives the next step. After Refuse and Done there is none.
func Next(f Facts, w Wish) Step {
	if !f.Up {
		return f.below(w)
	}
	r := f.State
	status := "kvmha drbd status " + f.Resource
	switch {
	case r.Failed() && r.Role != drbd.Primary && len(f.Volumes) > 0: // it was brought up before its disks were made, by hand or by an agent
		return f.below(w)
	case r.Failed():
		return refuse("its disk cannot be used", status, "dmesg | tail")
	case w.Forced && r.Role == drbd.Primary:
		return Step{Act: Demote, Why: "until it is a group's turn nobody may write"}
	case blank(r):
		return f.first(w)
	case r.StandAlone():
		return refuse(fmt.Sprintf("it has data (%s), and does not connect to %s", disks(r), f.Peer), status)
	case r.AllUpToDate() && (w.Data != Here || r.Connected() || r.Role == drbd.Primary):
		return f.done()
	case slices.ContainsFunc(r.Volumes, func(v drbd.Volume) bool { return v.Disk == drbd.Inconsistent }):
		return refuse("some of its volumes have good data, and some do not: "+disks(r), status)
	case w.Data == Here && !r.Connected():
		return finished("the data here are the good ones; "+f.Peer+" is not connected, and gets them if it was not made usable before", f.over(w))
	}
	return finished("it was made usable before; its data here are "+disks(r)+", and nothing is left to init", status)
}

// first decides for disks that never had good data in DRBD's eyes.
func (f Facts) first(w Wish) Step {
	r := f.State
	peer := f.over(w)
	switch {
	case r.Resyncing() == drbd.ToHere && w.Data == Here:
		return refuse(f.Peer+" has good data already, and they are being copied here", "drbdadm disconnect "+f.Resource)
	case r.Resyncing() == drbd.ToHere:
		return finished(f.Peer+"'s data are being copied here", "kvmha drbd status "+f.Resource)
	case w.Data == Unsaid:
		return f.explain()
	case r.StandAlone():
		return refuse("it does not connect to "+f.Peer, "kvmha drbd status "+f.Resource)
	case !r.Connected() && !w.Awaited:
		return Step{Act: Await, Why: f.Peer + " is not connected yet"}
	case !r.Connected():
		return finished("its half is made; "+f.Peer+" is not connected yet, and has the next step", append([]string{peer}, f.then(w)...)...)
	case w.Data == Peer:
		return finished(f.Peer+" is connected, and has to say that its data are the good ones", peer)
	case r.PeerUpToDate():
		return refuse(f.Peer+" has good data already, which would be overwritten", "kvmha drbd init "+f.Resource+" --data peer")
	case w.Data == None:
		return Step{Act: SkipSync, Why: "both are blank, so nothing has to be copied"}
	}
	return Step{Act: Force, Why: "the data here are the good ones"}
}

// over is what is typed on the peer.
func (f Facts) over(w Wish) string {
	return fmt.Sprintf("kvmha drbd init %s --data %s, on %s", f.Resource, map[Data]Data{Here: Peer, Peer: Here, None: None}[w.Data], f.Peer)
}

// then is what is typed here once the peer has done its part.
func (f Facts) then(w Wish) []string {
	if w.Data == Here {
		return []string{"kvmha drbd init " + f.Resource + " --data here, here again"}
	}
	return nil
}

func (f Facts) done() Step {
	if f.State.Role == drbd.Primary {
		return finished("it has good data, and is primary here", "kvmha drbd status "+f.Resource)
	}
	return finished("it has good data", "kvmha drbd status "+f.Resource, "kvmha check")
}

// explain refuses where nobody said whose data the two begin with.
func (f Facts) explain() Step {
	init := "kvmha drbd init " + f.Resource + " --data "
	return refuse("it has to be said whose data the two nodes begin with",
		init+"none   # nobody's: both disks are blank, nothing is copied; on both nodes",
		init+"here   # this node's: what is on its disk stays, and is copied to "+f.Peer,
		init+"peer   # "+f.Peer+"'s: what is on the disk here is overwritten")
}

// blank reports whether no volume ever had good data.
func blank(r drbd.Resource) bool {
	for _, v := range r.Volumes {
		if v.Disk != drbd.Inconsistent {
			return false
		}
	}
	return len(r.Volumes) > 0
}

func disks(r drbd.Resource) string {
	var all []string
	for _, v := range r.Volumes {
		all = append(all, v.Disk.String())
	}
	return strings.Join(all, ", ")
}
