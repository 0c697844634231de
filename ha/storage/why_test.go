package storage

import (
	"errors"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"

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

// TestFrozenWritesSayThatTheRecordCannotBeWritten: nobody goes on before it is written down, and that is what is said.
func TestFrozenWritesSayThatTheRecordCannotBeWritten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab(t, "varda2")
		n, dir := l.nodes[0], l.dirs[0]
		if err := primary(t, n, time.Second); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(dir, dir+".away"); err != nil {
			t.Fatal(err)
		}
		l.partition(true)
		time.Sleep(20 * time.Second)
		if d := n.diskNow(); !strings.Contains(d.Frozen, "has to be written down first: ") || !strings.Contains(d.Frozen, "no such file") {
			t.Errorf("it says %q", d.Frozen)
		}
		records(t, l, "paired (0)", "paired (0)")
		if err := os.Rename(dir+".away", dir); err != nil {
			t.Fatal(err)
		}
		time.Sleep(10 * time.Second)
		if d := n.diskNow(); d.Frozen != "" {
			t.Errorf("it says %q", d.Frozen)
		}
		records(t, l, "alone 1", "paired (0)")
	})
}
