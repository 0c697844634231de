package ha

import (
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// SystemClock is the kernel's.
type SystemClock struct{ rtc *os.File }

// OpenClock opens the machine's clocks. One without a readable RTC is as good, except that a frozen guest may not notice.
func OpenClock() *SystemClock {
	f, err := os.OpenFile("/dev/rtc0", os.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return &SystemClock{}
	}
	return &SystemClock{rtc: f}
}

// Close lets go of the RTC.
func (c *SystemClock) Close() error {
	if c.rtc == nil {
		return nil
	}
	return c.rtc.Close()
}

// Now is CLOCK_BOOTTIME (clock_gettime(2)); reading it cannot fail.
func (c *SystemClock) Now() time.Time { return sinceBoot(read(unix.CLOCK_BOOTTIME)) }

// Monotonic is CLOCK_MONOTONIC.
func (c *SystemClock) Monotonic() time.Duration { return read(unix.CLOCK_MONOTONIC) }

func read(clock int32) time.Duration {
	var ts unix.Timespec
	if err := unix.ClockGettime(clock, &ts); err != nil {
		panic(fmt.Sprintf("read clock %d: %v", clock, err)) // every Linux since 2.6.39 has both
	}
	return time.Duration(ts.Nano())
}

// Look reads the RTC (rtc(4), RTC_RD_TIME) between two looks at the others.
func (c *SystemClock) Look() Reading {
	r := Reading{RTC: c.readRTC(), Wall: time.Now()}
	r.Boot = c.Now()
	return r
}

func (c *SystemClock) readRTC() time.Time {
	if c.rtc == nil {
		return time.Time{}
	}
	t, err := unix.IoctlGetRTCTime(int(c.rtc.Fd()))
	if err != nil {
		if errors.Is(err, unix.ENODEV) || errors.Is(err, unix.ENOTTY) { // never again
			c.rtc.Close()
			c.rtc = nil
		}
		return time.Time{}
	}
	return time.Date(int(t.Year)+1900, time.Month(t.Mon+1), int(t.Mday), int(t.Hour), int(t.Min), int(t.Sec), 0, time.UTC)
}
