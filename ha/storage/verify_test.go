package storage

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"kvmctl/ha/drbd"
)

// TestAVerificationThatWasBrokenOffIsNotTakenForAWhole: the connection is lost and back between two looks at it, and DRBD's states are as after a good end.
func TestAVerificationThatWasBrokenOffIsNotTakenForAWhole(t *testing.T) {
	for _, c := range []struct {
		name string
		ends func(l *lab, n *labNode)
		kib  uint64
		want error
	}{
		{"to its end", func(l *lab, n *labNode) { l.set(func() { n.verifies, n.far, n.changed = false, drbd.Whole, 8 }) }, 8, nil},
		{"broken off for a moment", func(l *lab, n *labNode) { l.set(func() { n.verifies, n.far = false, drbd.Partial }) }, 0, errVerifyBroken},
		{"the connection stays away", func(l *lab, n *labNode) { l.set(func() { n.verifies, n.far, l.link = false, drbd.Partial, false }) }, 0, errVerifyBroken},
		{"the log does not say", func(l *lab, n *labNode) { l.set(func() { n.verifies, n.far = false, drbd.NotTold }) }, 0, errNotTold},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l := newLab(t, "varda2")
				n := l.nodes[0]
				time.AfterFunc(time.Hour, func() { c.ends(l, n) })
				if kib, err := n.Keeper.Verify(t.Context(), "r0"); kib != c.kib || !errors.Is(err, c.want) {
					t.Errorf("%d KiB, %v", kib, err)
				}
			})
		})
	}
}

func TestWhetherAResourceMayBeCompared(t *testing.T) {
	for _, c := range []struct {
		name   string
		edit   func(*lab)
		active bool
		may    bool
	}{
		{"active, and all is well", func(l *lab) { l.nodes[0].role = drbd.Primary }, true, true},
		{"nobody is active", func(*lab) {}, false, false},
		{"the peer is cut off", func(l *lab) { l.nodes[0].role, l.link = drbd.Primary, false }, true, false},
		{"the peer's data are old", func(l *lab) { l.nodes[0].role, l.nodes[1].disk = drbd.Primary, drbd.Inconsistent }, true, false},
		{"one runs", func(l *lab) { l.nodes[0].role, l.nodes[0].verifies = drbd.Primary, true }, true, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l := newLab(t, "varda2")
				l.set(func() { c.edit(l) })
				synctest.Wait()
				if active, why := l.nodes[0].MayVerify(); active != c.active || (why == nil) != c.may {
					t.Errorf("active %v, %v", active, why)
				}
			})
		})
	}
}
