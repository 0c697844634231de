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

// verifyDue reports whether the time of day has come since the last verification, or since the agent began: what was missed then is not made up for, in
// the middle of the day.
func verifyDue(at confsync.TimeOfDay, last, wall time.Time) bool {
	return at.Set && at.Last(wall).After(last)
}

// verifying compares both sides of a group's resources once a day, on the node that is active, until ctx ends. While they may not be compared it waits.
func (a *Agent) verifying(ctx context.Context, group string, k *storage.Keeper, at confsync.TimeOfDay) {
	last := time.Now()
	for ; at.Set && ctx.Err() == nil; sleep(ctx, verifyLook) {
		now := time.Now()
		if !verifyDue(at, last, now) || k.MayVerify() != "" {
			continue
		}
		last = now
		for _, name := range k.Resources {
			kib, err := k.Verify(ctx, name)
			if ctx.Err() != nil {
				return
			}
			a.Log.Info("verified", "group", group, "resource", name, "differs_kib", kib, "error", err)
			a.tellOf(group, verified(name, kib, err))
		}
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
