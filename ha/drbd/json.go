package drbd

import (
	"encoding/json"
	"fmt"
)

// The shape of `drbdsetup status --json` (drbd-utils user/v9/drbdsetup.c); what this program has no use for is left out.
type jsonResource struct {
	Name        string           `json:"name"`
	Role        string           `json:"role"`
	Suspended   bool             `json:"suspended"`
	User        bool             `json:"suspended-user"`
	NoData      bool             `json:"suspended-no-data"`
	Fencing     bool             `json:"suspended-fencing"`
	Quorum      bool             `json:"suspended-quorum"`
	Devices     []jsonDevice     `json:"devices"`
	Connections []jsonConnection `json:"connections"`
}

type jsonDevice struct {
	Volume uint16 `json:"volume"`
	Minor  *int   `json:"minor"`
	Disk   string `json:"disk-state"`
	Size   uint64 `json:"size"`
}

type jsonConnection struct {
	NodeID      uint16           `json:"peer-node-id"`
	Name        string           `json:"name"`
	Connection  string           `json:"connection-state"`
	Role        string           `json:"peer-role"`
	PeerDevices []jsonPeerDevice `json:"peer_devices"`
}

type jsonPeerDevice struct {
	Volume      uint16   `json:"volume"`
	Replication string   `json:"replication-state"`
	Disk        string   `json:"peer-disk-state"`
	Paused      string   `json:"resync-suspended"`
	OutOfSync   uint64   `json:"out-of-sync"`
	Done        *float64 `json:"percent-in-sync"`
}

// ParseStatusJSON reads `drbdsetup status --json`, which only DRBD 9 has.
func ParseStatusJSON(data []byte) (State, error) {
	if err := bounded(data); err != nil {
		return State{}, fmt.Errorf("status: %w", err)
	}
	var list []jsonResource
	if err := json.Unmarshal(data, &list); err != nil {
		return State{}, fmt.Errorf("status: %w", err)
	}
	var s State
	for _, j := range list {
		if j.Name == "" || s.index(j.Name) >= 0 {
			return State{}, fmt.Errorf("status: %q is no new resource", clip(j.Name))
		}
		r, err := j.resource()
		if err != nil {
			return State{}, fmt.Errorf("status: resource %s: %w", clip(j.Name), err)
		}
		s.Resources = append(s.Resources, r)
	}
	if s.parts() > maxParts {
		return State{}, fmt.Errorf("status: %w", ErrTooLong)
	}
	return s, nil
}

func (j jsonResource) resource() (Resource, error) {
	r := Resource{Name: j.Name, Role: Role(find(roleNames, j.Role))}
	for i, is := range []bool{j.User, j.NoData, j.Fencing, j.Quorum} {
		if is {
			r.Suspended |= 1 << i
		}
	}
	if j.Suspended && r.Suspended == 0 {
		r.Suspended = BySomebody
	}
	for _, d := range j.Devices {
		v := Volume{Number: int(d.Volume), Minor: -1, Disk: Disk(find(diskNames, d.Disk)), Size: d.Size}
		if d.Minor != nil {
			v.Minor = *d.Minor
		}
		r.Volumes = append(r.Volumes, v)
	}
	for _, c := range j.Connections {
		p := Peer{NodeID: int(c.NodeID), Name: c.Name, Connection: Connection(find(connectionNames, c.Connection)), Role: Role(find(roleNames, c.Role))}
		for _, d := range c.PeerDevices {
			v := PeerVolume{Number: int(d.Volume), Replication: Replication(find(replicationNames, d.Replication)), Disk: Disk(find(diskNames, d.Disk)),
				Paused: d.Paused != "" && d.Paused != "no", OutOfSync: d.OutOfSync}
			if syncing := v.Replication.Direction() != Nowhere; d.Done != nil && syncing {
				if !(*d.Done >= 0 && *d.Done <= 100) {
					return Resource{}, fmt.Errorf("%v is no percentage", *d.Done)
				}
				v.Done = *d.Done
			}
			p.Volumes = append(p.Volumes, v)
		}
		r.Peers = append(r.Peers, p)
	}
	return r, nil
}
