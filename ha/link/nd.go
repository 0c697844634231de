package link

import (
	"encoding/binary"
	"net/netip"
)

const (
	ipv6Header  = 40
	protoICMPv6 = 58

	icmpSolicitation  = 135
	icmpAdvertisement = 136

	ndTargetMAC = 2 // option: target link-layer address

	ndRouter   = 0x80
	ndOverride = 0x20
)

var (
	allNodes    = netip.MustParseAddr("ff02::1")
	allNodesMAC = MAC{0x33, 0x33, 0, 0, 0, 1}
)

// icmpFrame is an Ethernet frame with an ICMPv6 message of neighbour discovery, whose hop limit is always 255 (RFC 4861, 7.1).
func icmpFrame(toMAC, fromMAC MAC, from, to netip.Addr, message []byte) []byte {
	source, target := from.As16(), to.As16()
	pseudo := append(append([]byte{}, source[:]...), target[:]...)
	pseudo = binary.BigEndian.AppendUint32(pseudo, uint32(len(message)))
	pseudo = append(pseudo, 0, 0, 0, protoICMPv6) // RFC 8200, 8.1
	binary.BigEndian.PutUint16(message[2:], checksum(append(pseudo, message...)))

	b := append(append([]byte{}, toMAC[:]...), fromMAC[:]...)
	b = binary.BigEndian.AppendUint16(b, etherIPv6)
	b = append(b, 0x60, 0, 0, 0)
	b = binary.BigEndian.AppendUint16(b, uint16(len(message)))
	b = append(b, protoICMPv6, 255)
	b = append(append(b, source[:]...), target[:]...)
	return append(b, message...)
}

// checksum is RFC 1071's.
func checksum(b []byte) uint16 {
	var sum uint32
	for ; len(b) >= 2; b = b[2:] {
		sum += uint32(binary.BigEndian.Uint16(b))
	}
	if len(b) == 1 {
		sum += uint32(b[0]) << 8
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	return ^uint16(sum)
}

// solicited gives the group that the owner of an address listens to (RFC 4291, 2.7.1), and its MAC (RFC 2464, 7).
func solicited(addr netip.Addr) (netip.Addr, MAC) {
	a := addr.As16()
	group := [16]byte{0: 0xff, 1: 2, 11: 1, 12: 0xff, 13: a[13], 14: a[14], 15: a[15]}
	return netip.AddrFrom16(group), MAC{0x33, 0x33, 0xff, a[13], a[14], a[15]}
}

// solicitation asks whether anybody has an address, as duplicate address detection does: from the unspecified address, and without an
// option, so that nobody learns our MAC by it (RFC 4862, 5.4.2).
func solicitation(mac MAC, addr netip.Addr) []byte {
	group, groupMAC := solicited(addr)
	target := addr.As16()
	message := append([]byte{icmpSolicitation, 0, 0, 0, 0, 0, 0, 0}, target[:]...)
	return icmpFrame(groupMAC, mac, netip.IPv6Unspecified(), group, message)
}

// unsolicited says where an address is now (RFC 4861, 7.2.6). router: this machine forwards, so that neighbours which use the address as their
// router go on doing so.
func unsolicited(mac MAC, addr netip.Addr, router bool) []byte {
	flags := byte(ndOverride)
	if router {
		flags |= ndRouter
	}
	target := addr.As16()
	message := append([]byte{icmpAdvertisement, 0, 0, 0, flags, 0, 0, 0}, target[:]...)
	message = append(append(message, ndTargetMAC, 1), mac[:]...)
	return icmpFrame(allNodesMAC, mac, addr, allNodes, message)
}

// ndPacket is a solicitation or an advertisement, as far as it tells who has or wants an address.
type ndPacket struct {
	kind    byte
	fromMAC MAC // the option's, or else the frame's
	from    netip.Addr
	target  netip.Addr
}

// parseND reads an Ethernet frame with neighbour discovery in it. The checksum is not looked at: frames from this host's own veths and
// guests have none yet.
func parseND(b []byte) (ndPacket, error) {
	if len(b) < etherHeader+ipv6Header+24 || binary.BigEndian.Uint16(b[12:]) != etherIPv6 {
		return ndPacket{}, errFrame
	}
	p := ndPacket{fromMAC: MAC(b[6:12])}
	b = b[etherHeader:]
	size := int(binary.BigEndian.Uint16(b[4:]))
	if b[0]>>4 != 6 || b[6] != protoICMPv6 || b[7] != 255 || size < 24 || len(b) < ipv6Header+size {
		return ndPacket{}, errFrame
	}
	p.from = netip.AddrFrom16([16]byte(b[8:24]))
	b = b[ipv6Header : ipv6Header+size]
	if p.kind = b[0]; p.kind != icmpSolicitation && p.kind != icmpAdvertisement || b[1] != 0 {
		return ndPacket{}, errFrame
	}
	p.target = netip.AddrFrom16([16]byte(b[8:24]))
	for options := b[24:]; len(options) >= 8; {
		n := 8 * int(options[1])
		if n == 0 || n > len(options) {
			return ndPacket{}, errFrame
		}
		if p.kind == icmpAdvertisement && options[0] == ndTargetMAC {
			p.fromMAC = MAC(options[2:8])
		}
		options = options[n:]
	}
	return p, nil
}
