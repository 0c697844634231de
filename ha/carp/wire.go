package carp

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// Protocol is CARP's number in an IP header; VRRP has the same.
const Protocol = 112

// AdvertSize is the length of an advert, in bytes (struct carp_header of ip_carp.h).
const AdvertSize = 36

// The fixed bytes of an advert.
const (
	version    = 2
	typeAdvert = 1
	authLen    = 7 // 32-bit words of counter and digest
)

// Limits of the figures in an advert.
const (
	MaxBase = 255
	MaxSkew = 254 // FreeBSD's ioctl refuses 255, which together with base 255 is the bow-out
)

// Advert is what a master says: that it is there, and how often it will say so.
type Advert struct {
	VHID    uint8    // virtual host, 1 to 255
	Base    uint8    // advbase: whole seconds between adverts
	Skew    uint8    // advskew: 1/256 s added to it
	Demote  uint8    // OpenBSD's demote counter; zero for everybody else, who ignore it
	Counter uint64   // signed; see Machine for what it is worth
	Digest  [20]byte // HMAC-SHA1 of version, type, VHID, addresses and Counter; neither Base nor Skew nor Demote
}

// BowOut reports whether this is OpenBSD's good-bye (carp_proto_input_c, carp_send_ad in ip_carp.c): so seldom that everybody takes it for gone.
func (a Advert) BowOut() bool { return a.Base == 255 && a.Skew == 255 }

// Append adds the advert's 36 bytes, with their checksum, to b.
func (a Advert) Append(b []byte) []byte {
	at := len(b)
	b = append(b, version<<4|typeAdvert, a.VHID, a.Skew, authLen, a.Demote, a.Base, 0, 0)
	b = binary.BigEndian.AppendUint64(b, a.Counter)
	b = append(b, a.Digest[:]...)
	binary.BigEndian.PutUint16(b[at+6:], checksum(0, b[at:]))
	return b
}

// What may be wrong with the bytes of an advert or a frame.
var (
	ErrSize     = errors.New("not the size of a CARP advert") // VRRPv2 has the same first byte, and rarely the same length
	ErrVersion  = errors.New("not version 2 of CARP, type advert")
	ErrAuthLen  = errors.New("not CARP's length of authentication data")
	ErrVHID     = errors.New("virtual host 0")
	ErrChecksum = errors.New("wrong checksum")
)

// Parse reads the payload of an IP packet of protocol 112. What it accepts, Append makes again, byte for byte. Its error is one of those above,
// with an Advert of zeros.
func Parse(b []byte) (Advert, error) {
	switch {
	case len(b) != AdvertSize:
		return Advert{}, fmt.Errorf("%w: %d bytes", ErrSize, len(b))
	case b[0] != version<<4|typeAdvert:
		return Advert{}, fmt.Errorf("%w: first byte %#02x", ErrVersion, b[0])
	case b[3] != authLen:
		return Advert{}, fmt.Errorf("%w: %d", ErrAuthLen, b[3])
	case b[1] == 0:
		return Advert{}, ErrVHID
	}
	a := Advert{VHID: b[1], Skew: b[2], Demote: b[4], Base: b[5], Counter: binary.BigEndian.Uint64(b[8:])}
	copy(a.Digest[:], b[16:])
	// Of one's complement's two zeros nobody sends 0xffff, so the sum is compared with the one that Append writes.
	var again [AdvertSize]byte
	a.Append(again[:0])
	if binary.BigEndian.Uint16(again[6:]) != binary.BigEndian.Uint16(b[6:]) {
		return Advert{}, ErrChecksum
	}
	return a, nil
}

// checksum is RFC 1071's over b, whose length is even, on top of sum.
func checksum(sum uint32, b []byte) uint16 {
	for ; len(b) >= 2; b = b[2:] {
		sum += uint32(binary.BigEndian.Uint16(b))
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	return ^uint16(sum)
}

// reasonOf names the reason for which Parse or ParseFrame refused.
func reasonOf(err error) Reason {
	if errors.Is(err, ErrChecksum) {
		return BadSum
	}
	return Malformed
}
