package units

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// The VLAN ids that a frame may carry (IEEE 802.1Q: 0 means none, 4095 is reserved).
const (
	MinVLAN = 1
	MaxVLAN = 4094
)

// VLANRange is a run of VLAN ids, both ends included.
type VLANRange struct{ First, Last int }

// ParseVLANRange reads "20" or "20-29".
func ParseVLANRange(s string) (VLANRange, error) {
	first, last, isRange := strings.Cut(s, "-")
	if !isRange {
		last = first
	}
	r := VLANRange{vlanID(first), vlanID(last)}
	if r.First == 0 || r.Last == 0 || r.First > r.Last {
		return VLANRange{}, fmt.Errorf("bad VLAN %q: want an id from %d to %d or a range such as \"20-29\"", s, MinVLAN, MaxVLAN)
	}
	return r, nil
}

// vlanID gives 0 for what is no id.
func vlanID(s string) int {
	n, err := strconv.ParseUint(s, 10, 16)
	if err != nil || n < MinVLAN || n > MaxVLAN || s[0] == '+' {
		return 0
	}
	return int(n)
}

// String gives "20" or "20-29".
func (r VLANRange) String() string {
	if r.First == r.Last {
		return strconv.Itoa(r.First)
	}
	return strconv.Itoa(r.First) + "-" + strconv.Itoa(r.Last)
}

// VLANs is a set of VLAN ids: its ranges do not overlap.
type VLANs []VLANRange

// Has reports whether id is one of them.
func (v VLANs) Has(id int) bool {
	return slices.ContainsFunc(v, func(r VLANRange) bool { return r.First <= id && id <= r.Last })
}

// Overlaps reports whether one of them is in r.
func (v VLANs) Overlaps(r VLANRange) bool {
	return slices.ContainsFunc(v, func(o VLANRange) bool { return o.First <= r.Last && r.First <= o.Last })
}

// Len counts the ids.
func (v VLANs) Len() (n int) {
	for _, r := range v {
		n += r.Last - r.First + 1
	}
	return n
}

// String gives "10,20-29".
func (v VLANs) String() string {
	words := make([]string, len(v))
	for i, r := range v {
		words[i] = r.String()
	}
	return strings.Join(words, ",")
}
