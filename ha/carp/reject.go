package carp

import (
	"net/netip"
	"time"
)

// reportEvery is the least time between two Reports.
const reportEvery = time.Minute

// report gathers what was not obeyed.
type report struct {
	counts  [reasons]uint64
	last    Rejected
	pending bool
	told    time.Time // the last Report; zero: none yet
}

// due gives when the next Report is; zero: there is nothing to say.
func (r *report) due() time.Time {
	if !r.pending {
		return time.Time{}
	}
	return r.told.Add(reportEvery)
}

// rejected counts a packet that the Filter refused. It has no other effect but in the probation, so a stranger's packets move no timer.
func (m *Machine) rejected(in Rejected) {
	if in.Reason < 0 || in.Reason >= reasons {
		return
	}
	m.reject(in)
	if in.Reason == BadDigest {
		m.doubted(in.Claim)
	}
}

// reject counts, and has it reported. VRRP's packets have the same number, are nobody's fault, and are counted only.
func (m *Machine) reject(in Rejected) {
	m.facts.Rejected[in.Reason]++
	if in.Reason == Malformed {
		return
	}
	m.report.counts[in.Reason]++
	m.report.last, m.report.pending = in, true
}

// reportDue tells the first at once, and then what has come together once a minute.
func (m *Machine) reportDue() {
	r := &m.report
	if !r.pending || m.now.Before(r.due()) {
		return
	}
	e := Report{Counts: r.counts, Last: r.last}
	if !r.told.IsZero() {
		e.Since = m.now.Sub(r.told)
	}
	*r = report{told: m.now}
	m.emit(e)
}

// probation lasts from start or reload until the first good advert, the first election, or the verdict that this node is misconfigured:
// adverts with a wrong digest in three intervals, and not one good. Later ones decide nothing, so that no stranger can hold a standby down.
type probation struct {
	done  bool
	bad   int       // intervals with bad adverts
	last  time.Time // the last of them
	until time.Time // misconfigured, unless one more comes before; zero: not misconfigured
}

// badIntervals is how many make the verdict.
const badIntervals = 3

// doubt gives until when an election waits, because somebody is there and may be the master, with another password. It is bounded: by then
// there is a verdict, or nobody is there any more.
func (p *probation) doubt(cfg Config) time.Time {
	if p.done || p.bad == 0 {
		return time.Time{}
	}
	return p.last.Add(cfg.Dead())
}

// doubted takes an advert with a wrong digest.
func (m *Machine) doubted(c Claim) {
	p := &m.probation
	// Several within one interval count as one. The peer's interval is not known, only that all of them have the base in common.
	every := m.cfg.Interval(0)
	if m.cfg.Base == 0 {
		every = m.cfg.Interval(m.cfg.Skew)
	}
	if p.bad > 0 && m.now.Sub(p.last) < every*3/4 {
		return
	}
	switch {
	case !p.until.IsZero():
		p.last, p.until = m.now, m.now.Add(m.cfg.Dead())
	case !p.done:
		p.bad++
		p.last = m.now
		if p.bad == badIntervals {
			p.done, p.until = true, m.now.Add(m.cfg.Dead())
			m.emit(Misconfigured{c})
		}
	}
}

// proven ends the probation, and takes the verdict back: a good advert came.
func (m *Machine) proven() {
	was := m.probation.until
	m.probation = probation{done: true}
	if !was.IsZero() {
		m.emit(Configured{Good: true})
		m.restart()
	}
}

// endMisconfigured takes the verdict back when nobody sends bad adverts any more.
func (m *Machine) endMisconfigured() {
	if until := m.probation.until; !until.IsZero() && !m.now.Before(until) {
		m.probation = probation{done: true}
		m.deadAt, m.graced = m.now, true
		m.emit(Configured{})
	}
}

// memory knows the last adverts that were heard.
type memory struct {
	ring [remembered]heard
	next int
}

// remembered is how many adverts are known again.
const remembered = 256

type heard struct {
	from    netip.Addr
	counter uint64
	claims  [3]uint8
}

// look says whether an advert was heard before, and remembers it. Toward ucarp and kvmha the same counter never comes twice from one sender, but
// where the network delays or doubles packets; with other claims somebody has changed a captured one.
func (r *memory) look(c Claim) knowledge {
	a := c.Advert
	now := heard{c.From, a.Counter, [3]uint8{a.Base, a.Skew, a.Demote}}
	for _, h := range r.ring {
		switch {
		case h == now:
			return replayed
		case h.from == now.from && h.counter == now.counter:
			return altered
		}
	}
	r.ring[r.next] = now
	r.next = (r.next + 1) % remembered
	return fresh
}

// knowledge is what memory says.
type knowledge int

const (
	fresh knowledge = iota
	replayed
	altered
)
