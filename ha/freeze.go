package ha

import "time"

// freezeWatch finds out that the agent, or the machine below it, stood still (FAILOVER.md, "clock"). A gap between two turns of the loop proves
// that the agent did. A guest whose QEMU is stopped sees no gap: its CLOCK_BOOTTIME and its wall clock stand still with it, and only the
// battery's clock, which QEMU takes from the host, has gone on (facts: lease.md, first row).
type freezeWatch struct {
	turn time.Time // the last one; zero: none yet
	last Reading   // the last with an RTC
	seen bool
}

// rtcGrain is by how much two readings of the RTC may differ more than the clocks did: it shows whole seconds, and is read with some delay.
const rtcGrain = 1500 * time.Millisecond

// setNear is how near the RTC is to the wall clock when it was just set by it (hwclock(8), or the kernel's eleven-minute mode).
const setNear = 2 * time.Second

// Turn notes a turn of the loop, and gives how long it is since the last one.
func (f *freezeWatch) Turn(now time.Time) (gap time.Duration) {
	if !f.turn.IsZero() {
		gap = now.Sub(f.turn)
	}
	f.turn = now
	return gap
}

// Look judges a reading of the clocks: for how long the machine stood still unnoticed since the one before, 0 for not at all.
func (f *freezeWatch) Look(r Reading) time.Duration {
	if r.RTC.IsZero() {
		return 0
	}
	before, seen := f.last, f.seen
	f.last, f.seen = r, true
	if !seen {
		return 0
	}
	lost := r.RTC.Sub(before.RTC) - r.Boot.Sub(before.Boot)
	if lost <= rtcGrain {
		return 0 // a clock that was set back freezes nobody
	}
	if now, then := apart(r.RTC, r.Wall), apart(before.RTC, before.Wall); now <= setNear && then > setNear {
		return 0 // the RTC was set to what the wall clock says
	}
	return lost
}

func apart(a, b time.Time) time.Duration { return a.Sub(b).Abs() }
