package carp

import (
	"cmp"
	"encoding/binary"
	"net/netip"
)

// maxDemoted is the worst skew that a demotion makes (FreeBSD's CARP_MAXSKEW, OpenBSD's and ucarp's CARP_BULK_UPDATE_MIN_DELAY).
const maxDemoted = 240

// skew is what adverts carry, and what they are compared by: DEMOTE_ADVSKEW of FreeBSD, and no better than configured where that is over 240.
func (m *Machine) skew() int {
	by := m.demotion
	if m.facts.Hampered {
		by += maxDemoted
	}
	switch s := min(max(m.cfg.Skew+by, 0), maxDemoted); {
	case m.cfg.Profile == BSD:
		return s
	case by >= 0:
		return max(s, m.cfg.Skew)
	default:
		return s
	}
}

// compare is negative where the own figures are better than an advert's: the smaller interval is.
func compare(base, skew int, a Advert) int {
	return cmp.Or(cmp.Compare(base, int(a.Base)), cmp.Compare(skew, int(a.Skew)))
}

// takeOver decides what a backup does on an advert: the cause for which it becomes a candidate, or none. What it promotes for a master that
// leaves comes first, because then nobody serves.
func takeOver(cfg Config, skew int, preempt bool, a Advert) (why Cause, yes bool) {
	switch {
	case cfg.Profile == KVMHA && a.BowOut(): // which OpenBSD obeys only if its own advbase is not 0
		return ByBowOut, true
	case cfg.Base != 0 && compare(cfg.DeadRatio*cfg.Base, skew, a) < 0:
		return ByBowOut, true
	case cfg.Profile == BSD && a.Demote > 0: // OpenBSD, whatever preempt says; our own counter is always 0
		return ByDemotion, true
	case preempt && cfg.Source.IsValid() && compare(cfg.Base, skew, a) < 0: // without one it could not tell the master
		return ByPreemption, true
	}
	return "", false
}

// yields decides what a master does on an advert: the cause for which it becomes a backup, or none.
func yields(cfg Config, skew int, from netip.Addr, a Advert) (why Cause, yes bool) {
	if cfg.Profile == BSD && a.Demote > 0 { // OpenBSD: not to one whose counter is higher
		return "", false
	}
	switch c := compare(cfg.Base, skew, a); {
	case c > 0:
		return ByBetter, true
	case c < 0:
		return "", false
	case cfg.Profile == BSD:
		return ByEqual, true
	default:
		return ByAddress, before(cfg.Profile, from, cfg.Source)
	}
}

// before reports whether the master at a wins from an equal one at b. ucarp compares the addresses as they lie in memory, which on every
// machine that it is used on today makes the last byte the most significant.
func before(p Profile, a, b netip.Addr) bool {
	a, b = a.Unmap(), b.Unmap()
	if p == UCARP && a.Is4() && b.Is4() {
		a, b := a.As4(), b.As4()
		return binary.LittleEndian.Uint32(a[:]) < binary.LittleEndian.Uint32(b[:])
	}
	return a.Less(b)
}

// received heeds an advert whose digest is right: packethandler of ucarp, carp_input_c of FreeBSD.
func (m *Machine) received(c Claim) {
	a, known := c.Advert, fresh
	if m.cfg.Profile != BSD { // OpenBSD's counter is the same for a whole boot
		known = m.seen.look(c)
	}
	switch known {
	case altered: // whatever it says, nobody who has the key has said it
		m.reject(Rejected{Altered, c})
		return
	case replayed:
		m.reject(Rejected{Replayed, c})
	case fresh:
		m.heard, m.alone, m.counter = true, false, a.Counter
		m.proven()
	}
	if known == fresh {
		m.facts.Fresh++
	}
	m.facts.Received++
	m.facts.Peer, m.facts.Heard = c, m.now
	if !m.awaited.IsZero() {
		m.awaited = m.now.Add(m.cfg.Dead())
	}
	switch {
	case m.claims:
		m.asMaster(c, known == fresh)
	case !m.cfg.Authoritative:
		return
	case m.facts.State == Backup:
		switch why, yes := takeOver(m.cfg, m.skew(), m.preempt, a); {
		case !yes:
			m.restart()
		case known == fresh:
			m.elect(why, c)
		}
	case m.facts.State == Candidate:
		why, yes := takeOver(m.cfg, m.skew(), true, a)
		switch {
		case !yes:
			m.depose(ByNotWorse, c)
		case why != ByBowOut:
			m.restart()
		case known == fresh:
			m.elect(why, c)
		}
	}
}

// asMaster heeds an advert while it advertises itself. fresh: it was not heard before.
func (m *Machine) asMaster(c Claim, fresh bool) {
	why, yes := yields(m.cfg, m.skew(), c.From, c.Advert)
	switch {
	case yes && m.cfg.Authoritative:
		if m.cfg.Profile != BSD { // ucarp: so that the new master knows that it has to announce the addresses
			m.advertise()
		}
		m.depose(why, c)
	case !yes && m.facts.State == Master:
		if fresh && m.cfg.Authoritative && !c.Advert.BowOut() {
			m.answer()
		}
		if !m.now.Before(m.announce) {
			m.announce = m.now.Add(announceEvery)
			m.emit(Announce{c.From})
		}
	}
}

// answer tells a worse master at once that it is not alone, so that after a partition the two serve together for a round trip and not until the
// next advert is due. It is VRRP's rule (RFC 9568, 6.4.3: "send an ADVERTISEMENT immediately to assert the Active state"); CARP has none
// against it, for an advert that comes early restarts a timer and no more (facts 1.4). One between two that were due anyway: a last advert, which
// ucarp sends when it yields, or two that never yield to each other, must not become a conversation.
func (m *Machine) answer() {
	if !m.answered {
		m.answered = true
		m.send(m.cfg.Base, m.skew())
	}
}
