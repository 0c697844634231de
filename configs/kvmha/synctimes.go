package kvmha

import (
	"kvmctl/configs/strict"
	"kvmctl/ha/confsync"
)

// timeOfDay reads a time of the clock on the wall.
func (l *loader) timeOfDay(at string, text *string) confsync.TimeOfDay {
	if text == nil || l.Bad[at] {
		return confsync.TimeOfDay{}
	}
	t, err := confsync.ParseTimeOfDay(*text)
	if err != nil {
		l.Value(at, "sync.at wants a time of day from 00:00 to 23:59, got "+strict.Quote(*text), `at = "03:30"`)
	}
	return t
}
