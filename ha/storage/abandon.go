package storage

import (
	"context"
	"slices"
	"time"

	"kvmctl/ha/drbd"
	"kvmctl/ha/right"
)

// abandonAgain is until a resource that could not be abandoned is tried again.
const abandonAgain = 2 * time.Second

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

// doomed lists the resources whose frozen writes can never be acknowledged, because the peer went on without them; mu is held.
func (k *Keeper) doomed() (names []string, why string) {
	if why = k.lostTo(); why == "" {
		return nil, ""
	}
	for _, name := range slices.Backward(k.Resources) {
		if r, ok := k.disks[name]; ok && r.Role == drbd.Primary && !r.Connected() && r.Suspended&^drbd.ByUser != 0 {
			names = append(names, name)
		}
	}
	return names, why
}

// abandonSoon has Run look at what is doomed; mu is held.
func (k *Keeper) abandonSoon() {
	if names, _ := k.doomed(); len(names) == 0 {
		return
	}
	select {
	case k.doom <- struct{}{}:
	default: // it will
	}
}

// abandon has the frozen writes of a node that has lost its right fail. Without, their programs would hang in the kernel for ever, the file system could not be
// unmounted, and only a reboot would bring the node back.
func (k *Keeper) abandon(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-k.doom:
		}
		k.mu.Lock()
		names, why := k.doomed()
		k.mu.Unlock()
		for _, name := range names {
			err := k.Disks.Abandon(ctx, name)
			if err != nil {
				k.Log.Error("have the frozen writes fail", "group", k.Group, "resource", name, "error", err)
				sleep(ctx, abandonAgain)
				continue
			}
			k.Log.Warn("frozen writes have failed: none of them was acknowledged", "group", k.Group, "resource", name, "cause", why)
		}
	}
}
