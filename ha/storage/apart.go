package storage

import (
	"context"
	"fmt"
	"time"

	"kvmctl/ha/drbd"
	"kvmctl/ha/failover"
)

// The times of a resource that is StandAlone.
const (
	apartFor   = 2 * time.Second // it is so for a moment whenever it comes up, and whenever somebody connects it again
	apartAgain = 5 * time.Second // between two attempts to connect by itself
)

// Parted is what one node says of a resource that is StandAlone there.
type Parted struct {
	Cause   drbd.Cause `json:"cause"`
	Here    uint64     `json:"here_kib"`  // changed here when the two met last
	There   uint64     `json:"there_kib"` // changed at the peer then
	Changed uint64     `json:"changed_kib"`
	Counted bool       `json:"counted"` // Changed is known
	Primary bool       `json:"primary,omitempty"`
}

// parting is what is known of a resource that is StandAlone here.
type parting struct {
	since time.Time
	known bool // somebody has looked why
	apart drbd.Apart
	tried time.Time // to connect by itself

	changed uint64 // KiB, since they parted
	counted bool   // changed is known
}

// cause puts DRBD's in the words of the failover machine.
func (p parting) cause() failover.Apart {
	switch p.apart.Cause {
	case drbd.ByAdmin:
		return failover.ApartAdmin
	case drbd.WrongSecret:
		return failover.ApartSecret
	case drbd.SplitBrain:
		return failover.ApartSplit
	case drbd.TwoPrimaries:
		return failover.ApartPrimaries
	case drbd.OtherSettings:
		return failover.ApartSettings
	case drbd.Unclear, drbd.OtherProtocol, drbd.Unrelated:
	}
	return failover.ApartUnclear
}

// words says it for people.
func (p parting) words(peer string) string {
	a := p.apart
	switch {
	case !p.known || a.Cause == drbd.Unclear:
		return ""
	case a.Cause == drbd.SplitBrain && a.Met > 0:
		return fmt.Sprintf("when they met last, %d KiB had changed here and %d KiB at %s", a.Here, a.There, peer)
	case a.Cause == drbd.OtherProtocol || a.Cause == drbd.OtherSettings || a.Cause == drbd.Unrelated:
		return fmt.Sprintf("%v (%s)", a.Cause, a.Said)
	}
	return ""
}

// noteApart keeps since when resources are StandAlone; mu is held.
func (k *Keeper) noteApart() {
	for _, name := range k.Resources {
		r, ok := k.disks[name]
		switch {
		case ok && r.AllUpToDate() && r.PeerUpToDate():
			delete(k.split, name)
			delete(k.giveUp, name)
		case !ok || !r.StandAlone() || r.Failed():
			delete(k.split, name)
		case k.split[name] == nil:
			k.split[name] = &parting{since: k.Now()}
		}
	}
}

// partedOf lists what this node says of them; mu is held.
func (k *Keeper) partedOf() map[string]Parted {
	if len(k.split) == 0 {
		return nil
	}
	all := map[string]Parted{}
	for name, p := range k.split {
		if r := k.disks[name]; p.known {
			all[name] = Parted{Cause: p.apart.Cause, Here: p.apart.Here, There: p.apart.There, Changed: p.changed, Counted: p.counted, Primary: r.Role == drbd.Primary}
		}
	}
	return all
}

// mindApart finds out why resources are StandAlone, and has those connect again of which nothing is to be decided, until ctx ends.
func (k *Keeper) mindApart(ctx context.Context) {
	t := time.NewTicker(apartFor / 2)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
		k.lookWhy(ctx)
		k.count(ctx)
		for _, name := range k.Resources {
			k.joinAgain(ctx, name)
		}
	}
}

