package link

import "net/netip"

// TickAddress is the address that a Tick keeps on lo: of no use to anybody.
var TickAddress = netip.AddrFrom4([4]byte{127, 86, 72, 65})
