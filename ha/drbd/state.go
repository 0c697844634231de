package drbd

import (
	"cmp"
	"slices"
)

// State is all that DRBD of one node has configured.
type State struct {
	Resources []Resource
}

// Resource is one resource as its node sees it.
type Resource struct {
	Name      string
	Role      Role
	Suspended Suspended
	Volumes   []Volume
	Peers     []Peer
}

// Volume is a volume's data here.
type Volume struct {
	Number int
	Minor  int // of /dev/drbd<minor>; -1: not told
	Disk   Disk
	Size   uint64 // in KiB
}

// Peer is a connection. 8.4 has one at most, shows a StandAlone one without a name or not at all, and gives it the node id 0.
type Peer struct {
	NodeID     int
	Name       string // 8.4: "peer" for any
	Connection Connection
	Role       Role
	Volumes    []PeerVolume
}

// PeerVolume is a volume's data there, and what replication does.
type PeerVolume struct {
	Number      int
	Replication Replication
	Disk        Disk
	Paused      bool    // a resync stands still: somebody or something asked for it
	OutOfSync   uint64  // in KiB
	Done        float64 // percent in sync; 0 where it was not told
}

// Resource finds one by its name.
func (s State) Resource(name string) (Resource, bool) {
	if i := s.index(name); i >= 0 {
		return s.Resources[i], true
	}
	return Resource{}, false
}

func (s State) index(name string) int {
	return slices.IndexFunc(s.Resources, func(r Resource) bool { return r.Name == name })
}

// AllUpToDate reports whether every volume's data here are good. A resource without volumes has none.
func (r Resource) AllUpToDate() bool {
	return len(r.Volumes) > 0 && !slices.ContainsFunc(r.Volumes, func(v Volume) bool { return v.Disk != UpToDate })
}

// Connected reports whether every peer is.
func (r Resource) Connected() bool {
	return len(r.Peers) > 0 && !slices.ContainsFunc(r.Peers, func(p Peer) bool { return p.Connection != Connected })
}

// StandAlone reports whether it does not even try to reach a peer: by an admin's word, a wrong secret, split brain and a peer of another protocol alike.
func (r Resource) StandAlone() bool {
	return len(r.Peers) == 0 || slices.ContainsFunc(r.Peers, func(p Peer) bool { return p.Connection == StandAlone })
}

// PeerUpToDate reports whether every volume's data are good at every peer, and the peers connected.
func (r Resource) PeerUpToDate() bool {
	return r.Connected() && len(r.Volumes) > 0 && !slices.ContainsFunc(r.Peers, func(p Peer) bool {
		return len(p.Volumes) != len(r.Volumes) || slices.ContainsFunc(p.Volumes, func(v PeerVolume) bool { return v.Disk != UpToDate })
	})
}

// PeerPrimary reports whether a peer said that it is.
func (r Resource) PeerPrimary() bool {
	return slices.ContainsFunc(r.Peers, func(p Peer) bool { return p.Role == Primary })
}

// Failed reports whether a volume has no disk here, or a broken one, or there is no volume: somebody has to bring it up.
func (r Resource) Failed() bool {
	return len(r.Volumes) == 0 || slices.ContainsFunc(r.Volumes, func(v Volume) bool {
		return v.Disk == Diskless || v.Disk == Detaching || v.Disk == Failed
	})
}

// Direction is which way a resync goes.
type Direction int

// The directions. A resource with volumes of both is ToHere: its data here are not all good.
const (
	Nowhere Direction = iota
	ToPeer
	ToHere
)

func (d Direction) String() string { return []string{"no", "to the peer", "to here"}[d] }

// Resyncing says which way a resync goes that is under way, about to begin or paused. A verification is none.
func (r Resource) Resyncing() Direction {
	way := Nowhere
	for _, p := range r.Peers {
		for _, v := range p.Volumes {
			way = max(way, v.Replication.Direction())
		}
	}
	return way
}

// Direction is that of the resync that the state is about.
func (r Replication) Direction() Direction {
	switch r {
	case StartingSyncS, WFBitMapS, SyncSource, PausedSyncS, Ahead:
		return ToPeer
	case StartingSyncT, WFBitMapT, WFSyncUUID, SyncTarget, PausedSyncT, Behind:
		return ToHere
	case NoReplication, Off, Established, VerifyS, VerifyT:
	}
	return Nowhere
}

// Verifying reports whether an online verification runs.
func (r Resource) Verifying() bool {
	return slices.ContainsFunc(r.Peers, func(p Peer) bool {
		return slices.ContainsFunc(p.Volumes, func(v PeerVolume) bool { return v.Replication == VerifyS || v.Replication == VerifyT })
	})
}

// OutOfSync is how much differs or may differ between here and the peers, in KiB.
func (r Resource) OutOfSync() (sum uint64) {
	for _, p := range r.Peers {
		for _, v := range p.Volumes {
			sum += v.OutOfSync
		}
	}
	return sum
}

// Bare is the state without what changes while nothing happens (amounts), and without what the forms say differently: the order, and StandAlone
// connections, which 8.4 shows, shows without a name, or leaves out. Two values that tell of one moment are deeply equal when bare.
func (s State) Bare() State {
	var bare State
	for _, r := range s.Resources {
		r.Volumes = slices.Clone(r.Volumes)
		for i := range r.Volumes {
			r.Volumes[i].Size = 0
		}
		slices.SortFunc(r.Volumes, func(a, b Volume) int { return a.Number - b.Number })
		var peers []Peer
		for _, p := range r.Peers {
			if p.Connection == StandAlone {
				continue
			}
			p.Volumes = slices.Clone(p.Volumes)
			for i := range p.Volumes {
				p.Volumes[i].OutOfSync, p.Volumes[i].Done = 0, 0
			}
			slices.SortFunc(p.Volumes, func(a, b PeerVolume) int { return a.Number - b.Number })
			peers = append(peers, p)
		}
		slices.SortFunc(peers, func(a, b Peer) int { return cmp.Or(a.NodeID-b.NodeID, cmp.Compare(a.Name, b.Name)) })
		r.Peers = peers
		bare.Resources = append(bare.Resources, r)
	}
	slices.SortFunc(bare.Resources, func(a, b Resource) int { return cmp.Compare(a.Name, b.Name) })
	return bare
}

// clone shares nothing with s.
func (s State) clone() State {
	resources := slices.Clone(s.Resources)
	for i := range resources {
		r := &resources[i]
		r.Volumes, r.Peers = slices.Clone(r.Volumes), slices.Clone(r.Peers)
		for j := range r.Peers {
			r.Peers[j].Volumes = slices.Clone(r.Peers[j].Volumes)
		}
	}
	return State{Resources: resources}
}

// Place says which volume a minor is, as ReadLog asks.
func (s State) Place(minor int) (resource string, volume int, ok bool) {
	for _, r := range s.Resources {
		for _, v := range r.Volumes {
			if v.Minor == minor {
				return r.Name, v.Number, true
			}
		}
	}
	return "", 0, false
}
