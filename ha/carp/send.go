package carp

import "time"

// The failures after which FreeBSD and ucarp demote themselves, and the successes after which they do not any more.
const (
	maxErrors  = 3 // CARP_SENDAD_MAX_ERRORS
	minSuccess = 3 // CARP_SENDAD_MIN_SUCCESS
)

// claim begins to advertise.
func (m *Machine) claim() {
	if !m.claims {
		m.claims = true
		m.advertise()
	}
}

// advertise sends an advert, and plans the next one.
func (m *Machine) advertise() {
	skew := m.skew()
	m.send(m.cfg.Base, skew)
	m.lastAd = m.now
	m.adAt, m.answered = m.now.Add(m.beat()), false
}

// beat is the time between two adverts: what they say, and a quarter of it after the master that was here fell silent, until somebody is heard. It may
// serve behind a partition, which the next advert that gets through ends; one that comes early restarts a timer and no more (facts 1.4).
func (m *Machine) beat() time.Duration {
	every := m.cfg.Interval(m.skew())
	if m.alone {
		return every / 4
	}
	return every
}

// bowOut ends advertising, with OpenBSD's good-bye where it is wanted and was begun.
func (m *Machine) bowOut(aloud bool) {
	if m.claims && aloud {
		m.send(255, 255)
		m.lastAd = time.Time{} // the other one takes over at once
	}
	m.claims = false
}

// send is carp_prepare_ad: one more than the last counter that was heard or sent, or a random one while nobody was heard.
func (m *Machine) send(base, skew int) {
	m.counter++
	if !m.heard {
		m.counter = m.cfg.Random()
	}
	m.facts.Sent++
	m.emit(Send{Advert{VHID: m.cfg.VHID, Base: uint8(base), Skew: uint8(skew), Counter: m.counter}})
}

// sendResult is FreeBSD's carp_send_ad_error.
func (m *Machine) sendResult(failed bool) {
	if failed {
		m.facts.Failed++
		m.sendErrors++
		m.sendSuccess = 0
		if m.sendErrors == maxErrors {
			m.facts.Hampered = true
			m.emit(Hampered{})
		}
		return
	}
	if m.sendErrors == 0 {
		return
	}
	m.sendSuccess++
	if m.sendSuccess < minSuccess {
		return
	}
	m.unhamper()
}

// unhamper forgets that sending failed. A backup sends nothing, so it would never find out by itself that it can send again: it is told by what
// it fell silent for, or by the address that its adverts come from.
func (m *Machine) unhamper() {
	if m.facts.Hampered {
		m.facts.Hampered = false
		m.emit(Hampered{Ended: true})
	}
	m.sendErrors, m.sendSuccess = 0, 0
}
