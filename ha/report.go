package ha

import "net/netip"

// Report is what a node says of itself to the others over the peer channel.
type Report struct {
	Node    string        `json:"node"`
	Version string        `json:"version"`
	BootID  string        `json:"boot_id"`
	Uptime  float64       `json:"uptime_seconds"` // of the agent
	Groups  []GroupReport `json:"groups"`
	More    int           `json:"more,omitempty"` // groups that found no room in the frame

	Changed map[string]uint64 `json:"changed,omitempty"` // by [[sync]] whose source it is: another figure after each change of the files
}

// GroupReport is one group's part.
type GroupReport struct {
	Name      string        `json:"name"`
	Role      string        `json:"role"`
	Reason    string        `json:"reason,omitempty"` // why it waits
	Cause     string        `json:"cause"`            // of the last change of role
	Since     float64       `json:"since_seconds"`
	Missing   string        `json:"missing,omitempty"` // what keeps it from serving
	Addresses []netip.Addr  `json:"addresses"`
	Held      bool          `json:"held"`             // the addresses are on this node
	Checks    []CheckStatus `json:"checks,omitempty"` // all of them; a green one has no reason
	Record    string        `json:"record,omitempty"` // the right to be alone: of a group with storage
	Disk      string        `json:"disk,omitempty"`   // likewise
}

// reportRoom is what the groups of a report may take of a frame, in bytes as counted by roomOf.
const reportRoom = 48 << 10

// reportOf makes the report of a status. What no frame could hold is left out: the checks of a group first, then the group.
func reportOf(s Status, bootID string) Report {
	r := Report{Node: s.Node, Version: s.Version, BootID: bootID, Uptime: s.Uptime, Groups: []GroupReport{}}
	room := reportRoom
	for _, g := range s.Groups {
		one := GroupReport{Name: g.Name, Role: g.Role, Reason: g.Reason, Cause: g.Cause, Since: g.Since, Missing: g.Missing, Checks: g.Checks}
		for _, a := range g.Addresses {
			one.Addresses = append(one.Addresses, a.Address)
			one.Held = one.Held || a.Held
		}
		if one.room() > room {
			one.Checks = nil
		}
		if room -= one.room(); room < 0 {
			r.More++
			continue
		}
		r.Groups = append(r.Groups, one)
	}
	return r
}

// room is how many bytes a group takes in a report at most: six a character, which is how JSON writes a control character.
func (g GroupReport) room() int {
	n := 250 + 50*len(g.Addresses) + 6*(len(g.Name)+len(g.Cause)+len(g.Missing))
	for _, c := range g.Checks {
		n += 60 + 6*(len(c.Name)+len(c.Reason))
	}
	return n
}

// PeerStatus is another node as this one sees it.
type PeerStatus struct {
	Name   string   `json:"name"`
	Role   string   `json:"role"`                       // member or arbiter
	Paired bool     `json:"paired"`                     // its key is known here
	Seen   *float64 `json:"seen_seconds_ago,omitempty"` // nil: never; how old Report is
	Wrong  string   `json:"wrong,omitempty"`            // why the last try failed; empty: it did not
	Report *Report  `json:"report,omitempty"`           // the last one
}
