package netbridge

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"

	"kvmctl/internal/units"
)

// The bounds of a bridge's MTU in bytes: what IPv4 needs at least (RFC 791), and what a TAP can carry at most (65535 less
// the Ethernet header), for a bridge whose ports cannot follow it is of no use.
const (
	MinMTU = 68
	MaxMTU = 65521
)

// maxName is the longest interface name in bytes (IFNAMSIZ less the NUL).
const maxName = 15

// Bridge is one declared bridge.
type Bridge struct {
	Name    string       // an interface name, at most 15 bytes
	Uplink  string       // an interface of the host's that is to be a port; empty: none
	Keep    bool         // takes over the uplink's addresses, routes and permanent neighbours
	Address netip.Prefix // the host's own address on it; zero: none
	// MAC is never zero, for a bridge without an own MAC takes a TAP's and changes with every guest; only with Keep it may be, and is
	// then the uplink's.
	MAC           units.MAC
	MTU           int  // bytes; 0, only with an uplink: that uplink's
	STP           bool // speaks the spanning tree protocol
	VLANFiltering bool // keeps VLANs apart: what has no VLAN of its own is in VLAN 1, untagged
}

// CheckName reports why the kernel would not take name for an interface: its own rules (dev_valid_name: 1 to 15 bytes, no
// slash, colon or white space, not "." or ".."), and no '%', which it would expand to a number.
func CheckName(name string) error {
	switch {
	case name == "":
		return errors.New("bad interface name \"\": empty")
	case len(name) > maxName:
		return fmt.Errorf("bad interface name %q: %d bytes, the kernel takes %d", name, len(name), maxName)
	case name == ".", name == "..":
		return fmt.Errorf("bad interface name %q: reserved", name)
	}
	for _, r := range []byte(name) {
		if r <= ' ' || r >= 0x7f || strings.IndexByte("/:%", r) >= 0 {
			return fmt.Errorf("bad interface name %q: %q may not stand in it", name, r)
		}
	}
	return nil
}

// check reports every impossible value of b.
func (b Bridge) check() error {
	var errs []error
	if err := CheckName(b.Name); err != nil {
		errs = append(errs, err)
	}
	if b.Uplink != "" {
		if err := CheckName(b.Uplink); err != nil {
			errs = append(errs, fmt.Errorf("bridge %q: uplink: %w", b.Name, err))
		}
	}
	if b.Keep && (b.Uplink == "" || b.Address.IsValid()) {
		errs = append(errs, fmt.Errorf("bridge %q: an address is kept only with an uplink, and instead of another", b.Name))
	}
	if b.MAC.IsZero() && !b.Keep || b.MAC[0]&1 != 0 {
		errs = append(errs, fmt.Errorf("bridge %q: bad MAC address %s: want a unicast address of its own", b.Name, b.MAC))
	}
	if (b.MTU != 0 || b.Uplink == "") && (b.MTU < MinMTU || b.MTU > MaxMTU) {
		errs = append(errs, fmt.Errorf("bridge %q: bad MTU %d: want %d to %d", b.Name, b.MTU, MinMTU, MaxMTU))
	}
	if b.Address != (netip.Prefix{}) && !b.Address.IsValid() {
		errs = append(errs, fmt.Errorf("bridge %q: bad address", b.Name))
	}
	return errors.Join(errs...)
}

func checkAll(want []Bridge) error {
	var errs []error
	seen := map[string]bool{}
	for _, b := range want {
		if err := b.check(); err != nil {
			errs = append(errs, err)
		}
		if seen[b.Name] {
			errs = append(errs, fmt.Errorf("bridge %q: declared twice", b.Name))
		}
		seen[b.Name] = true
	}
	return errors.Join(errs...)
}
