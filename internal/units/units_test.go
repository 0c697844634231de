package units

import (
	"strings"
	"testing"
)

func TestRatesReadBackAsTheyAreWritten(t *testing.T) {
	for text, want := range map[string]Rate{
		"64kbit": 64 * Kbit, "100Mbit": 100 * Mbit, "10gbit": 10 * Gbit, "1500KBIT": 1500 * Kbit, "1000kbit": Mbit,
	} {
		got, err := ParseRate(text)
		if err != nil || got != want {
			t.Errorf("%s: %d, error %v, want %d", text, got, err, want)
		}
		if again, err := ParseRate(got.String()); err != nil || again != got {
			t.Errorf("%s is written as %s, which reads as %d, error %v", text, got, again, err)
		}
	}
	for _, bad := range []string{"", "100", "kbit", "-1kbit", "+1kbit", "1.5Mbit", "1 Mbit", "100MB", "99999999999999999999Mbit", "9223372036854775807Gbit"} {
		if got, err := ParseRate(bad); err == nil || got != 0 || !strings.HasPrefix(err.Error(), "bad rate ") {
			t.Errorf("%q: %d, error %v, want none and an error", bad, got, err)
		}
	}
	if got := (100 * Mbit).BytesPerSecond(); got != 12_500_000 {
		t.Errorf("100Mbit is %d bytes a second", got)
	}
}

func TestVLANRanges(t *testing.T) {
	for text, want := range map[string]VLANRange{"1": {1, 1}, "4094": {4094, 4094}, "20-29": {20, 29}, "7-7": {7, 7}} {
		if got, err := ParseVLANRange(text); err != nil || got != want {
			t.Errorf("%s: %v, error %v, want %v", text, got, err, want)
		}
	}
	for _, bad := range []string{"", "0", "4095", "-", "-5", "5-", "9-8", "1-4095", "+1", "1-2-3", "a"} {
		if got, err := ParseVLANRange(bad); err == nil || got != (VLANRange{}) {
			t.Errorf("%q: %v, want none and an error", bad, got)
		}
	}
	v := VLANs{{10, 10}, {20, 29}}
	if v.Len() != 11 || v.String() != "10,20-29" || !v.Has(29) || v.Has(11) || v.Overlaps(VLANRange{11, 19}) || !v.Overlaps(VLANRange{1, 4000}) {
		t.Errorf("set %v of %d is not what it should be", v, v.Len())
	}
}

func FuzzUnits(f *testing.F) {
	for _, s := range []string{"100Mbit", "20-29", "512M", "x", "-"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if r, err := ParseRate(s); err == nil {
			if again, err := ParseRate(r.String()); r != 0 && (err != nil || again != r) || r < 0 {
				t.Errorf("%q is %d, and that reads as %d, error %v", s, r, again, err)
			}
		}
		if v, err := ParseVLANRange(s); err == nil {
			if again, err := ParseVLANRange(v.String()); err != nil || again != v || v.First < MinVLAN || v.Last > MaxVLAN || v.First > v.Last {
				t.Errorf("%q is %v, and that reads as %v, error %v", s, v, again, err)
			}
		}
	})
}
