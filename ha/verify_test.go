package ha

import (
	"errors"
	"strings"
	"testing"
	"time"

	"kvmctl/ha/confsync"
)

func TestWhenBothSidesAreCompared(t *testing.T) {
	at := confsync.TimeOfDay{Set: true, Hour: 3, Minute: 30}
	day := func(d, h, m int) time.Time { return time.Date(2026, 11, d, h, m, 0, 0, time.UTC) }
	for _, c := range []struct {
		name        string
		at          confsync.TimeOfDay
		done, now   time.Time
		active, may bool
		want        bool
		doneWith    bool // that time of day
	}{
		{"never", confsync.TimeOfDay{}, day(1, 0, 0), day(9, 0, 0), true, true, false, false},
		{"not yet", at, day(1, 12, 0), day(2, 3, 29), true, true, false, false},
		{"now", at, day(1, 12, 0), day(2, 3, 30), true, true, true, true},
		{"once", at, day(2, 3, 30), day(2, 3, 31), true, true, false, false},
		{"it may not be yet", at, day(1, 3, 30), day(2, 3, 30), true, false, false, false},
		{"it could not be for hours", at, day(1, 3, 30), day(2, 9, 0), true, true, true, true},
		{"missed before the agent began", at, day(2, 4, 0), day(2, 4, 1), true, true, false, false},
		{"the clock was put back", at, day(2, 3, 30), day(1, 3, 0), true, true, false, false},
		{"the other node's business", at, day(1, 3, 30), day(2, 3, 30), false, false, false, true},
		{"the other node's, and it may be", at, day(1, 3, 30), day(2, 3, 30), false, true, false, true},
	} {
		now, done := verifyNow(c.at, c.done, c.now, c.active, c.may)
		if now != c.want || !done.Equal(map[bool]time.Time{true: c.now, false: c.done}[c.doneWith]) {
			t.Errorf("%s: %v, done with until %v", c.name, now, done)
		}
	}
}

// TestWhoBecomesActiveAtNoon: the other node compared both sides at night.
func TestWhoBecomesActiveAtNoon(t *testing.T) {
	at := confsync.TimeOfDay{Set: true, Hour: 3, Minute: 30}
	began := time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC)
	done, active := began, false
	var times []time.Time
	for now := began; now.Before(began.Add(72 * time.Hour)); now = now.Add(verifyLook) {
		active = now.Sub(began) >= 24*time.Hour
		var due bool
		if due, done = verifyNow(at, done, now, active, active); due {
			times = append(times, now)
		}
	}
	if len(times) != 2 || times[0].Hour() != 3 || times[0].Day() != 3 {
		t.Errorf("it compares both sides at %v", times)
	}
}

func TestWhatIsToldOfAVerification(t *testing.T) {
	for _, c := range []struct {
		kib       uint64
		err       error
		fact, cmd string
	}{
		{0, nil, "both sides are the same", ""},
		{8, nil, "8 KiB differ", "drbdadm disconnect r0 && drbdadm connect r0"},
		{0, errors.New("it was broken off"), "it is not known whether", "kvmha drbd verify r0"},
	} {
		if a := verified("r0", c.kib, c.err); !strings.Contains(strings.Join(a.Facts, "; "), c.fact) || a.Command != c.cmd || a.Name != "r0" {
			t.Errorf("%+v", a)
		}
	}
}
