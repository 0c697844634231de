package storage

import (
	"fmt"
	"slices"

	"kvmctl/ha/drbd"
	"kvmctl/ha/failover"
	"kvmctl/ha/right"
)

// tell has the group's machine know what is new, and wakes whoever waits for a change.
func (k *Keeper) tell() {
	k.telling.Lock() // what is told last is what is so
	defer k.telling.Unlock()
	k.mu.Lock()
	k.noteFrozen()
	var news []failover.Input
	for _, name := range k.Resources {
		if !k.seen {
			break
		}
		r, configured := k.disks[name]
		d := diskOf(name, r, configured, k.split[name], k.Config.Peer)
		if d.State == failover.DiskFailed {
			d.Why = k.whyFailed(name, d.Why)
		}
		k.standsStill(&d, r)
		if before, ok := k.told[name]; !ok || before != d {
			k.told[name] = d
			news = append(news, d)
		}
	}
	if k.seen {
		now := k.rightOf()
		if now != k.toldOf {
			k.toldOf = now
			news = append(news, now)
		}
	}
	for c := range k.wakes {
		select {
		case c <- struct{}{}:
		default:
		}
	}
	k.mu.Unlock()
	for _, in := range news {
		k.Tell(in)
	}
}

// diskOf puts a resource in the terms of the failover machine.
func diskOf(name string, r drbd.Resource, configured bool, apart *parting, peer string) failover.Disk {
	d := failover.Disk{Name: name}
	switch {
	case !configured:
		d.State, d.Why = failover.DiskFailed, "DRBD does not know it"
		return d
	case r.Failed():
		d.State, d.Why = failover.DiskFailed, disksOf(r)
	case usable(r):
		d.State = failover.DiskUpToDate
	default:
		d.State, d.Why = failover.DiskWaits, disksOf(r)
	}
	switch {
	case apart == nil:
	case apart.known:
		d.Apart = apart.cause()
		if why := apart.words(peer); why != "" {
			d.Why = why
		}
	case d.State == failover.DiskUpToDate:
		d.State, d.Why = failover.DiskWaits, "it is StandAlone: the kernel's log will say why"
	}
	d.Syncing = r.Resyncing() != drbd.Nowhere
	d.PeerUpToDate = r.PeerUpToDate()
	if d.State == failover.DiskWaits && d.Syncing {
		d.Why += ", a resync is under way"
	}
	return d
}

// whyFailed says what is known of a resource that has failed; mu is held.
func (k *Keeper) whyFailed(name, why string) string {
	switch down := k.downs[name]; {
	case k.blind != "":
		return "DRBD cannot be asked: " + k.blind
	case down != "":
		return why + ": " + down
	}
	return why
}

// disksOf lists what is wrong with the volumes here.
func disksOf(r drbd.Resource) string {
	var worst drbd.Disk
	number := -1
	for _, v := range r.Volumes {
		if v.Disk != drbd.UpToDate {
			worst, number = v.Disk, v.Number
			break
		}
	}
	switch {
	case number < 0:
		return "it has no volume here"
	case len(r.Volumes) == 1:
		return worst.String()
	}
	return fmt.Sprintf("volume %d is %s", number, worst)
}

// rightOf sums up what may be done alone; mu is held.
func (k *Keeper) rightOf() failover.Right {
	s := k.situation()
	if s.Active {
		if why := k.lostTo(); why != "" {
			return failover.Right{State: failover.RightLost, Why: why}
		}
		return failover.Right{State: failover.RightYes, Sole: sole(s)}
	}
	v := right.MayPromote(s)
	switch {
	case v.May && v.Write == nil:
		return failover.Right{State: failover.RightYes, Sole: sole(s)}
	case v.May:
		return failover.Right{State: failover.RightAsk, Why: "it may, by " + string(v.By)}
	case v.Reason == right.ReasonPeerActive, slices.ContainsFunc(v.Ask, k.canAsk):
		return failover.Right{State: failover.RightAsk, Why: v.Why, Command: v.Override}
	}
	return failover.Right{State: failover.RightNo, Why: v.Why, Command: v.Override}
}

// sole reports whether this node went on alone, and the peer is not heard to have done so too.
func sole(s right.Situation) bool {
	return s.Own.State == right.Alone && (s.Heard == nil || s.Heard.State != right.Alone)
}

// canAsk reports whether there is anybody to ask; mu is held.
func (k *Keeper) canAsk(by right.Kind) bool {
	switch by {
	case right.LetGo:
		return k.heard()
	case right.Arbiter:
		return k.Arbiter != nil
	case right.Fence:
		return k.Fencer != nil
	}
	return false
}
