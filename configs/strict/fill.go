package strict

import (
	"time"

	"kvmctl/internal/units"
)

// Set overrides a default with what was set.
func Set[T any](to *T, from *T) {
	if from != nil {
		*to = *from
	}
}

// SetAs does the same for a named string.
func SetAs[T ~string](to *T, from *string) {
	if from != nil {
		*to = T(*from)
	}
}

// SetTime does the same for a duration.
func SetTime(to *time.Duration, from *units.Duration) {
	if from != nil {
		*to = time.Duration(*from)
	}
}

// Firsts remembers where a value was met first within one file.
type Firsts[K comparable] map[K]string

// Taken returns the line where key was met before; else it keeps path as the place.
func (f Firsts[K]) Taken(d *Document, key K, path string) (line int, ok bool) {
	if at, ok := f[key]; ok {
		line, _ = d.Position(at)
		return line, true
	}
	f[key] = path
	return 0, false
}
