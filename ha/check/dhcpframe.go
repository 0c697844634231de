package check

import (
	"encoding/binary"
	"net/netip"
)

const (
	etherLen  = 14
	ipv4Len   = 20
	udpLen    = 8
	protoUDP  = 17
	etherIPv4 = 0x0800
)

// dhcpFrame puts a message into UDP (RFC 768, without a checksum), IPv4 (RFC 791) and Ethernet.
func dhcpFrame(src, dst [6]byte, from, to netip.AddrPort, message []byte) []byte {
	f := make([]byte, 0, etherLen+ipv4Len+udpLen+len(message))
	f = append(append(f, dst[:]...), src[:]...)
	f = binary.BigEndian.AppendUint16(f, etherIPv4)
	f = append(f, 0x45, 0)
	f = binary.BigEndian.AppendUint16(f, uint16(ipv4Len+udpLen+len(message)))
	f = append(f, 0, 0, 0, 0, 64, protoUDP, 0, 0)
	f = append(append(f, from.Addr().AsSlice()...), to.Addr().AsSlice()...)
	sum := uint32(0)
	for i := etherLen; i < etherLen+ipv4Len; i += 2 {
		sum += uint32(binary.BigEndian.Uint16(f[i:]))
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	binary.BigEndian.PutUint16(f[etherLen+10:], ^uint16(sum))
	f = binary.BigEndian.AppendUint16(f, from.Port())
	f = binary.BigEndian.AppendUint16(f, to.Port())
	f = binary.BigEndian.AppendUint16(f, uint16(udpLen+len(message)))
	f = append(f, 0, 0)
	return append(f, message...)
}

// dhcpMessage gives what a frame carries to port 68; false: it is another one.
func dhcpMessage(f []byte) ([]byte, bool) {
	if len(f) < etherLen+ipv4Len+udpLen || binary.BigEndian.Uint16(f[12:]) != etherIPv4 {
		return nil, false
	}
	ip := f[etherLen:]
	head, total := int(ip[0]&0xf)*4, int(binary.BigEndian.Uint16(ip[2:]))
	if ip[0]>>4 != 4 || head < ipv4Len || total > len(ip) || total < head+udpLen || ip[9] != protoUDP || binary.BigEndian.Uint16(ip[6:])&0x3fff != 0 {
		return nil, false
	}
	udp := ip[head:total]
	size := int(binary.BigEndian.Uint16(udp[4:]))
	if size < udpLen || size > len(udp) || binary.BigEndian.Uint16(udp[2:]) != portDHCPClient {
		return nil, false
	}
	return udp[udpLen:size], true
}
