package units

import (
	"fmt"
	"math"
	"strconv"
	"strings"
)

// Rate is a number of bits per second. Its text form is a whole number with one of the decimal suffixes kbit, Mbit, Gbit
// (1kbit = 1000 bits), as tc(8) has it; 0 is no limit and has no text form of its own in a file.
type Rate int64

// The decimal units.
const (
	Kbit Rate = 1000
	Mbit Rate = 1000 * Kbit
	Gbit Rate = 1000 * Mbit
)

var rateUnits = []struct {
	suffix string
	unit   Rate
}{{"Gbit", Gbit}, {"Mbit", Mbit}, {"kbit", Kbit}}

// ParseRate reads "100Mbit". The suffix is required, in any case: a bare number could be bits or bytes.
func ParseRate(s string) (Rate, error) {
	for _, x := range rateUnits {
		digits := len(s) - len(x.suffix)
		if digits <= 0 || !strings.EqualFold(s[digits:], x.suffix) {
			continue
		}
		n, err := strconv.ParseUint(s[:digits], 10, 63)
		switch {
		case err != nil && strings.Trim(s[:digits], "0123456789") != "":
			return 0, badRate(s)
		case err != nil || n > math.MaxInt64/uint64(x.unit):
			return 0, fmt.Errorf("bad rate %q: too large", s)
		}
		return Rate(n) * x.unit, nil
	}
	return 0, badRate(s)
}

func badRate(s string) error {
	return fmt.Errorf("bad rate %q: want a whole number with kbit, Mbit or Gbit, such as \"100Mbit\"", s)
}

// UnmarshalText implements encoding.TextUnmarshaler by ParseRate; "none" is what MarshalText writes for no limit.
func (r *Rate) UnmarshalText(b []byte) error {
	if string(b) == "none" {
		*r = 0
		return nil
	}
	v, err := ParseRate(string(b))
	if err != nil {
		return err
	}
	*r = v
	return nil
}

// String gives the shortest exact form: 100Mbit, 1500kbit; "none" for no limit.
func (r Rate) String() string {
	if r == 0 {
		return "none"
	}
	for _, x := range rateUnits {
		if r%x.unit == 0 {
			return strconv.FormatInt(int64(r/x.unit), 10) + x.suffix
		}
	}
	return strconv.FormatInt(int64(r), 10) + "bit"
}

// MarshalText implements encoding.TextMarshaler with the form of String.
func (r Rate) MarshalText() ([]byte, error) { return []byte(r.String()), nil }

// BytesPerSecond is the rate in the kernel's unit.
func (r Rate) BytesPerSecond() uint64 { return uint64(r) / 8 }
