package ha

import (
	"net/netip"
	"time"

	"kvmctl/ha/storage"
)

// Status is what the agent says about itself, in the form of `kvmha status --json`.
type Status struct {
	Node     string          `json:"node"`
	PID      int             `json:"pid"`
	Version  string          `json:"version"`
	Uptime   float64         `json:"uptime_seconds"` // of the agent, upgrades in place included
	Groups   []GroupStatus   `json:"groups"`
	Degraded []string        `json:"degraded,omitempty"` // what works less well than it should, as sentences
	Loop     LoopStatus      `json:"loop"`
	Beat     *BeatStatus     `json:"heartbeat,omitempty"` // with the peer; nil: there is none
	Arbiter  []ArbiterStatus `json:"arbiter,omitempty"`   // the records that this node keeps for others
	Peers    []PeerStatus    `json:"peers,omitempty"`     // the other nodes, as they were seen over the peer channel
	Syncs    []SyncStatus    `json:"syncs,omitempty"`     // what is copied from them
}

// LoopStatus tells how well the main loop keeps its times.
type LoopStatus struct {
	Turns   uint64  `json:"turns"`
	Longest float64 `json:"longest_gap_seconds"` // between two turns
	Freezes int     `json:"freezes"`
	Restart int     `json:"restarts_in_place"`
}

// BeatStatus is the heartbeat with the other member.
type BeatStatus struct {
	Peer  string     `json:"peer"`
	Alive bool       `json:"alive"`                       // heard, and it hears this node
	Heard *float64   `json:"heard_seconds_ago,omitempty"` // on any path; nil: never
	Tick  bool       `json:"tick"`                        // kvmha-tick runs here: the kernel ends a lease of a dead agent on time
	Paths []BeatPath `json:"paths"`

	Gateways []BeatGateway `json:"gateways,omitempty"` // on the groups' own links, as far as they were asked
}

// BeatPath is one way to it.
type BeatPath struct {
	Address netip.AddrPort `json:"address"`
	Hears   bool           `json:"hears"` // this node hears the peer on it
	Heard   bool           `json:"heard"` // the peer hears this node
}

// BeatGateway is what the questions to the gateway of an interface have come to.
type BeatGateway struct {
	Interface string     `json:"interface"`
	Address   netip.Addr `json:"address"` // of several: the first; it counts for them all
	Answers   bool       `json:"answers"` // the last question was answered
}

// GroupStatus is one group.
type GroupStatus struct {
	Name      string          `json:"name"`
	Interface string          `json:"interface"`
	VHID      uint8           `json:"vhid"`
	Role      string          `json:"role"`
	Decides   string          `json:"decided_by"`       // carp or heartbeat
	Reason    string          `json:"reason,omitempty"` // why it waits
	Since     float64         `json:"since_seconds"`    // for how long
	Cause     string          `json:"cause"`            // of the last change of role
	CARP      CARPStatus      `json:"carp"`
	Served    bool            `json:"served"` // here, or a master is heard
	Addresses []AddressStatus `json:"addresses"`
	Checks    []CheckStatus   `json:"checks,omitempty"`
	Alarms    []string        `json:"alarms,omitempty"`
	Missing   string          `json:"missing,omitempty"` // what keeps it from serving
	Override  string          `json:"override,omitempty"`
	Mend      []string        `json:"mend,omitempty"` // what a person types about its storage
	Moves     int             `json:"moves"`          // times that it became active

	Storage *storage.Standing `json:"storage,omitempty"` // nil: it has none
}

// CARPStatus is the group's election.
type CARPStatus struct {
	State    string            `json:"state"`
	Peer     string            `json:"peer,omitempty"`                   // who was heard last
	PeerSkew int               `json:"peer_skew,omitempty"`              // what it claimed
	Heard    *float64          `json:"peer_heard_seconds_ago,omitempty"` // nil: never
	Sent     uint64            `json:"sent"`
	Received uint64            `json:"received"`
	Failed   uint64            `json:"send_failed"`
	Rejected map[string]uint64 `json:"rejected,omitempty"`
	Late     float64           `json:"longest_late_seconds"` // of an advert of ours behind its time
}

// AddressStatus is one of its addresses.
type AddressStatus struct {
	Address netip.Addr `json:"address"`
	Held    bool       `json:"held"`
}

// CheckStatus is one of its checks.
type CheckStatus struct {
	Name   string `json:"name"`
	State  string `json:"state"` // unknown, green, red
	Reason string `json:"reason,omitempty"`
}

// status describes the heartbeat; nil: there is none.
func (p *pulse) status(now time.Time) *BeatStatus {
	if p == nil {
		return nil
	}
	s := &BeatStatus{Peer: p.name, Alive: p.session.Alive(now), Tick: p.tick}
	if at := p.session.LastHeard(); !at.IsZero() {
		ago := now.Sub(at).Seconds()
		s.Heard = &ago
	}
	for i, to := range p.sockets.peer.paths {
		s.Paths = append(s.Paths, BeatPath{to, p.session.PathHeard(now, i), p.session.Heard(now) && p.session.PeerHears(i)})
	}
	return s
}
