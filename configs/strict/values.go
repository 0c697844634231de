package strict

import (
	"net/netip"

	"kvmctl/internal/units"
)

// AddressValue is a bridge's address or "keep", those of its uplink.
type AddressValue struct {
	Keep   bool
	Prefix netip.Prefix
}

// MACValue is a MAC address or "auto".
type MACValue struct{ MAC units.MAC } // zero: auto

// DisplayValue is a VNC display number, "auto" or "none".
type DisplayValue struct {
	Auto, None bool
	Number     int
}
