//go:build !linux

package ha

import (
	"errors"
	"fmt"
	"runtime"
	"time"
)

// ErrSystem says that the agent cannot run here yet.
var ErrSystem = fmt.Errorf("kvmha does not run on %s yet: %w", runtime.GOOS, errors.ErrUnsupported)

// SystemClock is the kernel's.
type SystemClock struct{ start time.Time }

// OpenClock opens the machine's clocks.
func OpenClock() *SystemClock { return &SystemClock{start: time.Now()} }

// Close does nothing here.
func (c *SystemClock) Close() error { return nil }

// Now is the process's monotonic clock.
func (c *SystemClock) Now() time.Time { return sinceBoot(time.Since(c.start)) }

// Look finds no RTC here.
func (c *SystemClock) Look() Reading { return Reading{Boot: c.Now()} }

// Monotonic is the same here.
func (c *SystemClock) Monotonic() time.Duration { return time.Since(c.start) }
