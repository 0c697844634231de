package confsync

import (
	"testing"
	"time"
	_ "time/tzdata"

	"pgregory.net/rapid"
)

func in(t testing.TB, zone string) *time.Location {
	t.Helper()
	l, err := time.LoadLocation(zone)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// The days are those of tzdata's "europe", "australasia" and "southamerica".
func TestATimeOfDayComesOnceADay(t *testing.T) {
	for name, c := range map[string]struct{ zone, at, now, want string }{
		"behind it":                         {"Europe/Rome", "03:30", "2026-07-01T12:00:00+02:00", "2026-07-01T03:30:00+02:00"},
		"at it":                             {"Europe/Rome", "03:30", "2026-07-01T03:30:00+02:00", "2026-07-01T03:30:00+02:00"},
		"before it: yesterday's":            {"Europe/Rome", "03:30", "2026-07-01T03:29:59+02:00", "2026-06-30T03:30:00+02:00"},
		"before it on the first of January": {"Europe/Rome", "23:59", "2026-01-01T00:00:00+01:00", "2025-12-31T23:59:00+01:00"},
		"left out in spring, before":        {"Europe/Rome", "02:30", "2026-03-29T03:29:59+02:00", "2026-03-28T02:30:00+01:00"},
		"left out in spring":                {"Europe/Rome", "02:30", "2026-03-29T12:00:00+02:00", "2026-03-29T03:30:00+02:00"},
		"the jump itself":                   {"Europe/Rome", "02:00", "2026-03-29T03:00:00+02:00", "2026-03-29T03:00:00+02:00"},
		"twice in autumn: the first":        {"Europe/Rome", "02:30", "2026-10-25T02:30:00+02:00", "2026-10-25T02:30:00+02:00"},
		"twice in autumn: not again":        {"Europe/Rome", "02:30", "2026-10-25T02:30:00+01:00", "2026-10-25T02:30:00+02:00"},
		"behind the jump of autumn":         {"Europe/Rome", "03:30", "2026-10-25T12:00:00+01:00", "2026-10-25T03:30:00+01:00"},
		"half an hour of summer":            {"Australia/Lord_Howe", "02:15", "2026-10-04T12:00:00+11:00", "2026-10-04T02:45:00+11:00"},
		"midnight left out":                 {"America/Santiago", "00:00", "2026-09-06T12:00:00-03:00", "2026-09-06T01:00:00-03:00"},
		"a day left out":                    {"Pacific/Apia", "03:30", "2011-12-31T03:29:59+14:00", "2011-12-29T03:30:00-10:00"},
	} {
		t.Run(name, func(t *testing.T) {
			at, err := ParseTimeOfDay(c.at)
			if err != nil {
				t.Fatal(err)
			}
			now, err := time.Parse(time.RFC3339, c.now)
			if err != nil {
				t.Fatal(err)
			}
			if got := at.Last(now.In(in(t, c.zone))).Format(time.RFC3339); got != c.want {
				t.Errorf("%s before %s is %s, want %s", c.at, c.now, got, c.want)
			}
		})
	}
}

// Whatever the zone and the instant: never in the future, and the next one comes within 22 to 26 hours.
func TestATimeOfDayIsNeverFarAway(t *testing.T) {
	zones := []*time.Location{time.UTC, in(t, "Europe/Rome"), in(t, "Australia/Lord_Howe"), in(t, "America/Santiago"), in(t, "Africa/Cairo")}
	rapid.Check(t, func(t *rapid.T) {
		where := rapid.SampledFrom(zones).Draw(t, "zone")
		at := TimeOfDay{true, rapid.IntRange(0, 23).Draw(t, "hour"), rapid.IntRange(0, 59).Draw(t, "minute")}
		now := time.Unix(rapid.Int64Range(1_700_000_000, 2_000_000_000).Draw(t, "now"), 0).In(where)
		last := at.Last(now)
		if last.After(now) || now.Sub(last) > 26*time.Hour {
			t.Fatalf("%v before %v is %v", at, now, last)
		}
		if again := at.Last(last); !again.Equal(last) {
			t.Fatalf("%v at %v is %v", at, last, again)
		}
		if before := at.Last(last.Add(-time.Second)); last.Sub(before) < 22*time.Hour {
			t.Fatalf("%v comes at %v and at %v", at, before, last)
		}
	})
}

func TestATimeOfDayIsHoursAndMinutes(t *testing.T) {
	for _, bad := range []string{"", "3:30", "24:00", "03:60", "03:30:00", "0330", "aa:bb", " 3:30", "03:30 "} {
		if got, err := ParseTimeOfDay(bad); err == nil || got.Set {
			t.Errorf("%q is %v, %v", bad, got, err)
		}
	}
}

func TestWhenAJobIsDue(t *testing.T) {
	rome := in(t, "Europe/Rome")
	boot := time.Unix(0, 0).Add(time.Hour)
	wall := time.Date(2026, 7, 1, 12, 0, 0, 0, rome)
	today := time.Date(2026, 7, 1, 3, 30, 0, 0, rome)
	at := TimeOfDay{true, 3, 30}
	for name, c := range map[string]struct {
		job  Job
		pace Pace
		want string
	}{
		"by hand alone":                        {Job{}, Pace{}, ""},
		"every: never tried":                   {Job{Every: time.Minute}, Pace{}, "every 1m0s"},
		"every: just tried":                    {Job{Every: time.Minute}, Pace{Began: boot.Add(-time.Minute + 1)}, ""},
		"every: its time has come":             {Job{Every: time.Minute}, Pace{Began: boot.Add(-time.Minute)}, "every 1m0s"},
		"at: nobody knows":                     {Job{At: at}, Pace{}, "at 03:30"},
		"at: slept through":                    {Job{At: at}, Pace{Settled: today.AddDate(0, 0, -1)}, "at 03:30"},
		"at: done":                             {Job{At: at}, Pace{Settled: today}, ""},
		"at: done in a future that never came": {Job{At: at}, Pace{Settled: today.AddDate(1, 0, 0)}, "at 03:30"},
		"at beside every":                      {Job{At: at, Every: 24 * time.Hour}, Pace{Began: boot.Add(-time.Hour), Settled: today.AddDate(0, 0, -1)}, "at 03:30"},
		"a failure waits":                      {Job{At: at}, Pace{Began: boot.Add(-5*time.Minute + 1), Failed: true}, ""},
		"a failure is tried again":             {Job{At: at}, Pace{Began: boot.Add(-5 * time.Minute), Failed: true, Settled: today}, "the last try failed"},
		"a failure, with a shorter every":      {Job{Every: time.Minute}, Pace{Began: boot.Add(-time.Minute), Failed: true}, "the last try failed"},
		"a change that was not seen yet":       {Job{OnChange: true}, Pace{Began: boot, Mark: 6}, "a change on the source"},
		"a change that was seen":               {Job{OnChange: true}, Pace{Began: boot, Mark: 7}, ""},
		"a change is not asked for":            {Job{Every: time.Hour}, Pace{Began: boot, Mark: 6}, ""},
		"a change behind a failure":            {Job{OnChange: true}, Pace{Began: boot, Mark: 6, Failed: true}, "a change on the source"},
		"a failure behind a change":            {Job{OnChange: true}, Pace{Began: boot.Add(-5 * time.Minute), Mark: 7, Failed: true}, "the last try failed"},
		"a failure by hand is not this node's": {Job{}, Pace{Began: boot.Add(-time.Hour), Failed: true}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			if got := c.job.Due(c.pace, boot, wall, 7); got != c.want {
				t.Errorf("due because %q, want %q", got, c.want)
			}
		})
	}
}

