package link

import (
	"fmt"
	"net/netip"
)

// Present is an address that an interface of this machine has.
type Present struct {
	Interface string
	Index     int
	Prefix    netip.Prefix
	Leased    bool // it looks like a lease of an agent: alone in its prefix, with an end in two seconds at most
}

// PresentError says that an address is here already, and not by a lease of ours.
type PresentError struct{ Present }

func (e *PresentError) Error() string {
	return fmt.Sprintf("address %s is on %s already", e.Prefix, e.Interface)
}

// Hint is what to do about it.
func (e *PresentError) Hint() string {
	return fmt.Sprintf("take it out of the network configuration, then: ip addr del %s dev %s", e.Prefix, e.Interface)
}
