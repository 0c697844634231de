package carp

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
)

// MAC is an Ethernet address.
type MAC [6]byte

// String gives it as ip(8) does.
func (m MAC) String() string { return net.HardwareAddr(m[:]).String() }

// VirtualMAC is the address that FreeBSD and OpenBSD send adverts of vhid from, and answer ARP with.
func VirtualMAC(vhid uint8) MAC { return MAC{0, 0, 0x5e, 0, 1, vhid} }

// UCARPMAC is the address that ucarp 1.5 sends adverts of vhid from; its fifth byte is zero (measured).
func UCARPMAC(vhid uint8) MAC { return MAC{0, 0, 0x5e, 0, 0, vhid} }

// The groups that adverts go to.
var (
	Group4 = netip.AddrFrom4([4]byte{224, 0, 0, 18})
	Group6 = netip.AddrFrom16([16]byte{0xff, 2, 15: 0x12})
)

// GroupMAC gives the Ethernet address of an IP multicast group (RFC 1112 section 6.4, RFC 2464 section 7).
func GroupMAC(group netip.Addr) MAC {
	b := group.As16()
	if group.Is4() {
		return MAC{1, 0, 0x5e, b[13] & 0x7f, b[14], b[15]}
	}
	return MAC{0x33, 0x33, b[12], b[13], b[14], b[15]}
}

// TTL is that of every advert: one that was forwarded by a router has less (RFC 5082 makes the same use of it).
const TTL = 255

// TOS is what ucarp and OpenBSD write into an advert's IP header: low delay.
const TOS = 0x10

// Sizes of headers, in bytes.
const (
	etherSize = 14
	ip4Size   = 20
	ip6Size   = 40
)

const (
	etherIPv4 = 0x0800
	etherIPv6 = 0x86dd
	dontFrag  = 0x4000
)

// Frame is an advert as it is on an Ethernet, without a VLAN tag.
type Frame struct {
	SrcMAC, DstMAC MAC
	Src, Dst       netip.Addr // of the same family, without zone
	TTL            uint8      // hop limit, for IPv6
	TOS            uint8      // traffic class, for IPv6
	ID             uint16     // of IPv4
	Advert         Advert
}

// NewFrame gives the frame of an advert to dst, a group or a peer. Of a peer it leaves DstMAC to the caller, who knows the neighbour.
func NewFrame(a Advert, srcMAC MAC, src, dst netip.Addr) Frame {
	f := Frame{SrcMAC: srcMAC, Src: src.Unmap().WithZone(""), Dst: dst.Unmap().WithZone(""), TTL: TTL, TOS: TOS, Advert: a}
	if f.Dst.IsMulticast() {
		f.DstMAC = GroupMAC(f.Dst)
	}
	return f
}

// Append adds the frame's bytes, headers with their checksums included, to b.
func (f Frame) Append(b []byte) []byte {
	b = append(b, f.DstMAC[:]...)
	b = append(b, f.SrcMAC[:]...)
	src, dst := f.Src.AsSlice(), f.Dst.AsSlice()
	if f.Dst.Is4() {
		b = binary.BigEndian.AppendUint16(b, etherIPv4)
		at := len(b)
		b = append(b, 0x45, f.TOS)
		b = binary.BigEndian.AppendUint16(b, ip4Size+AdvertSize)
		b = binary.BigEndian.AppendUint16(b, f.ID)
		b = binary.BigEndian.AppendUint16(b, dontFrag)
		b = append(b, f.TTL, Protocol, 0, 0)
		b = append(append(b, src...), dst...)
		binary.BigEndian.PutUint16(b[at+10:], checksum(0, b[at:]))
	} else {
		b = binary.BigEndian.AppendUint16(b, etherIPv6)
		b = binary.BigEndian.AppendUint32(b, 6<<28|uint32(f.TOS)<<20)
		b = binary.BigEndian.AppendUint16(b, AdvertSize)
		b = append(b, Protocol, f.TTL)
		b = append(append(b, src...), dst...)
	}
	return f.Advert.Append(b)
}

// ErrNotCARP says of a frame that it is no IP packet of protocol 112: somebody else's business.
var ErrNotCARP = errors.New("no IP packet of protocol 112")

// ErrHeader says of an IP packet of protocol 112 that its IP header cannot be that of an advert.
var ErrHeader = errors.New("wrong IP header")

// ParseFrame reads what a packet socket delivers. Bytes behind the packet are Ethernet's padding, and are left out. Where the headers are
// right and the advert is not, the Frame comes with the error, so that it can be said who sent it; its Advert is zero.
func ParseFrame(b []byte) (Frame, error) {
	if len(b) < etherSize {
		return Frame{}, ErrNotCARP
	}
	f := Frame{DstMAC: MAC(b[0:6]), SrcMAC: MAC(b[6:12])}
	var payload []byte
	var err error
	switch kind, ip := binary.BigEndian.Uint16(b[12:]), b[etherSize:]; {
	case kind == etherIPv4 && len(ip) >= ip4Size && ip[9] == Protocol:
		payload, err = f.header4(ip)
	case kind == etherIPv6 && len(ip) >= ip6Size && ip[6] == Protocol:
		payload, err = f.header6(ip)
	default:
		return Frame{}, ErrNotCARP
	}
	if err != nil {
		return f, err
	}
	f.Advert, err = Parse(payload)
	return f, err
}

func (f *Frame) header4(ip []byte) ([]byte, error) {
	f.Src, f.Dst = netip.AddrFrom4([4]byte(ip[12:16])), netip.AddrFrom4([4]byte(ip[16:20]))
	f.TOS, f.ID, f.TTL = ip[1], binary.BigEndian.Uint16(ip[4:]), ip[8]
	head, total := int(ip[0]&15)*4, int(binary.BigEndian.Uint16(ip[2:]))
	switch {
	case ip[0]>>4 != 4 || head < ip4Size || total < head || total > len(ip):
		return nil, fmt.Errorf("%w: lengths %d and %d in %d bytes", ErrHeader, head, total, len(ip))
	case binary.BigEndian.Uint16(ip[6:])&0x3fff != 0:
		return nil, fmt.Errorf("%w: a fragment", ErrHeader)
	case checksum(0, ip[:head]) != 0:
		return nil, fmt.Errorf("IPv4 header: %w", ErrChecksum)
	}
	return ip[head:total], nil
}

func (f *Frame) header6(ip []byte) ([]byte, error) {
	f.Src, f.Dst = netip.AddrFrom16([16]byte(ip[8:24])), netip.AddrFrom16([16]byte(ip[24:40]))
	f.TOS, f.TTL = byte(binary.BigEndian.Uint16(ip)>>4), ip[7]
	total := ip6Size + int(binary.BigEndian.Uint16(ip[4:]))
	if ip[0]>>4 != 6 || total > len(ip) {
		return nil, fmt.Errorf("%w: length %d in %d bytes", ErrHeader, total, len(ip))
	}
	return ip[ip6Size:total], nil
}
