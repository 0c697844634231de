package link

import "net/netip"

// Neighbour is another node on the network of an interface.
type Neighbour struct {
	Interface string
	Addr      netip.Addr
}
