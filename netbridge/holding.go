package netbridge

import (
	"bytes"
	"math"
	"slices"
	"time"
)

// HoldingKind is the kind of what an interface has beside itself.
type HoldingKind string

// The kinds of holding, in the order in which they can be given: a route needs its address, a neighbour its route.
const (
	KindAddress   HoldingKind = "address"
	KindRoute     HoldingKind = "route"
	KindNeighbour HoldingKind = "neighbour"
)

// Forever is a lifetime without an end (INFINITY_LIFE_TIME).
const Forever = math.MaxUint32

// Holding is an address, a route or a neighbour of an interface, as something that another interface can be given.
type Holding struct {
	Kind HoldingKind `json:"kind"`
	// Text is what people read: "192.168.1.5/24", "default via 192.168.1.1".
	Text string `json:"text"`
	// Raw is the kernel's own message about it, without the interface and without what changes by itself: so nothing is lost that this
	// package does not know of.
	Raw []byte `json:"raw"`
	// Label is the end of an IPv4 address's label that begins with the interface's name: ":1".
	Label string `json:"label,omitempty"`
	// Valid and Preferred are an address's lifetimes in seconds when it was read, or Forever. Expires is a route's; 0: never.
	Valid     uint32 `json:"valid,omitempty"`
	Preferred uint32 `json:"preferred,omitempty"`
	Expires   uint32 `json:"expires,omitempty"`
	// Gateway: a route that goes through another one.
	Gateway bool `json:"gateway,omitempty"`
	// Copy: a neighbour that was learned. It is given to the new interface and stays with the old one until that forgets it.
	Copy bool `json:"copy,omitempty"`
	// Fixed says why it cannot be given to another interface; empty: it can.
	Fixed string `json:"fixed,omitempty"`
}

// same reports whether two holdings are one, whatever their lifetimes.
func (h Holding) same(o Holding) bool {
	return h.Kind == o.Kind && h.Label == o.Label && bytes.Equal(h.Raw, o.Raw)
}

// aged is the holding with the lifetimes that are left after a time.
func (h Holding) aged(d time.Duration) Holding {
	past := uint32(min(max(0, d/time.Second), Forever-1))
	for _, left := range []*uint32{&h.Valid, &h.Preferred, &h.Expires} {
		if *left != Forever && *left != 0 {
			*left = max(*left, past+1) - past // 1 s is left of what has run out meanwhile: the kernel then does what is due
		}
	}
	return h
}

// inOrder sorts holdings so that each can be given when it is its turn; within that the kernel's order stays, which among IPv4
// addresses of one network says which is the first.
func inOrder(hs []Holding) []Holding {
	rank := func(h Holding) int {
		switch {
		case h.Kind == KindAddress:
			return 0
		case h.Kind == KindRoute && !h.Gateway:
			return 1
		case h.Kind == KindRoute:
			return 2
		}
		return 3
	}
	four, six := byFamily(hs)
	slices.Reverse(six) // of IPv6's addresses the kernel lists the newest first, and it is the first that it speaks under
	hs = append(four, six...)
	slices.SortStableFunc(hs, func(a, b Holding) int { return rank(a) - rank(b) })
	return hs
}

// byFamily takes IPv6's addresses out.
func byFamily(hs []Holding) (rest, six []Holding) {
	for _, h := range hs {
		if h.Kind == KindAddress && len(h.Raw) > 0 && h.Raw[0] == familyIPv6 {
			six = append(six, h)
		} else {
			rest = append(rest, h)
		}
	}
	return rest, six
}

// familyIPv6 is AF_INET6, with which the kernel's messages begin.
const familyIPv6 = 10

// reconcile gives what has to be taken from, and then given to, an interface that has some holdings so that it has the wanted ones.
// Addresses are taken and given anew when their order is wrong. Learned neighbours are given, never missed or taken.
func reconcile(have, want []Holding) (take, give []Holding) {
	h4, h6 := byFamily(ofKind(have, KindAddress))
	w4, w6 := byFamily(ofKind(want, KindAddress))
	for len(h4) > 0 && len(w4) > 0 && h4[0].same(w4[0]) { // a new one becomes the last
		h4, w4 = h4[1:], w4[1:]
	}
	for len(h6) > 0 && len(w6) > 0 && h6[len(h6)-1].same(w6[len(w6)-1]) { // a new one becomes the first
		h6, w6 = h6[:len(h6)-1], w6[:len(w6)-1]
	}
	take, give = append(h4, h6...), append(w4, w6...)
	for _, kind := range []HoldingKind{KindRoute, KindNeighbour} {
		h, w := ofKind(have, kind), ofKind(want, kind)
		for _, x := range h {
			if !slices.ContainsFunc(w, x.same) {
				take = append(take, x)
			}
		}
		for _, x := range w {
			if !slices.ContainsFunc(h, x.same) {
				give = append(give, x)
			}
		}
	}
	slices.Reverse(take) // the last first: an IPv4 address takes those of its network with it when it is their first
	return take, inOrder(give)
}

// ofKind leaves learned neighbours out: they come and go.
func ofKind(hs []Holding, kind HoldingKind) []Holding {
	var out []Holding
	for _, h := range hs {
		if h.Kind == kind && !h.Copy {
			out = append(out, h)
		}
	}
	return out
}

// owns reports whether somebody's traffic depends on the holdings: learned neighbours alone are nobody's.
func owns(hs []Holding) bool {
	return slices.ContainsFunc(hs, func(h Holding) bool { return !h.Copy })
}
