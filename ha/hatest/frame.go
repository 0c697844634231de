package hatest

import (
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"time"
)

// EtherTypes and protocols that a lab is about.
const (
	EtherARP  = 0x0806
	EtherIPv4 = 0x0800
	EtherIPv6 = 0x86dd

	ProtoUDP    = 17
	ProtoICMPv6 = 58
	ProtoCARP   = 112 // and VRRP (IANA protocol numbers)
)

// Frame is an Ethernet frame, decoded as far as a lab cares, by code that nothing but the lab uses.
type Frame struct {
	At       time.Time
	Out      bool // the node sent it; otherwise it reached the node
	Raw      []byte
	Dst, Src net.HardwareAddr
	Ether    uint16

	// Of IPv4 and IPv6: addresses, protocol (of IPv6 the next header), TTL (hop limit), what follows the header.
	From, To netip.Addr
	Proto    uint8
	TTL      uint8
	Payload  []byte

	// Of ARP (RFC 826): 1 request, 2 reply; From and To are the protocol addresses.
	ARPOp              uint16
	ARPFrom, ARPTarget net.HardwareAddr
}

// decode never fails: what is too short for its type stays undecoded.
func decode(raw []byte) Frame {
	f := Frame{Raw: raw}
	if len(raw) < 14 {
		return f
	}
	f.Dst, f.Src, f.Ether = raw[:6], raw[6:12], binary.BigEndian.Uint16(raw[12:])
	body := raw[14:]
	switch {
	case f.Ether == EtherARP && len(body) >= 28:
		f.ARPOp = binary.BigEndian.Uint16(body[6:])
		f.ARPFrom, f.ARPTarget = body[8:14], body[18:24]
		f.From, f.To = netip.AddrFrom4([4]byte(body[14:18])), netip.AddrFrom4([4]byte(body[24:28]))
	case f.Ether == EtherIPv4 && len(body) >= 20:
		header, total := int(body[0]&15)*4, int(binary.BigEndian.Uint16(body[2:]))
		if header < 20 || total < header || total > len(body) {
			return f
		}
		f.TTL, f.Proto = body[8], body[9]
		f.From, f.To = netip.AddrFrom4([4]byte(body[12:16])), netip.AddrFrom4([4]byte(body[16:20]))
		f.Payload = body[header:total]
	case f.Ether == EtherIPv6 && len(body) >= 40:
		total := 40 + int(binary.BigEndian.Uint16(body[4:]))
		if total > len(body) {
			return f
		}
		f.Proto, f.TTL = body[6], body[7]
		f.From, f.To = netip.AddrFrom16([16]byte(body[8:24])), netip.AddrFrom16([16]byte(body[24:40]))
		f.Payload = body[40:total]
	}
	return f
}

// String is one line for a test's output.
func (f Frame) String() string {
	switch {
	case f.ARPOp != 0:
		return fmt.Sprintf("%v > %v ARP %d %v (%v) to %v", f.Src, f.Dst, f.ARPOp, f.From, f.ARPFrom, f.To)
	case f.From.IsValid():
		return fmt.Sprintf("%v > %v %v > %v proto %d ttl %d %x", f.Src, f.Dst, f.From, f.To, f.Proto, f.TTL, f.Payload)
	}
	return fmt.Sprintf("%x", f.Raw)
}
