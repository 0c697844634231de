package create

import (
	"fmt"
	"slices"
	"strings"
)

// below decides while the resource is down, or has no disks.
func (f Facts) below(w Wish) Step {
	if s := f.inTheWay(); s.Why != "" {
		return s
	}
	has := map[Metadata]int{}
	for _, v := range f.Volumes {
		has[v.Metadata]++
	}
	switch {
	case has[Used] > 0 && has[NoMetadata] > 0:
		return refuse("some of its volumes were made usable before, and some were not", "drbdadm create-md "+f.Resource+"/<volume>")
	case has[Used] > 0 && w.Data == Peer:
		return refuse("it was made usable before, and its data count as good: they would be copied to "+f.Peer, "drbdadm up "+f.Resource,
			"drbdadm wipe-md "+f.Resource+" && kvmha drbd init "+f.Resource+" --data peer")
	case has[NoMetadata] > 0 && w.Data == Unsaid:
		return f.explain()
	}
	var next *Step
	for _, v := range f.Volumes {
		if v.Metadata != NoMetadata {
			continue
		}
		s := f.make(v, w)
		if next == nil || s.Act == Refuse && next.Act != Refuse { // nothing is begun that another volume will stop
			next = &s
		}
	}
	if next != nil {
		return *next
	}
	for _, v := range f.Volumes {
		if v.Metadata == Fresh && w.Data == Here && !f.Nine {
			return Step{Act: Claim, Volume: v.Number, Why: "the data here are the good ones, whatever the peer has"}
		}
	}
	return Step{Act: Up, Why: "its disks have DRBD's metadata"}
}

// inTheWay refuses a disk that is missing or in use; with no Why: none is.
func (f Facts) inTheWay() Step {
	for _, d := range f.all() {
		if d.Missing {
			return refuse("its disk "+d.Path+" is not there", "lsblk", "kvmha drbd lint")
		}
		var who, end []string
		for _, u := range d.Users {
			who, end = append(who, u.Who), append(end, u.End)
		}
		if len(who) > 0 {
			return refuse(fmt.Sprintf("its disk %s is in use (%s)", d.Path, strings.Join(who, ", ")), slices.Compact(end)...)
		}
	}
	return Step{}
}

func (f Facts) all() (all []Disk) {
	for _, v := range f.Volumes {
		all = append(all, v.Disk)
	}
	return append(all, f.Meta...)
}

// make decides about a volume without metadata.
func (f Facts) make(v Volume, w Wish) Step {
	again := fmt.Sprintf("kvmha drbd init %s --data %s --yes", f.Resource, w.Data)
	over := f.Meta // what would be overwritten
	if w.Data != Here {
		over = append([]Disk{v.Disk}, f.Meta...)
	}
	for _, d := range over {
		what := strings.Join(d.Content, ", ")
		switch {
		case what == "":
		case w.Yes:
			return Step{Act: Wipe, Disk: d.Path, Why: "it may be overwritten: " + what}
		case w.Data == Here:
			return refuse(fmt.Sprintf("its meta-disk %s has something on it (%s), which would be lost", d.Path, what), again)
		default:
			return refuse(fmt.Sprintf("its disk %s has something on it (%s), which would be lost", d.Path, what), "kvmha drbd init "+f.Resource+" --data here", again)
		}
	}
	if w.Data == Here && v.Inside {
		const outside = "kvmha drbd template --help, for a meta-disk that is not inside"
		i := slices.IndexFunc(v.Disk.Content, func(what string) bool { return !slices.Contains(measured, what) })
		switch {
		case i >= 0:
			return refuse(fmt.Sprintf("its disk %s has %s on it, whose end cannot be told: DRBD's metadata might overwrite a part of it", v.Disk.Path, v.Disk.Content[i]), outside)
		case len(v.Disk.Content) == 0 && v.Tail && !w.Yes:
			return refuse(fmt.Sprintf("the end of its disk %s, where DRBD's metadata belong, is not empty", v.Disk.Path), outside, again)
		}
	}
	return Step{Act: CreateMD, Volume: v.Number, Why: "its disk has no metadata of DRBD's"}
}

// measured are file systems whose size drbdmeta(8) reads (drbdmeta.c, check_for_existing_data): it refuses itself where they leave it no room. Over the end of
// anything else it writes when it is forced to; seen with partition tables, LUKS and btrfs.
var measured = []string{"ext2", "ext3", "ext4", "xfs", "reiserfs", "jfs"}
