package carp

import (
	"time"
)

// Machine elects the master of one virtual host. It is a value of the past inputs and of the time that each Step is told: no clock, no socket,
// no goroutine. Times are only compared and subtracted.
type Machine struct {
	cfg   Config
	state State
	facts Facts
}

// Facts are what a machine knows, for status and for those that decide by more than CARP.
type Facts struct {
	State         State
	Since         time.Time // of State
	Cause         Cause     // of the last change
	Peer          Claim     // the last good advert
	Heard         time.Time // when it came; zero: never
	Skew          int       // what it advertises with now, demotion included
	Sent          uint64
	Failed        uint64 // to be sent
	Received      uint64 // good ones
	Rejected      [reasons]uint64
	Announced     uint64
	Late          time.Duration // the latest of the own adverts was so much behind its time
	Hampered      bool          // sending fails
	Misconfigured bool
}

// New begins in Silent, with the probation that may end in Misconfigured.
func New(cfg Config, now time.Time) *Machine {
	return &Machine{cfg: cfg, facts: Facts{Since: now}}
}

// Step takes what happened and gives what is to be done now.
func (m *Machine) Step(now time.Time, in Input) []Effect { return nil }

// Next gives the moment in which Step has to be called with Turn if nothing else happens before; zero: none.
func (m *Machine) Next() time.Time { return time.Time{} }

// Facts gives what is known now.
func (m *Machine) Facts() Facts { return m.facts }
