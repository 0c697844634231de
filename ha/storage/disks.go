package storage

import (
	"slices"
	"time"

	"kvmctl/ha/arbiter"
	"kvmctl/ha/drbd"
	"kvmctl/ha/right"
)

// sawDisks takes a state of the disks, or why there is none.
func (k *Keeper) sawDisks(s drbd.State, err error) {
	k.mu.Lock()
	k.seen, k.blind = true, ""
	if err != nil {
		k.blind = err.Error()
	}
	was := !k.joined.IsZero()
	clear(k.disks)
	for _, name := range k.Resources {
		if r, ok := s.Resource(name); ok {
			k.disks[name] = r
			if !r.Failed() {
				delete(k.downs, name)
			}
		}
	}
	k.noteApart()
	joined := k.connected()
	switch {
	case joined && !was:
		k.joined = k.Now()
		k.both, k.behind, k.last = false, false, right.Record{}
		k.inFlight, k.licence, k.lost = arbiter.ID{}, right.Licence{}, "" // what was asked before is over
	case !joined && was:
		k.joined = time.Time{}
	}
	if joined {
		k.both = k.allUpToDate() && k.peerUpToDate()
		k.behind = k.allUpToDate() && k.peerBehind()
	}
	k.mu.Unlock()
	if joined != was {
		k.greetSoon()
	}
	k.pair()
	k.tell()
}

// What follows is asked with mu held.

func (k *Keeper) every(is func(drbd.Resource) bool) bool {
	for _, name := range k.Resources {
		if r, ok := k.disks[name]; !ok || !is(r) {
			return false
		}
	}
	return true
}

func (k *Keeper) any(is func(drbd.Resource) bool) bool {
	return slices.ContainsFunc(k.Resources, func(name string) bool { r, ok := k.disks[name]; return ok && is(r) })
}

func (k *Keeper) connected() bool    { return k.every(drbd.Resource.Connected) }
func (k *Keeper) allUpToDate() bool  { return k.every(usable) }
func (k *Keeper) peerUpToDate() bool { return k.every(drbd.Resource.PeerUpToDate) }
func (k *Keeper) active() bool {
	return k.any(func(r drbd.Resource) bool { return r.Role == drbd.Primary })
}

// peerBehind reports whether the peer's data are on the way to good, from here, or known to be old.
func (k *Keeper) peerBehind() bool {
	return k.any(func(r drbd.Resource) bool { return r.Resyncing() == drbd.ToPeer || !r.PeerUpToDate() })
}

// usable reports whether a resource's data may be promoted as far as they themselves are concerned. Consistent is what DRBD with fencing says of good data at a
// boot without the peer, which may have better ones: then the right to be alone decides, and DRBD asks for it once more by its fence-peer handler.
func usable(r drbd.Resource) bool {
	alone := !slices.ContainsFunc(r.Peers, func(p drbd.Peer) bool { return p.Connection == drbd.Connected })
	return len(r.Volumes) > 0 && !slices.ContainsFunc(r.Volumes, func(v drbd.Volume) bool {
		return v.Disk != drbd.UpToDate && !(alone && v.Disk == drbd.Consistent)
	})
}
