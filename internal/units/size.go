package units

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
)

// Size is a number of bytes. Its text form is a whole number with one of the binary suffixes K, M, G, T (1K = 1024), as
// qemu-img(1) has it; a bare number counts bytes.
type Size int64

// The binary units.
const (
	KiB Size = 1 << 10
	MiB Size = 1 << 20
	GiB Size = 1 << 30
	TiB Size = 1 << 40
)

var suffixes = []struct {
	letter string
	unit   Size
}{{"T", TiB}, {"G", GiB}, {"M", MiB}, {"K", KiB}}

// ParseSize reads "512M" or "8G"; "1.5G" is refused, for a size is a whole number of its unit.
func ParseSize(s string) (Size, error) {
	digits := strings.TrimRight(s, "KMGTkmgtiB")
	suffix := strings.ToUpper(strings.TrimSuffix(strings.TrimSuffix(s[len(digits):], "B"), "i"))
	unit := Size(1)
	if suffix != "" {
		unit = 0
		for _, x := range suffixes {
			if suffix == x.letter {
				unit = x.unit
			}
		}
	}
	if digits == "" || unit == 0 {
		return 0, fmt.Errorf("bad size %q: want a whole number with K, M, G or T, such as \"512M\"", s)
	}
	n, err := strconv.ParseInt(digits, 10, 64)
	switch {
	case errors.Is(err, strconv.ErrRange), err == nil && n > math.MaxInt64/int64(unit):
		return 0, fmt.Errorf("bad size %q: too large", s)
	case err != nil, digits[0] == '+':
		return 0, fmt.Errorf("bad size %q: want a whole number with K, M, G or T, such as \"512M\"", s)
	case n < 0:
		return 0, fmt.Errorf("bad size %q: negative", s)
	}
	return Size(n) * unit, nil
}

// UnmarshalText implements encoding.TextUnmarshaler by ParseSize.
func (s *Size) UnmarshalText(b []byte) error {
	v, err := ParseSize(string(b))
	if err != nil {
		return err
	}
	*s = v
	return nil
}

// String gives the shortest exact form: 512M, 8G, 1000.
func (s Size) String() string {
	for _, x := range suffixes {
		if s != 0 && s%x.unit == 0 {
			return strconv.FormatInt(int64(s/x.unit), 10) + x.letter
		}
	}
	return strconv.FormatInt(int64(s), 10)
}

// Rounded gives a size for reading: down to whole units, two digits at least.
func (s Size) Rounded() Size {
	for _, x := range suffixes {
		if s >= 10*x.unit {
			return s / x.unit * x.unit
		}
	}
	return s
}

// MarshalText implements encoding.TextMarshaler with the form of String.
func (s Size) MarshalText() ([]byte, error) { return []byte(s.String()), nil }
