package units

import (
	"crypto/sha256"
	"fmt"
	"net"
)

// MAC is a unicast Ethernet address.
type MAC [6]byte

// ParseMAC reads the colon form "52:54:00:12:34:56"; group addresses and the zero address are refused, because no NIC may own one.
func ParseMAC(s string) (MAC, error) {
	hw, err := net.ParseMAC(s)
	if err != nil || len(hw) != 6 || len(s) != 17 || s[2] != ':' {
		return MAC{}, fmt.Errorf("bad MAC address %q: want six hex pairs such as \"52:54:00:12:34:56\"", s)
	}
	m := MAC(hw)
	if m[0]&1 != 0 {
		return MAC{}, fmt.Errorf("bad MAC address %q: a group address (the first byte is odd)", s)
	}
	if m.IsZero() {
		return MAC{}, fmt.Errorf("bad MAC address %q: the zero address", s)
	}
	return m, nil
}

// DeriveMAC gives the same locally administered address for the same parts, on every run: 52:54:00 and 24 bits of their SHA-256.
func DeriveMAC(parts ...string) MAC {
	h := sha256.New()
	for _, p := range parts {
		fmt.Fprintf(h, "%d:%s,", len(p), p)
	}
	sum := h.Sum(nil)
	return MAC{0x52, 0x54, 0x00, sum[0], sum[1], sum[2]}
}

// IsZero reports whether m is unset.
func (m MAC) IsZero() bool { return m == MAC{} }

// String gives the lower-case colon form.
func (m MAC) String() string { return net.HardwareAddr(m[:]).String() }

// UnmarshalText implements encoding.TextUnmarshaler by ParseMAC.
func (m *MAC) UnmarshalText(b []byte) error {
	v, err := ParseMAC(string(b))
	if err != nil {
		return err
	}
	*m = v
	return nil
}

// MarshalText implements encoding.TextMarshaler.
func (m MAC) MarshalText() ([]byte, error) { return []byte(m.String()), nil }
