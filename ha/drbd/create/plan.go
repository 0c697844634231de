package create

import (
	"fmt"
	"slices"

	"kvmctl/ha/drbd"
)

// Plan gives the steps to the end, as they are if each does what it is for and the peer is there, just made, when it is waited for. The last one is Refuse
// or Done.
func Plan(f Facts, w Wish) (steps []Step) {
	for range Most(f) {
		s := Next(f, w)
		steps = append(steps, s)
		if s.Act == Refuse || s.Act == Done {
			break
		}
		f = after(f, s)
		w.Forced = w.Forced || s.Act == Force
	}
	return steps
}

// Most is more steps than any resource needs: whoever comes so far goes in a circle.
func Most(f Facts) int { return 8 + 3*len(f.Volumes) + len(f.Meta) }

// Command is what is executed for a step of a resource; empty: nothing is.
func (s Step) Command(resource string) string {
	switch s.Act {
	case Wipe:
		return "wipefs --all " + s.Disk
	case CreateMD:
		return fmt.Sprintf("drbdadm create-md --force %s/%d", resource, s.Volume)
	case Claim:
		return fmt.Sprintf("drbdadm -- --force <new>:0:0:0:1:1 set-gi %s/%d", resource, s.Volume)
	case Up:
		return "drbdadm adjust " + resource
	case Force:
		return "drbdadm primary --force " + resource
	case Demote:
		return "drbdadm secondary " + resource
	case SkipSync:
		return "drbdadm new-current-uuid --clear-bitmap " + resource
	case Refuse, Done, Await:
	}
	return ""
}

// after is what a step makes of the facts.
func after(f Facts, s Step) Facts {
	f.Volumes, f.Meta = slices.Clone(f.Volumes), slices.Clone(f.Meta)
	f.State.Volumes = slices.Clone(f.State.Volumes)
	each := func(d drbd.Disk) {
		for i := range f.State.Volumes {
			f.State.Volumes[i].Disk = d
		}
	}
	for i := range f.Volumes {
		v := &f.Volumes[i]
		switch {
		case s.Act == Wipe && v.Disk.Path == s.Disk:
			v.Disk.Content, v.Tail = nil, false
		case s.Act == CreateMD && v.Number == s.Volume:
			v.Metadata = Fresh
		case s.Act == Claim && v.Number == s.Volume:
			v.Metadata = Used
		}
	}
	for i := range f.Meta {
		if s.Act == Wipe && f.Meta[i].Path == s.Disk {
			f.Meta[i].Content = nil
		}
	}
	switch s.Act {
	case Up:
		f.Up, f.State.Role = true, drbd.Secondary
		f.State.Volumes = nil
		for _, v := range f.Volumes {
			disk := map[Metadata]drbd.Disk{NoMetadata: drbd.Diskless, Fresh: drbd.Inconsistent, Used: drbd.Consistent}[v.Metadata]
			f.State.Volumes = append(f.State.Volumes, drbd.Volume{Number: v.Number, Disk: disk})
		}
		f.State.Peers = []drbd.Peer{{Connection: drbd.Connecting}}
	case Await:
		p := drbd.Peer{Connection: drbd.Connected}
		for _, v := range f.State.Volumes {
			p.Volumes = append(p.Volumes, drbd.PeerVolume{Number: v.Number, Disk: drbd.Inconsistent})
		}
		f.State.Peers = []drbd.Peer{p}
	case Force:
		f.State.Role = drbd.Primary
		each(drbd.UpToDate)
	case Demote:
		f.State.Role = drbd.Secondary
	case SkipSync:
		each(drbd.UpToDate)
	case Refuse, Done, Wipe, CreateMD, Claim:
	}
	return f
}
