package ha

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"kvmctl/ha/confsync"
	"kvmctl/ha/failover"
	"kvmctl/ha/storage"
)

// verifyLook is how often it is asked whether it is time to compare both sides of a group's resources.
const verifyLook = 20 * time.Second

// verifyNow decides whether both sides are to be compared now, and gives the instant up to which the times of day are done with. On the node that is active a time
// of day waits until they may be; on the other one it is done with at once: who becomes active at noon does not make up for it in the middle of the day, and
// neither does who was started then.
func verifyNow(at confsync.TimeOfDay, done, wall time.Time, active, may bool) (bool, time.Time) {
	switch {
	case !at.Set || !at.Last(wall).After(done):
		return false, done
	case !active:
		return false, wall
	case !may:
		return false, done
	}
	return true, wall
}

// verifying compares both sides of a group's resources once a day, on the node that is active, until ctx ends.
func (a *Agent) verifying(ctx context.Context, group string, k *storage.Keeper, at confsync.TimeOfDay) {
	done := time.Now()
	for ; at.Set && ctx.Err() == nil; sleep(ctx, verifyLook) {
		active, why := k.MayVerify()
		var now bool
		if now, done = verifyNow(at, done, time.Now(), active, why == nil); now {
			a.verifyAll(ctx, group, k)
		}
	}
}

// verifyAll compares one resource after the other, and tells the results, until the other node is active or ctx ends.
func (a *Agent) verifyAll(ctx context.Context, group string, k *storage.Keeper) {
	for _, name := range k.Resources {
		active, err := k.MayVerify() // the one before may have taken hours
		if !active {
			a.Log.Info("not verified: it is not active here any more", "group", group, "resource", name)
			return
		}
		var kib uint64
		if err == nil {
			kib, err = k.Verify(ctx, name)
		}
		if ctx.Err() != nil {
			return
		}
		a.Log.Info("verified", "group", group, "resource", name, "differs_kib", kib, "error", err)
		a.tellOf(group, verified(name, kib, err))
	}
}

// verified is what people are told of a verification.
func verified(resource string, kib uint64, err error) failover.Alert {
	t := failover.Alert{Kind: failover.AlertNotice, Subject: failover.AboutVerify, Name: resource}
	switch {
	case err != nil:
		t.Facts, t.Command = []string{fmt.Sprintf("resource %s: it is not known whether both sides are the same: %v", resource, err)}, "kvmha drbd verify "+resource
	case kib > 0:
		t.Facts = []string{fmt.Sprintf("resource %s: %d KiB differ between the two sides, which both say that they are up to date: see to the disks and the memory of both nodes", resource, kib),
			"the command, typed on the active node, overwrites the peer's with what it has"}
		t.Command = "drbdadm disconnect " + resource + " && drbdadm connect " + resource
	default:
		t.Facts = []string{"resource " + resource + ": both sides are the same, block for block"}
	}
	return t
}

// tellOf has the voices of a group say something.
func (a *Agent) tellOf(group string, t failover.Alert) {
	a.Log.Warn("alert", "group", group, "kind", t.Kind, "subject", t.Subject, "name", t.Name, "facts", strings.Join(t.Facts, "; "), "command", t.Command)
	spec := a.channel.known()
	if i := slices.IndexFunc(spec.Groups, func(g Group) bool { return g.Name == group }); a.Voices != nil && i >= 0 {
		a.Voices.Say(spec, spec.Groups[i], t)
	}
}
