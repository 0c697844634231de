//go:build !linux

package check

import (
	"context"
	"errors"
	"net/netip"
)

var errDHCPSystem = errors.New("dhcp with an interface is not supported on this system yet")

func sendDHCP(context.Context, string, netip.AddrPort, netip.AddrPort, []byte) error {
	return errDHCPSystem
}

func (*dhcpProbe) discover(context.Context) error { return errDHCPSystem }
