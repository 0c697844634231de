package storage

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"kvmctl/ha/drbd"
)

// What the loser of a split brain wrote after its disks were kept is nowhere else: then nothing is discarded.
func TestDiscardTakesOnlyWhatWasKept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab(t, "varda2")
		a := drbd.Apart{Cause: drbd.SplitBrain, Met: 1, Here: 8, There: 12}
		l.part([2]drbd.Apart{a, a}, [2]uint64{12, 8})
		time.Sleep(5 * time.Second)
		loser := l.nodes[1]
		kept, err := loser.SideNow(t.Context(), "r0")
		if err != nil || kept.Changed != 8 || kept.Cause != "split brain" {
			t.Fatalf("%+v, %v", kept, err)
		}
		l.set(func() { loser.changed = 12 })
		var refused *RefusedError
		if err := loser.Discard(t.Context(), "r0", kept.Changed); !errors.As(err, &refused) || loser.howJoined() != "" {
			t.Errorf("%v, and it connects %q", err, loser.howJoined())
		}
		l.set(func() { loser.changed = 8 })
		if err := loser.Discard(t.Context(), "r0", kept.Changed); err != nil || loser.howJoined() != "discard" {
			t.Errorf("%v, and it connects %q", err, loser.howJoined())
		}
	})
}
