package kvmha

import (
	"strings"

	"kvmctl/configs/strict"
	"kvmctl/ha/confsync"
)

// syncTimes tells when a sync runs.
func (l *loader) syncTimes(at string, j *confsync.Job, r rawSync) {
	strict.Set(&j.OnChange, r.OnChange)
	j.At = l.timeOfDay(at+".at", r.At)
	if j.OnChange && !j.At.Set { // the whole pass that finds what nobody told
		j.Every = confsync.DefaultEvery
	}
	strict.SetTime(&j.Every, r.Every)
}

// timeOfDay reads a time of the clock on the wall.
func (l *loader) timeOfDay(at string, text *string) confsync.TimeOfDay {
	if text == nil || l.Bad[at] {
		return confsync.TimeOfDay{}
	}
	t, err := confsync.ParseTimeOfDay(*text)
	if err != nil {
		l.Value(at, strict.Label(at)+" wants a time of day from 00:00 to 23:59, got "+strict.Quote(*text), at[strings.LastIndexByte(at, '.')+1:]+` = "03:30"`)
	}
	return t
}
