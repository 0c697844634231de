package ha

import (
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"
)

func TestFreezeIsSeenByTheRTC(t *testing.T) {
	type step struct{ boot, rtc, wall time.Duration } // since the reading before
	day := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	second := step{time.Second, time.Second, time.Second}
	for _, c := range []struct {
		name  string
		skew  time.Duration // of the wall clock against the RTC at first
		steps []step
		want  []time.Duration
	}{
		{"an hour of seconds", 0, []step{second, second, second}, []time.Duration{0, 0, 0}},
		{"QEMU stopped for 5 s: only the RTC has gone on (lease.md, first row)", 0, []step{second, {time.Second, 6 * time.Second, time.Second}, second}, []time.Duration{0, 5 * time.Second, 0}},
		{"a guest whose RTC is in local time", time.Hour, []step{second, {time.Second, 6 * time.Second, time.Second}}, []time.Duration{0, 5 * time.Second}},
		{"suspended: BOOTTIME has gone on", 0, []step{{8 * time.Hour, 8 * time.Hour, 8 * time.Hour}}, []time.Duration{0}},
		{"the wall clock was set forward by an hour", 0, []step{{time.Second, time.Second, time.Hour}, second}, []time.Duration{0, 0}},
		{"the wall clock was set back by an hour", 0, []step{{time.Second, time.Second, -time.Hour}, second}, []time.Duration{0, 0}},
		{"the wall clock was set forward, then hwclock --systohc", 0, []step{{time.Second, time.Second, time.Hour}, second, {time.Second, time.Hour, time.Second}, second}, []time.Duration{0, 0, 0, 0}},
		{"the wall clock was set back, then hwclock --systohc", 0, []step{{time.Second, time.Second, -time.Hour}, {time.Second, -time.Hour, time.Second}}, []time.Duration{0, 0}},
		{"frozen while the wall clock was wrong", time.Hour, []step{{time.Second, time.Minute, time.Second}}, []time.Duration{59 * time.Second}},
		{"the RTC's grain is no freeze", 0, []step{{1100 * time.Millisecond, 2 * time.Second, 1100 * time.Millisecond}}, []time.Duration{0}},
	} {
		t.Run(c.name, func(t *testing.T) {
			var f freezeWatch
			r := Reading{Boot: sinceBoot(time.Minute), RTC: day, Wall: day.Add(c.skew)}
			if got := f.Look(r); got != 0 {
				t.Errorf("the first look says %s", got)
			}
			for i, s := range c.steps {
				r = Reading{r.Boot.Add(s.boot), r.RTC.Add(s.rtc), r.Wall.Add(s.wall)}
				if got := f.Look(r); got != c.want[i] {
					t.Errorf("step %d: %s, want %s", i, got, c.want[i])
				}
			}
		})
	}
	t.Run("no RTC", func(t *testing.T) {
		var f freezeWatch
		if f.Look(Reading{Boot: sinceBoot(0)}) != 0 || f.Look(Reading{Boot: sinceBoot(time.Hour)}) != 0 {
			t.Error("a machine without an RTC froze")
		}
	})
}

func TestGapBetweenTwoTurns(t *testing.T) {
	var f freezeWatch
	at := sinceBoot(time.Hour)
	if f.Turn(at) != 0 || f.Turn(at.Add(250*time.Millisecond)) != 250*time.Millisecond || f.Turn(at.Add(3250*time.Millisecond)) != 3*time.Second {
		t.Error("gaps are measured wrongly")
	}
}

// promotes gives an agent whose group is on its way to active, and stays there: its check is never green. Adverts flow.
func promotes(t *testing.T, n *modelNode) *running {
	t.Helper()
	g := testGroup(0)
	c := DefaultCheck(CheckProcess)
	c.Name, c.PIDFile, c.ActiveOnly = "daemon", filepath.Join(t.TempDir(), "none"), true
	g.Checks = []Check{c}
	r := begin(t, n, []Group{g}, nil)
	time.Sleep(5 * time.Second)
	want(t, "at first", r.notes.take(), "standby by fit", "promoting by elected")
	return r
}

// A group that is being promoted sends adverts: after a freeze they would depose whoever has taken over meanwhile (FAILOVER.md, "clock").
func TestAGuestThatStoodStillDuringAPromoteBeginsAnew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := (&wire{}).add(1)
		r := promotes(t, n)
		n.set(30*time.Second, 0)
		time.Sleep(1500 * time.Millisecond)
		want(t, "after the freeze", r.notes.take(), "demoting by frozen", "standby by released")
		r.stop()
	})
}

func TestAnAgentThatStoodStillDuringAPromoteBeginsAnew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := (&wire{}).add(1)
		r := promotes(t, n)
		n.hang(5 * time.Second)
		time.Sleep(6 * time.Second)
		want(t, "after the freeze", r.notes.take(), "demoting by frozen", "standby by released")
		r.stop()
	})
}
