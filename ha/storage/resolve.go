package storage

import (
	"context"
	"fmt"

	"kvmctl/ha/drbd"
)

// Side is what a node says of a resource while a split brain is resolved.
type Side struct {
	Node       string `json:"node"`
	Group      string `json:"group"`
	Role       string `json:"role"` // DRBD's
	Disk       string `json:"disk"`
	Connection string `json:"connection"`
	Record     string `json:"record"` // of who may be alone
	Why        string `json:"why,omitempty"`
	Cause      string `json:"cause"` // why it is StandAlone; "together": it is not
	Changed    uint64 `json:"changed_kib"`
	Size       uint64 `json:"size_kib"`

	// Percent of a resync that is under way; 100: both sides are UpToDate.
	Percent float64 `json:"percent,omitempty"`
}

// Apart reports whether the resource is StandAlone there.
func (s Side) Apart() bool { return s.Cause != together }

const together = "together"

// Side is what this node says of a resource.
func (k *Keeper) Side(resource string) (s Side, err error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	r, ok := k.disks[resource]
	if !ok {
		return s, fmt.Errorf("DRBD does not know %s on %s", resource, k.Node)
	}
	s = Side{Node: k.Node, Group: k.Group, Role: r.Role.String(), Record: k.record.String(), Why: k.record.Why, Cause: together, Changed: r.OutOfSync(), Connection: "StandAlone"}
	if p := k.split[resource]; p != nil {
		s.Cause, s.Changed = p.apart.Cause.String(), p.changed
	}
	for _, v := range r.Volumes {
		s.Size += v.Size
	}
	s.Disk = drbd.UpToDate.String()
	if !r.AllUpToDate() {
		s.Disk = disksOf(r)
	}
	for _, p := range r.Peers {
		s.Connection = p.Connection.String()
		for _, v := range p.Volumes {
			s.Percent = max(s.Percent, v.Done)
		}
	}
	if r.AllUpToDate() && r.PeerUpToDate() {
		s.Percent = 100
	}
	return s, nil
}

// Quiet reports whether nobody writes to a resource here.
func (k *Keeper) Quiet(resource string) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	r, ok := k.disks[resource]
	return ok && r.Role == drbd.Secondary
}

// SideNow is Side with what has changed until now.
func (k *Keeper) SideNow(ctx context.Context, resource string) (Side, error) {
	k.count(ctx)
	return k.Side(resource)
}

// Discard has this node take the peer's data, as the loser of a split brain, whose data were kept when so much had changed. It is refused if somebody has
// written since then.
func (k *Keeper) Discard(ctx context.Context, resource string, changed uint64) error {
	s, err := k.SideNow(ctx, resource)
	if err != nil {
		return err
	}
	if s.Changed != changed {
		return &RefusedError{Why: fmt.Sprintf("it was written to after its disks were kept: %d KiB had changed then, and %d KiB have now", changed, s.Changed)}
	}
	k.mu.Lock()
	k.giveUp[resource] = true
	k.mu.Unlock()
	if err := k.Disks.Disconnect(ctx, resource); err != nil {
		return err
	}
	return k.Disks.ConnectDiscardMyData(ctx, resource)
}

// Join has this node, which keeps its data, connect again.
func (k *Keeper) Join(ctx context.Context, resource string) error {
	return k.Disks.Connect(ctx, resource)
}
