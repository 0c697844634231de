package carp

import (
	"net/netip"
	"slices"
)

// Reason is why a packet was not obeyed.
type Reason int

// The reasons.
const (
	Malformed Reason = iota // not the bytes of a CARP advert; VRRP with the same number, for instance
	BadSum                  // a wrong checksum
	BadTTL                  // it was forwarded: a multicast advert whose TTL is not 255
	BadTarget               // sent to somebody else, or by somebody who is not among the unicast peers
	BadDigest               // another password, other addresses, or a stranger
	Altered                 // its counter was signed for other claims: somebody changed a captured advert
	Replayed                // it was heard before; it is heeded as far as it makes nobody master
	reasons
)

// String gives the word under which it is counted.
func (r Reason) String() string {
	if r < 0 || r >= reasons {
		return "unknown"
	}
	return [...]string{"malformed", "checksum", "ttl", "target", "digest", "altered", "replayed"}[r]
}

// Claim is what a packet said, and who says to have sent it. Nothing of it is proven but the counter, and that only if the digest is right.
type Claim struct {
	From   netip.Addr
	MAC    MAC
	TTL    uint8
	Advert Advert // zero if it could not be read
}

// Filter decides about received frames before the machine sees them: the checks of ucarp's packethandler and FreeBSD's carp_input_c.
type Filter struct {
	VHID    uint8
	Auth    *Auth
	Self    []netip.Addr // the addresses that this node sends from: what comes from them is an echo (ucarp's BPF rule)
	Unicast []netip.Addr // the peers, where adverts go to them instead of the group
}

// Input turns a frame into what the machine is told: Received or Rejected. false: the frame concerns this virtual host in no way.
func (f *Filter) Input(frame []byte) (Input, bool) {
	got, err := ParseFrame(frame)
	a, c := got.Advert, Claim{got.Src, got.SrcMAC, got.TTL, got.Advert}
	switch {
	case !got.Src.IsValid() || err == nil && a.VHID != f.VHID || slices.Contains(f.Self, got.Src): // the long list last
		return nil, false
	case err != nil:
		return Rejected{reasonOf(err), c}, true
	case !f.addressed(got):
		return Rejected{BadTarget, c}, true
	case len(f.Unicast) == 0 && got.TTL != TTL: // FreeBSD asks for it in multicast mode only
		return Rejected{BadTTL, c}, true
	case !f.Auth.Verify(a):
		return Rejected{BadDigest, c}, true
	}
	return Received{c}, true
}

// addressed reports whether a frame was sent to those that Filter's node belongs to, by one who may.
func (f *Filter) addressed(got Frame) bool {
	if len(f.Unicast) == 0 {
		return got.Dst == Group4 || got.Dst == Group6
	}
	return slices.Contains(f.Unicast, got.Src) && slices.Contains(f.Self, got.Dst)
}
