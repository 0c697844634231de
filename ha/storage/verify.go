package storage

import (
	"context"
	"errors"
	"fmt"
	"time"

	"kvmctl/ha/drbd"
)

// The times of a verification.
const (
	verifyLook   = time.Second
	verifyBegins = 10 * time.Second // until the kernel says that it runs, unless it has ended already
	verifyFor    = 7 * 24 * time.Hour
)

var (
	errVerifyBroken = errors.New("it was broken off: the connection was lost")
	errNotTold      = errors.New("the kernel's log does not say that every block was compared")
	errVerifyLong   = fmt.Errorf("it has not ended after %v", verifyFor)
	errNotCounted   = errors.New("DRBD does not say how much differs")
)

// MayVerify says whether this node is active, whose business it is to compare the resources with the peer's, and why they are not to be compared now; nil: they
// may be. A resync is waited for.
func (k *Keeper) MayVerify() (active bool, why error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, name := range k.Resources {
		r, ok := k.disks[name]
		if text := mayVerify(r, ok); text != "" {
			return k.active(), fmt.Errorf("resource %s %s", name, text)
		}
	}
	return k.active(), nil
}

func mayVerify(r drbd.Resource, known bool) string {
	switch {
	case !known:
		return "is not up"
	case r.Role != drbd.Primary:
		return "is not primary here"
	case r.Verifying() || r.Resyncing() != drbd.Nowhere:
		return "is being resynced or verified"
	case !r.AllUpToDate() || !r.PeerUpToDate():
		return "is not up to date on both sides"
	case r.Suspended != 0:
		return "has writes that stand still"
	}
	return ""
}

// Verify compares a resource with the peer's, block by block, and gives how much differs, in KiB. The kernel does it, at its own rate; where ctx ends, or the
// group moves, it goes on there.
func (k *Keeper) Verify(ctx context.Context, resource string) (kib uint64, err error) {
	if err := k.Disks.Verify(ctx, resource); err != nil {
		return 0, err
	}
	began := k.Now()
	t := time.NewTicker(verifyLook)
	defer t.Stop()
	for runs := false; ; {
		select {
		case <-ctx.Done():
			return 0, context.Cause(ctx)
		case <-t.C:
		}
		k.mu.Lock()
		r := k.disks[resource]
		k.mu.Unlock()
		switch took := k.Now().Sub(began); {
		case !r.Connected():
			return 0, errVerifyBroken
		case took > verifyFor:
			return 0, errVerifyLong
		case r.Verifying():
			runs = true
		case runs || took > verifyBegins:
			return k.compared(ctx, r)
		}
	}
}

// compared gives what a verification found that runs no more. The states may have missed that the connection was lost for a moment, so the kernel's log has to
// say that it came to its end.
func (k *Keeper) compared(ctx context.Context, r drbd.Resource) (kib uint64, err error) {
	switch how, err := k.Disks.Compared(ctx, r); {
	case err != nil:
		return 0, err
	case how == drbd.Partial:
		return 0, errVerifyBroken
	case how != drbd.Whole:
		return 0, errNotTold
	}
	kib, known, err := k.Disks.Changed(ctx, r)
	if err == nil && !known {
		err = errNotCounted
	}
	return kib, err
}
