package storage

import (
	"context"
	"errors"
	"fmt"

	"kvmctl/ha/arbiter"
	"kvmctl/ha/failover"
)

// Act gives what carries out a step of the failover machine; nil: it is none of storage's.
func (k *Keeper) Act(s failover.Step) func(context.Context) error {
	switch s.Kind {
	case failover.KindRight:
		return func(ctx context.Context) error { _, err := k.Acquire(ctx); return err }
	case failover.KindUp:
		return func(ctx context.Context) error { return k.up(ctx, s.Name) }
	case failover.KindPrimary:
		return func(ctx context.Context) error { return k.Disks.Primary(ctx, s.Name) }
	case failover.KindSecondary:
		return func(ctx context.Context) error { return k.Disks.Secondary(ctx, s.Name) }
	case failover.KindMount:
		return func(ctx context.Context) error { return k.Mounts.Mount(ctx, s.Name) }
	case failover.KindUnmount:
		return func(ctx context.Context) error { return k.unmount(ctx, s.Name) }
	}
	return nil
}

// up brings a resource up, and keeps why that failed for whoever is told of the disk.
func (k *Keeper) up(ctx context.Context, resource string) error {
	err := k.upAtLast(ctx, resource)
	k.mu.Lock()
	if delete(k.downs, resource); err != nil && !errors.Is(ctx.Err(), context.Canceled) {
		k.downs[resource] = err.Error()
	}
	k.mu.Unlock()
	k.tell()
	return err
}

// upAtLast brings it up once its own address is there: DRBD would take its absence for a mistake (row D7).
func (k *Keeper) upAtLast(ctx context.Context, resource string) error {
	if k.Addresses != nil {
		within, cancel := context.WithTimeout(ctx, k.AddressWait)
		err := k.Addresses(within, resource)
		cancel()
		if err != nil {
			return fmt.Errorf("wait for the address of %s: %w", resource, err)
		}
	}
	return k.Disks.Up(ctx, resource)
}

// unmount lets go of a file system, and names in the log whom that has cost his life.
func (k *Keeper) unmount(ctx context.Context, dir string) error {
	ended, err := k.Mounts.Unmount(ctx, dir)
	for _, who := range ended {
		k.Log.Warn("held a file system that is let go", "group", k.Group, "directory", dir, "holder", who)
	}
	return err
}

// Standing sums up the storage for people.
type Standing struct {
	Record string `json:"record"`
	Alone  string `json:"alone"`
	Asks   bool   `json:"asks,omitempty"`
	Disks  []Disk `json:"disks"`
}

// Disk is one resource of a Standing.
type Disk struct {
	Resource   string `json:"resource"`
	Role       string `json:"role"`
	Disk       string `json:"disk"`
	Connection string `json:"connection"`
	Peer       string `json:"peer_disk"`
	OutOfSync  uint64 `json:"out_of_sync_kib"`
	Suspended  string `json:"suspended,omitempty"`
}

// Standing is what `kvmha status` shows.
func (k *Keeper) Standing() Standing {
	k.mu.Lock()
	defer k.mu.Unlock()
	s := Standing{Record: k.record.String(), Alone: k.Alone.String(), Asks: k.inFlight != (arbiter.ID{})}
	if k.damaged != nil {
		s.Record = "cannot be read: " + k.damaged.Error()
	}
	for _, name := range k.Resources {
		r, ok := k.disks[name]
		d := Disk{Resource: name}
		if !ok {
			d.Disk = "not configured"
			s.Disks = append(s.Disks, d)
			continue
		}
		d.Role, d.OutOfSync = r.Role.String(), r.OutOfSync()
		if r.Suspended != 0 {
			d.Suspended = r.Suspended.String()
		}
		for _, v := range r.Volumes {
			d.Disk = v.Disk.String()
		}
		d.Connection = "StandAlone"
		for _, p := range r.Peers {
			d.Connection = p.Connection.String()
			for _, v := range p.Volumes {
				d.Peer = v.Disk.String()
			}
		}
		s.Disks = append(s.Disks, d)
	}
	return s
}
