package ha

import "time"

// Clock is where the agent's time comes from. Its instants mean nothing but their differences: they are only compared and subtracted.
type Clock interface {
	// Now gives the time since boot, which goes on while the machine is suspended and which nobody can set.
	Now() time.Time
	// Monotonic is CLOCK_MONOTONIC, which the service manager wants to hear of.
	Monotonic() time.Duration
	// Look reads the clocks that tell of a freeze. It may take a few milliseconds, and is not for the main loop.
	Look() Reading
}

// Reading is one look at the clocks.
type Reading struct {
	Boot time.Time
	RTC  time.Time // the battery's clock, in whole seconds; zero: there is none to be read
	Wall time.Time // only to tell a clock that was set from a machine that stood still
}

// sinceBoot makes an instant of a time since boot. Two of one boot compare as they should, in another process of that boot, too.
func sinceBoot(d time.Duration) time.Time { return time.Unix(0, 0).UTC().Add(d) }

// bootAge undoes sinceBoot.
func bootAge(t time.Time) time.Duration { return t.Sub(time.Unix(0, 0)) }
