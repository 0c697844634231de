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
