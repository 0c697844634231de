package link

import (
	"fmt"
	"net/netip"
	"slices"
	"time"
)

// Terms are those on which the kernel keeps an address.
type Terms struct {
	Lifetime time.Duration // whole seconds: the kernel counts no others
	Every    time.Duration // between two refreshes
}

// manyAddresses is the number from which a refresh every 250 ms is too dear: the kernel tells everybody who listens of each one (no kernel has a
// refresh that it keeps to itself: inet_rtm_newaddr and inet6_addr_modify always notify), and BIND 9.18 scans all interfaces for each that is
// IPv4 (lib/ns/interfacemgr.c, need_rescan). 200 addresses at 4 Hz made an idle one burn 44 % of a core.
const manyAddresses = 32

// The terms. A longer lifetime would outlast CARP's dead time with advbase 1. Many addresses take longer, so that the loop may be later with
// them: 0.98 s instead of 0.73.
var (
	fewTerms  = Terms{time.Second, 250 * time.Millisecond}
	manyTerms = Terms{2 * time.Second, time.Second}
)

// retryEvery is when a refresh that did not reach every address is tried again: several times within what is left of a lifetime.
const retryEvery = 250 * time.Millisecond

// TermsFor gives the terms for a node that holds so many addresses.
func TermsFor(addresses int) Terms {
	if addresses > manyAddresses {
		return manyTerms
	}
	return fewTerms
}

// early is how much too early the kernel may find that a lifetime is over (net/ipv4/devinet.c, ADDRCONF_TIMER_FUZZ_MINUS: HZ/50).
const early = 20 * time.Millisecond

// Held is an address that this node holds by a lease.
type Held struct {
	Interface string
	Index     int // of the interface: one that went away and came back has another
	Addr      netip.Addr
	Born      uint32        // when the kernel added it, in 1/100 s since boot (struct ifa_cacheinfo, cstamp): tells a refresh from a second birth
	Since     time.Time     // the clock before the last refresh that the kernel confirmed
	Lifetime  time.Duration // that it got then
}

// end is the first instant at which the kernel may have dropped it.
func (h Held) end() time.Time { return h.Since.Add(h.Lifetime - early) }

// due is when it is to be refreshed.
func (h Held) due() time.Time {
	if h.Lifetime < manyTerms.Lifetime {
		return h.Since.Add(fewTerms.Every)
	}
	return h.Since.Add(manyTerms.Every)
}

// Loss says why a lease is over.
type Loss int

// The ways to lose a lease.
const (
	Expired Loss = iota + 1 // it was not refreshed in time: this node stood still, or the kernel did
	Removed                 // somebody deleted it
	Gone                    // its interface went away
)

func (l Loss) String() string {
	switch l {
	case Expired:
		return "its lifetime ended before it was refreshed"
	case Removed:
		return "somebody removed it"
	case Gone:
		return "its interface went away"
	}
	return fmt.Sprintf("Loss(%d)", int(l))
}

// Lost is an address that is not held any more, though nobody here dropped it. It is never put back silently: the group must promote again.
type Lost struct {
	Held
	Why Loss
}

func (l Lost) String() string { return fmt.Sprintf("lost %s on %s: %s", l.Addr, l.Interface, l.Why) }

// Answer is what the kernel said to the refresh of one address.
type Answer struct {
	Index  int
	Addr   netip.Addr
	Born   uint32 // of the address as it is now
	NoLink bool   // there is no such interface
}

// Book knows the leases of a node, and decides which are refreshed and which are lost. It is a pure machine. The zero value is empty.
type Book struct {
	held []Held
	last time.Time // the last plan; zero: none yet
}

// Held gives a copy of what the book holds.
func (b *Book) Held() []Held { return slices.Clone(b.held) }

// Terms are those of all addresses held now.
func (b *Book) Terms() Terms { return TermsFor(len(b.held)) }

// Next is when the next refresh is due; zero: nothing is held. It goes by the terms on which each address is held at present: the number may have
// passed manyAddresses since. What the last refresh did not reach is tried again soon.
func (b *Book) Next() (at time.Time) {
	for _, h := range b.held {
		if due := h.due(); at.IsZero() || due.Before(at) {
			at = due
		}
	}
	if soonest := b.last.Add(retryEvery); !b.last.IsZero() && len(b.held) > 0 && at.Before(soonest) {
		return soonest
	}
	return at
}

// Add enters a lease that began.
func (b *Book) Add(h Held) {
	b.Drop(h.Index, h.Addr)
	b.held = append(b.held, h)
}

// Drop takes a lease out, and tells whether there was one.
func (b *Book) Drop(index int, addr netip.Addr) (Held, bool) {
	i := b.find(index, addr)
	if i < 0 {
		return Held{}, false
	}
	h := b.held[i]
	b.held = slices.Delete(b.held, i, i+1)
	return h, true
}

func (b *Book) find(index int, addr netip.Addr) int {
	return slices.IndexFunc(b.held, func(h Held) bool { return h.Index == index && h.Addr == addr })
}

// Expire takes out what the kernel may have dropped by now: it must not be refreshed, because a refresh of an address that is gone makes a
// new one (measured: 4 of 4).
func (b *Book) Expire(now time.Time) (lost []Lost) {
	b.held = slices.DeleteFunc(b.held, func(h Held) bool {
		over := !now.Before(h.end())
		if over {
			lost = append(lost, Lost{h, Expired})
		}
		return over
	})
	return lost
}

// Plan tells what to refresh now, and on which terms. What is lost already is not among it.
func (b *Book) Plan(now time.Time) (refresh []Held, terms Terms, lost []Lost) {
	lost = b.Expire(now)
	b.last = now
	return b.Held(), b.Terms(), lost
}

// Answered takes the kernel's answers to a plan whose messages were made after before and had their answers by after. Strays are
// addresses that must be deleted at once: the refresh made them anew, or they were dropped meanwhile.
func (b *Book) Answered(before, after time.Time, terms Terms, answers []Answer) (lost []Lost, strays []Answer) {
	for _, a := range answers {
		i := b.find(a.Index, a.Addr)
		switch {
		case i < 0:
			if !a.NoLink {
				strays = append(strays, a)
			}
		case a.NoLink:
			lost = append(lost, Lost{b.held[i], Gone})
			b.held = slices.Delete(b.held, i, i+1)
		case a.Born != b.held[i].Born:
			why := Removed
			if !after.Before(b.held[i].end()) {
				why = Expired // between the look at the clock and the kernel's
			}
			lost = append(lost, Lost{b.held[i], why})
			strays = append(strays, a)
			b.held = slices.Delete(b.held, i, i+1)
		default:
			b.held[i].Since, b.held[i].Lifetime = before, terms.Lifetime
		}
	}
	// What got no answer may be gone by now.
	return append(lost, b.Expire(after)...), strays
}
