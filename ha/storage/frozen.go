package storage

import (
	"context"
	"slices"
	"time"

	"kvmctl/ha/drbd"
	"kvmctl/ha/failover"
	"kvmctl/ha/right"
)

// The times of writes that stand still.
const (
	thawAfter   = time.Second     // DRBD asks by its handler, and goes on by its answer: whoever comes later than that is not waited for by it
	frozenLong  = 5 * time.Second // from then on people are told
	askFrozen   = 30 * time.Second
	frozenAgain = 2 * time.Second // until what could not be done is tried again
)

// lostTo says to whom this node, which is active, has lost its right; empty: to nobody. mu is held.
func (k *Keeper) lostTo() string {
	if k.lost != "" {
		return k.lost
	}
	why, _ := right.Lost(k.situation())
	return why
}

func (k *Keeper) lostNow() string {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.lostTo()
}

// frozen lists the resources whose writes stand still because their peer is gone, the last one first; mu is held.
func (k *Keeper) frozen() (names []string) {
	for _, name := range slices.Backward(k.Resources) {
		if r, ok := k.disks[name]; ok && frozen(r) {
			names = append(names, name)
		}
	}
	return names
}

func frozen(r drbd.Resource) bool {
	return r.Role == drbd.Primary && !r.Connected() && r.Suspended&^drbd.ByUser != 0
}

// noteFrozen keeps since when something is frozen, and has Run look after it; mu is held.
func (k *Keeper) noteFrozen() {
	if len(k.frozen()) == 0 {
		k.frozenAt = time.Time{}
		return
	}
	if k.frozenAt.IsZero() {
		k.frozenAt = k.Now()
	}
	select {
	case k.cold <- struct{}{}:
	default: // it will
	}
}

// standsStill says in a resource's state why its writes stand still, once that lasts; mu is held.
func (k *Keeper) standsStill(d *failover.Disk, r drbd.Resource) {
	if k.frozenAt.IsZero() || k.Now().Sub(k.frozenAt) < frozenLong || !frozen(r) {
		return
	}
	v := right.MayStayAlone(k.situation())
	if d.Frozen = v.Why; v.May {
		d.Frozen = "they are about to go on"
		if k.unwritten != "" {
			d.Frozen = "that this node goes on alone has to be written down first: " + k.unwritten
		}
	}
	d.Command = v.Override
}

// mindFrozen looks after writes that stand still until ctx ends. Where the peer went on without them they fail: else their programs would hang in the kernel
// for ever, the file system could not be unmounted, and only a reboot would bring the node back. Where this node gets the right to go on after all, they go
// on: DRBD asks its handler once for each loss, so an answer that comes later is nobody's.
func (k *Keeper) mindFrozen(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-k.cold:
		}
		if k.lostNow() != "" {
			k.abandon(ctx)
			continue
		}
		sleep(ctx, thawAfter)
		if k.stillFrozen() == nil {
			continue
		}
		within, cancel := context.WithTimeout(ctx, askFrozen)
		by, err := k.Acquire(within)
		cancel()
		if err != nil || by == right.Connected {
			sleep(ctx, thawAfter)
			continue
		}
		sleep(ctx, thawAfter) // the handler may have had the same answer
		k.thaw(ctx, by)
	}
}

// stillFrozen lists what is, unless the right was lost.
func (k *Keeper) stillFrozen() []string {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.lostTo() != "" {
		return nil
	}
	return k.frozen()
}

func (k *Keeper) thaw(ctx context.Context, by right.Kind) {
	for _, name := range k.stillFrozen() {
		if err := k.Disks.ResumeIO(ctx, name); err != nil {
			k.Log.Error("have the frozen writes go on", "group", k.Group, "resource", name, "error", err)
			sleep(ctx, frozenAgain)
			continue
		}
		k.Log.Warn("frozen writes go on", "group", k.Group, "resource", name, "by", by)
	}
}

func (k *Keeper) abandon(ctx context.Context) {
	k.mu.Lock()
	names, why := k.frozen(), k.lostTo()
	k.mu.Unlock()
	for _, name := range names {
		if err := k.Disks.Abandon(ctx, name); err != nil {
			k.Log.Error("have the frozen writes fail", "group", k.Group, "resource", name, "error", err)
			sleep(ctx, frozenAgain)
			continue
		}
		k.Log.Warn("frozen writes have failed: none of them was acknowledged", "group", k.Group, "resource", name, "cause", why)
	}
}
