package link

import (
	"encoding/binary"
	"errors"
	"net/netip"

	"kvmctl/ha/carp"
)

// MAC is an Ethernet address.
type MAC = carp.MAC

var broadcastMAC = MAC{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}

const (
	etherIPv4 = 0x0800
	etherARP  = 0x0806
	etherIPv6 = 0x86dd

	arpRequest = 1
	arpReply   = 2

	etherHeader = 14
	arpLength   = 28
)

var errFrame = errors.New("a frame that is too short or of another kind")

// arpPacket is an ARP packet for IPv4 over Ethernet (RFC 826).
type arpPacket struct {
	op                   uint16
	fromMAC, targetMAC   MAC
	fromAddr, targetAddr netip.Addr
}

// frame gives the Ethernet frame, to everybody.
func (p arpPacket) frame() []byte {
	b := append(broadcastMAC[:len(broadcastMAC):len(broadcastMAC)], p.fromMAC[:]...)
	b = binary.BigEndian.AppendUint16(b, etherARP)
	b = append(b, 0, 1, 8, 0, 6, 4) // Ethernet, IPv4, and the lengths of their addresses
	b = binary.BigEndian.AppendUint16(b, p.op)
	b = append(append(b, p.fromMAC[:]...), p.fromAddr.AsSlice()...)
	return append(append(b, p.targetMAC[:]...), p.targetAddr.AsSlice()...)
}

// parseARP reads an Ethernet frame with ARP for IPv4 in it.
func parseARP(b []byte) (arpPacket, error) {
	if len(b) < etherHeader+arpLength || binary.BigEndian.Uint16(b[12:]) != etherARP {
		return arpPacket{}, errFrame
	}
	b = b[etherHeader:]
	if string(b[:6]) != "\x00\x01\x08\x00\x06\x04" {
		return arpPacket{}, errFrame
	}
	return arpPacket{
		op:      binary.BigEndian.Uint16(b[6:]),
		fromMAC: MAC(b[8:14]), fromAddr: netip.AddrFrom4([4]byte(b[14:18])),
		targetMAC: MAC(b[18:24]), targetAddr: netip.AddrFrom4([4]byte(b[24:28])),
	}, nil
}

// arpProbe asks whether anybody has an address, without claiming it (RFC 5227, 2.1.1).
func arpProbe(mac MAC, addr netip.Addr) []byte {
	return arpPacket{op: arpRequest, fromMAC: mac, fromAddr: netip.IPv4Unspecified(), targetAddr: addr}.frame()
}

// gratuitousARP says where an address is now: as a request, as ucarp, FreeBSD and RFC 5227 (2.3) do, and as a reply, for those that learn
// from nothing else.
func gratuitousARP(mac MAC, addr netip.Addr) [][]byte {
	var frames [][]byte
	for _, op := range []uint16{arpRequest, arpReply} {
		frames = append(frames, arpPacket{op, mac, mac, addr, addr}.frame())
	}
	return frames
}
