package confsync

import (
	"fmt"
	"time"
)

// TimeOfDay is what a clock on the wall shows once a day. The zero value is none.
type TimeOfDay struct {
	Set          bool
	Hour, Minute int
}

// ParseTimeOfDay reads "03:30".
func ParseTimeOfDay(s string) (TimeOfDay, error) {
	t, err := time.Parse("15:04", s)
	if err != nil || len(s) != len("15:04") {
		return TimeOfDay{}, fmt.Errorf("bad time of day %q", s)
	}
	return TimeOfDay{true, t.Hour(), t.Minute()}, nil
}

func (t TimeOfDay) String() string { return fmt.Sprintf("%02d:%02d", t.Hour, t.Minute) }

// Last gives the newest instant that is not after now and at which it is this time of day, where now's location is.
func (t TimeOfDay) Last(now time.Time) time.Time {
	y, m, d := now.Date()
	for ; ; d-- {
		if at := t.on(y, m, d, now.Location()); !at.After(now) {
			return at
		}
	}
}

// on gives the instant of a date. Where clocks are put back, and show a time twice, it is the first of both; where they are put forward, and never
// show it, it is as long after the jump as the time that was left out: once on each day, whatever the day.
func (t TimeOfDay) on(y int, m time.Month, d int, where *time.Location) time.Time {
	utc := time.Date(y, m, d, t.Hour, t.Minute, 0, 0, time.UTC)
	near := time.Date(y, m, d, t.Hour, t.Minute, 0, 0, where) // by the rules of either side of a jump: time.Date promises no more
	by := func(rules time.Time) (at time.Time, shown bool) {
		_, east := rules.Zone()
		at = utc.Add(-time.Duration(east) * time.Second).In(where)
		return at, at.Hour() == t.Hour && at.Minute() == t.Minute && at.Day() == utc.Day()
	}
	before, shown := by(near.Add(-24 * time.Hour))
	if shown {
		return before
	}
	if after, shown := by(near.Add(24 * time.Hour)); shown {
		return after
	}
	return before
}
