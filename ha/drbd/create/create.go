// Package create decides how a resource of drbd.conf is made usable for the first time: one step after the other, each by what is there, so that whatever
// was done before, by whomever, is neither done again nor undone.
package create

import (
	"fmt"
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
	Volumes  []Volume
	Metadata Metadata      // of all volumes
	Up       bool          // then State says the rest
	State    drbd.Resource // as DRBD has it
}

// Volume is a disk below a resource, while that is down.
type Volume struct {
	Disk    string
	Missing bool
	Users   []string // who has it open: "mounted at /srv", "dm-0"
	Content []string // what is on it: "ext4", "LVM2_member"
}

// Metadata says whether the disks have DRBD's.
type Metadata int

// What the disks have. Some: one volume has them, another does not.
const (
	NoMetadata Metadata = iota
	SomeMetadata
	AllMetadata
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
	CreateMD            // drbdadm create-md
	Up                  // drbdadm up
	Await               // until the peer is connected
	Force               // drbdadm primary --force: the data here are the good ones
	Demote              // drbdadm secondary, after Force
	SkipSync            // drbdadm new-current-uuid --clear-bitmap: nobody's data are any good, so nothing is copied
)

// Step is what to do next.
type Step struct {
	Act  Act
	Why  string   // for people: of Refuse and Done the whole answer
	Hint []string // what to type then
}

// Next gives the next step. After Refuse and Done there is none.
func Next(f Facts, w Wish) Step {
	if !f.Up {
		return below(f, w)
	}
	r := f.State
	switch {
	case r.Failed():
		return Step{Refuse, "its disk cannot be used", []string{"kvmha drbd status " + f.Resource, "dmesg | tail"}}
	case w.Forced && r.Role == drbd.Primary:
		return Step{Act: Demote, Why: "until it is a group's turn nobody may write"}
	case r.AllUpToDate():
		return f.done()
	case blank(r):
		return f.first(w)
	}
	return Step{Refuse, fmt.Sprintf("its disk carries data already, and they are %s", disks(r)), []string{"kvmha drbd status " + f.Resource}}
}

// below decides while the resource is down.
func below(f Facts, w Wish) Step {
	for _, v := range f.Volumes {
		if v.Missing {
			return Step{Refuse, "its disk " + v.Disk + " is not there", []string{"lsblk", "kvmha drbd lint"}}
		}
	}
	switch {
	case f.Metadata == AllMetadata:
		return Step{Act: Up, Why: "its disks have DRBD's metadata already"}
	case f.Metadata == SomeMetadata:
		return Step{Refuse, "some of its volumes have DRBD's metadata, and some do not", []string{"drbdadm create-md " + f.Resource + "/<volume>"}}
	}
	for _, v := range f.Volumes {
		if len(v.Users) > 0 {
			return Step{Refuse, fmt.Sprintf("its disk %s is in use (%s)", v.Disk, strings.Join(v.Users, ", ")), []string{"umount " + v.Disk}}
		}
	}
	if w.Data == Unsaid {
		return f.explain()
	}
	for _, v := range f.Volumes {
		if len(v.Content) > 0 && w.Data != Here && !w.Yes {
			return Step{Refuse, fmt.Sprintf("its disk %s has something on it (%s), which would be lost", v.Disk, strings.Join(v.Content, ", ")),
				[]string{"kvmha drbd init " + f.Resource + " --data here", fmt.Sprintf("kvmha drbd init %s --data %s --yes", f.Resource, w.Data)}}
		}
	}
	return Step{Act: CreateMD, Why: "its disks have no metadata of DRBD's"}
}

// first decides for disks that never had good data in DRBD's eyes.
func (f Facts) first(w Wish) Step {
	r := f.State
	peer := fmt.Sprintf("kvmha drbd init %s --data %s, on %s", f.Resource, map[Data]Data{Here: Peer, Peer: Here, None: None}[w.Data], f.Peer)
	switch {
	case r.Resyncing() == drbd.ToHere:
		return Step{Done, f.Peer + "'s data are being copied here", []string{"kvmha drbd status " + f.Resource}}
	case w.Data == Unsaid:
		return f.explain()
	case !r.Connected() && !w.Awaited:
		return Step{Act: Await, Why: f.Peer + " is not connected yet"}
	case !r.Connected():
		return Step{Done, "its half is made; " + f.Peer + " is not connected yet, and has the next step", append([]string{peer}, f.then(w)...)}
	case w.Data == Peer:
		return Step{Done, f.Peer + " is connected, and has to say that its data are the good ones", []string{peer}}
	case r.PeerUpToDate():
		return Step{Refuse, f.Peer + " has good data already, which would be overwritten", []string{"kvmha drbd init " + f.Resource + " --data peer"}}
	case w.Data == None:
		return Step{Act: SkipSync, Why: "both are blank, so nothing has to be copied"}
	}
	return Step{Act: Force, Why: "the data here are the good ones"}
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
		return Step{Done, "it has good data, and is primary here", []string{"kvmha drbd status " + f.Resource}}
	}
	return Step{Done, "it has good data", []string{"kvmha drbd status " + f.Resource, "kvmha check"}}
}

// explain refuses where nobody said whose data the two begin with.
func (f Facts) explain() Step {
	init := "kvmha drbd init " + f.Resource + " --data "
	return Step{Refuse, "it has to be said whose data the two nodes begin with", []string{
		init + "none   # nobody's: both disks are blank, nothing is copied; on both nodes",
		init + "here   # this node's: what is on its disk stays, and is copied to " + f.Peer,
		init + "peer   # " + f.Peer + "'s: what is on the disk here is overwritten",
	}}
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
