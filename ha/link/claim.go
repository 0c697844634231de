package link

import (
	"encoding/binary"
	"net/netip"
	"slices"
)

// claims tells whether a frame says that somebody has an address who is none of ours, and who: in ARP whoever sends from it (RFC 5227,
// 2.1.1), in IPv6 whoever advertises it.
func claims(frame []byte, addr netip.Addr, ours []MAC) (MAC, bool) {
	if len(frame) < etherHeader {
		return MAC{}, false
	}
	var mac MAC
	switch binary.BigEndian.Uint16(frame[12:]) {
	case etherARP:
		p, err := parseARP(frame)
		if err != nil || p.fromAddr != addr {
			return MAC{}, false
		}
		mac = p.fromMAC
	case etherIPv6:
		p, err := parseND(frame)
		if err != nil || p.kind != icmpAdvertisement || p.target != addr {
			return MAC{}, false
		}
		mac = p.fromMAC
	default:
		return MAC{}, false
	}
	return mac, !slices.Contains(ours, mac)
}
