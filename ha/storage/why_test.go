package storage

import (
	"errors"
	"testing"
	"testing/synctest"

	"kvmctl/ha/drbd"
	"kvmctl/ha/failover"
)

// TestWhyADiskHasFailed has it said by whoever knows: DRBD's programs that cannot be run, or the last try to bring the resource up.
func TestWhyADiskHasFailed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab(t, "varda2")
		n := l.nodes[0]
		says := func(want string) {
			t.Helper()
			if d := n.diskNow(); d.Why != want || (want == "") != (d.State == failover.DiskUpToDate) {
				t.Errorf("%v: %q, want %q", d.State, d.Why, want)
			}
		}
		up := n.Act(failover.Step{Kind: failover.KindUp, Name: "r0"})
		says("")
		l.set(func() { n.blind = errors.New("drbd-utils are missing") })
		says("DRBD cannot be asked: drbd-utils are missing")
		l.set(func() { n.blind, n.disk = nil, drbd.Diskless })
		says("Diskless")
		n.ups = errors.New("no valid metadata on the disk")
		if err := up(t.Context()); !errors.Is(err, n.ups) {
			t.Error(err)
		}
		says("Diskless: no valid metadata on the disk")
		n.ups = nil
		if err := up(t.Context()); err != nil {
			t.Error(err)
		}
		says("Diskless")
		l.set(func() { n.disk = drbd.UpToDate })
		says("")
	})
}
