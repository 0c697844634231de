package link

import "net/netip"

// The groups that CARP's adverts go to (ip_carp.c; IANA: VRRP), and their MAC addresses (RFC 1112, 6.4; RFC 2464, 7).
var (
	GroupIPv4    = netip.AddrFrom4([4]byte{224, 0, 0, 18})
	GroupIPv6    = netip.MustParseAddr("ff02::12")
	groupMACIPv4 = MAC{0x01, 0, 0x5e, 0, 0, 0x12}
	groupMACIPv6 = MAC{0x33, 0x33, 0, 0, 0, 0x12}
)

// protoCARP is CARP's number, and VRRP's.
const protoCARP = 112
