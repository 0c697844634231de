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
		name      string
		at        confsync.TimeOfDay
		last, now time.Time
		want      bool
	}{
		{"never", confsync.TimeOfDay{}, day(1, 0, 0), day(9, 0, 0), false},
		{"not yet", at, day(1, 12, 0), day(2, 3, 29), false},
		{"now", at, day(1, 12, 0), day(2, 3, 30), true},
		{"once", at, day(2, 3, 30), day(2, 3, 31), false},
		{"it could not be for hours", at, day(1, 3, 30), day(2, 9, 0), true},
		{"missed before the agent began", at, day(2, 4, 0), day(2, 4, 1), false},
		{"the clock was put back", at, day(2, 3, 30), day(1, 3, 0), false},
	} {
		if got := verifyDue(c.at, c.last, c.now); got != c.want {
			t.Errorf("%s: %v", c.name, got)
		}
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
