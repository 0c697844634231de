package netbridge

import (
	"net/netip"

	"kvmctl/internal/units"
)

// Bridge is one declared bridge.
type Bridge struct {
	Name    string       // an interface name, at most 15 bytes
	Address netip.Prefix // the host's own address on it; zero: none
	MAC     units.MAC    // never zero: a bridge without an own MAC takes a TAP's and changes with every guest
	MTU     int          // bytes
}
