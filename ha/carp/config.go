package carp

import (
	"errors"
	"fmt"
	"net/netip"
	"time"
)

// Profile is whose rules the election follows where they differ: those of the other side.
type Profile string

// The profiles, as the configuration writes them.
const (
	UCARP Profile = "ucarp" // UCarp 1.5.2, src/carp.c
	BSD   Profile = "bsd"   // FreeBSD's sys/netinet/ip_carp.c, and OpenBSD's where its demote counter says more
	KVMHA Profile = "kvmha"
)

// Config is what a machine has to know. It does not change but by Reload.
type Config struct {
	VHID      uint8
	Base      int // advbase, in seconds
	Skew      int // advskew, in 1/256 s: smaller is preferred
	DeadRatio int // adverts missed until the master counts as dead: ucarp's -r, 3 everywhere else
	Profile   Profile
	Source    netip.Addr // what adverts are sent from; it decides between equals

	// Authoritative: adverts and their absence decide. Otherwise they are facts only, and Ready, Release and Silence alone change the state.
	Authoritative bool

	// Random draws the counters for as long as nobody was heard, as ucarp does for each advert.
	Random func() uint64
}

// ConfigError says what is wrong with one field of a Config.
type ConfigError struct{ Field, Problem string }

func (e *ConfigError) Error() string { return e.Field + " " + e.Problem }

// Validate finds everything that keeps a machine from being run with this Config toward this Profile, for a virtual host of these addresses. Its
// error joins *ConfigError.
func (c Config) Validate(addrs []netip.Addr) error {
	var errs []error
	bad := func(field, format string, args ...any) {
		errs = append(errs, &ConfigError{field, fmt.Sprintf(format, args...)})
	}
	if c.VHID == 0 {
		bad("vhid", "is 0: it goes from 1 to 255")
	}
	switch {
	case c.Base < 0 || c.Base > MaxBase:
		bad("advbase", "is %d: it goes from 0 to %d seconds", c.Base, MaxBase)
	case c.Base == 0 && c.Profile == UCARP: // measured: 31 transitions in 15 s
		bad("advbase", "is 0 toward ucarp, which then waits for one advert only, and flaps")
	case c.Base == 0 && c.Profile == BSD: // carp_ioctl_set
		bad("advbase", "is 0 toward FreeBSD, which refuses it")
	}
	if c.Skew < 0 || c.Skew > MaxSkew {
		bad("advskew", "is %d: it goes from 0 to %d", c.Skew, MaxSkew)
	}
	switch {
	case c.DeadRatio < 1 || c.DeadRatio > 255:
		bad("dead ratio", "is %d: it goes from 1 to 255", c.DeadRatio)
	case c.DeadRatio != 3 && c.Profile == BSD:
		bad("dead ratio", "is %d toward BSD, whose own is always 3", c.DeadRatio)
	}
	switch c.Profile {
	case UCARP:
		if len(addrs) != 1 || !addrs[0].Unmap().Is4() {
			bad("addresses", "are not one IPv4 address, the only thing that ucarp signs")
		}
		if !c.Source.Unmap().Is4() {
			bad("source", "is no IPv4 address, the only family of ucarp")
		}
	case BSD, KVMHA:
		if !c.Source.IsValid() {
			bad("source", "is missing")
		}
	default:
		bad("profile", "is %q: it is %q, %q or %q", c.Profile, UCARP, BSD, KVMHA)
	}
	if c.Random == nil {
		bad("random", "is missing")
	}
	return errors.Join(errs...)
}

// Interval is the time between two adverts with a skew: advbase + advskew/256 s. With both zero it is OpenBSD's 1/256 s.
func (c Config) Interval(skew int) time.Duration {
	if c.Base == 0 && skew == 0 {
		skew = 1
	}
	return span(c.Base, skew)
}

// Dead is how long a backup waits for an advert: 3*advbase + advskew/256 s (carp_setrun), or with advbase 0 OpenBSD's 3*advskew/256 s.
func (c Config) Dead() time.Duration {
	if c.Base == 0 {
		return time.Duration(c.DeadRatio) * c.Interval(c.Skew)
	}
	return span(c.DeadRatio*c.Base, c.Skew)
}

// span is exact: a 256th of a second is 3,906,250 ns.
func span(base, skew int) time.Duration {
	return time.Duration(base)*time.Second + time.Duration(skew)*(time.Second/256)
}