// What is settled outlives a boot, and what runs is not due again before the next day.
func TestATimeOfDayIsSettledOnce(t *testing.T) {
	dir := t.TempDir() + "/sync"
	job := Job{Name: "zones", At: TimeOfDay{true, 3, 30}}
	wall := time.Date(2026, 7, 1, 12, 0, 0, 0, in(t, "Europe/Rome"))
	before, err := Settled(dir, job.Name)
	if err != nil || !before.IsZero() {
		t.Fatal(before, err)
	}
	p := Pace{Settled: before}
	if !job.Settle(&p, wall) || job.Settle(&p, wall) {
		t.Error("settled not just once")
	}
	if err := NoteSettled(dir, job.Name, p.Settled); err != nil {
		t.Fatal(err)
	}
	at, err := Settled(dir, job.Name)
	if err != nil {
		t.Fatal(err)
	}
	p = Pace{Settled: at}
	for hours, want := range map[int]string{0: "", 15: "", 16: "at 03:30"} {
		if got := job.Due(p, time.Unix(9, 0), wall.Add(time.Duration(hours)*time.Hour), 0); got != want {
			t.Errorf("%d hours later due because %q, want %q", hours, got, want)
		}
	}
}

func FuzzSettled(f *testing.F) {
	f.Add([]byte(`{"version":1,"at":"2026-01-02T03:04:05Z"}`))
	f.Add([]byte(`{"version":2}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		if s, err := parseSettled(text); err != nil && s != (settled{}) {
			t.Error("what cannot be read has a value")
		}
	})
}