// lookWhy reads the kernel's log for those that are StandAlone for a while.
func (k *Keeper) lookWhy(ctx context.Context) {
	k.mu.Lock()
	var s drbd.State
	for name, p := range k.split {
		if !p.known && k.Now().Sub(p.since) >= apartFor {
			s.Resources = append(s.Resources, k.disks[name])
		}
	}
	k.mu.Unlock()
	if len(s.Resources) == 0 {
		return
	}
	causes, err := k.Disks.Causes(ctx, s)
	if err != nil {
		k.Log.Warn("find out why it is StandAlone", "group", k.Group, "error", err)
	}
	k.mu.Lock()
	for _, r := range s.Resources {
		if p := k.split[r.Name]; p != nil {
			if a := causes[r.Name]; p.apart.Cause == drbd.Unclear {
				p.apart = a
			}
			p.known = true
			k.Log.Warn("standalone", "group", k.Group, "resource", r.Name, "cause", p.apart.Cause.String(), "said", p.apart.Said)
		}
	}
	k.mu.Unlock()
	k.greetSoon()
	k.tell()
}

// count reads how much has changed here.
func (k *Keeper) count(ctx context.Context) {
	k.mu.Lock()
	var apart []drbd.Resource
	for name := range k.split {
		apart = append(apart, k.disks[name])
	}
	k.mu.Unlock()
	for _, r := range apart {
		kib, known, err := k.Disks.Changed(ctx, r)
		if err != nil {
			k.Log.Warn("count what has changed", "group", k.Group, "resource", r.Name, "error", err)
		}
		k.mu.Lock()
		if p := k.split[r.Name]; p != nil {
			p.changed, p.counted = kib, known && err == nil
		}
		k.mu.Unlock()
	}
}

// joining is what a node does by itself about a resource that is StandAlone.
type joining int

const (
	joinNot     joining = iota // a person decides
	joinPlain                  // connect: DRBD goes by its generations, nobody's data are in question
	joinDiscard                // connect, and take the peer's data: nothing was changed here
)

// join decides: by what this node says, and by what the peer says of the same resource, which may be nothing.
func join(own Parted, other *Parted, peerActive bool) joining {
	switch {
	case own.Primary && peerActive: // neither can be resynced
		return joinNot
	case own.Cause == drbd.TwoPrimaries:
		return joinPlain
	case own.Cause != drbd.SplitBrain || other == nil || other.Cause != drbd.SplitBrain:
		return joinNot
	case untouched(own, *other) && !untouched(*other, own):
		return joinDiscard
	case untouched(*other, own) && !untouched(own, *other):
		return joinPlain
	case untouched(own, *other) && own.Primary != other.Primary: // both: whoever serves stays
		return map[bool]joining{true: joinPlain, false: joinDiscard}[own.Primary]
	}
	return joinNot
}

// untouched reports whether a node changed nothing since the two parted: both say so of when they met, and it says so of now.
func untouched(n, peer Parted) bool {
	return n.Here == 0 && peer.There == 0 && n.Counted && n.Changed == 0 && !n.Primary
}

// joinAgain connects a resource where that loses nothing.
func (k *Keeper) joinAgain(ctx context.Context, name string) {
	k.mu.Lock()
	own, ok := k.partedOf()[name]
	var other *Parted
	if there, said := k.hello.Parted[name]; said {
		other = &there
	}
	p := k.split[name]
	do := joinNot
	if ok && k.heard() && k.lostTo() == "" && k.Now().Sub(p.tried) >= apartAgain {
		if do = join(own, other, k.hello.Active); do != joinNot {
			p.tried = k.Now()
		}
	}
	if do == joinDiscard {
		k.giveUp[name] = true
	}
	k.mu.Unlock()
	var err error
	switch do {
	case joinNot:
		return
	case joinPlain:
		err = k.Disks.Connect(ctx, name)
	case joinDiscard:
		if k.count(ctx); !k.unchanged(name) { // nobody has written since it was counted
			return
		}
		err = k.Disks.ConnectDiscardMyData(ctx, name)
	}
	k.Log.Warn("connects again by itself", "group", k.Group, "resource", name, "cause", own.Cause.String(), "discards_nothing", do == joinDiscard, "error", err)
}

// unchanged reports whether a resource is Secondary here, and was not written to since the two parted.
func (k *Keeper) unchanged(name string) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	p, r := k.split[name], k.disks[name]
	return p != nil && p.counted && p.changed == 0 && r.Role == drbd.Secondary
}
