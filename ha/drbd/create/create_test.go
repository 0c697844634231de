package create

import (
	"strings"
	"testing"

	"kvmctl/ha/drbd"
)

func up(disk, peer drbd.Disk, connected bool, role drbd.Role) drbd.Resource {
	r := drbd.Resource{Name: "r0", Role: role, Volumes: []drbd.Volume{{Disk: disk}}, Peers: []drbd.Peer{{Connection: drbd.Connecting, Volumes: []drbd.PeerVolume{{Disk: peer}}}}}
	if connected {
		r.Peers[0].Connection = drbd.Connected
	}
	return r
}

func TestNext(t *testing.T) {
	disk := Volume{Disk: "/dev/vg/srv"}
	full := Volume{Disk: "/dev/vg/srv", Content: []string{"ext4"}}
	down := func(m Metadata, v ...Volume) Facts { return Facts{Volumes: v, Metadata: m} }
	is := func(r drbd.Resource) Facts { return Facts{Up: true, State: r} }
	const i, u, d = drbd.Inconsistent, drbd.UpToDate, drbd.DUnknown
	syncing := up(i, u, true, drbd.Secondary)
	syncing.Peers[0].Volumes[0].Replication = drbd.SyncTarget
	for _, c := range []struct {
		name  string
		facts Facts
		wish  Wish
		act   Act
		says  string // a part of why and of the hints
	}{
		{"nothing said", down(NoMetadata, disk), Wish{}, Refuse, "--data none"},
		{"blank", down(NoMetadata, disk), Wish{Data: None}, CreateMD, ""},
		{"no disk", down(NoMetadata, Volume{Disk: "/dev/x", Missing: true}), Wish{Data: None}, Refuse, "/dev/x is not there"},
		{"in use", down(NoMetadata, Volume{Disk: "/dev/x", Users: []string{"mounted at /srv"}}), Wish{Data: Here, Yes: true}, Refuse, "mounted at /srv"},
		{"a file system, to be lost", down(NoMetadata, full), Wish{Data: None}, Refuse, "ext4"},
		{"the second volume has one", down(NoMetadata, disk, full), Wish{Data: Peer}, Refuse, "--data peer --yes"},
		{"a file system, lost by wish", down(NoMetadata, full), Wish{Data: Peer, Yes: true}, CreateMD, ""},
		{"a file system that stays", down(NoMetadata, full), Wish{Data: Here}, CreateMD, ""},
		{"metadata are never made anew", down(AllMetadata, full), Wish{Data: None, Yes: true}, Up, ""},
		{"metadata, nothing said", down(AllMetadata, disk), Wish{}, Up, ""},
		{"some metadata", down(SomeMetadata, disk, disk), Wish{Data: None, Yes: true}, Refuse, "some of its volumes"},
		{"up, alone", is(up(i, d, false, drbd.Secondary)), Wish{Data: None}, Await, ""},
		{"up, alone for long", is(up(i, d, false, drbd.Secondary)), Wish{Data: None, Awaited: true}, Done, "kvmha drbd init  --data none, on "},
		{"up, alone for long, with the data", is(up(i, d, false, drbd.Secondary)), Wish{Data: Here, Awaited: true}, Done, "--data here, here again"},
		{"never forced alone: DRBD would ask who may be alone", is(up(i, d, false, drbd.Secondary)), Wish{Data: Here}, Await, ""},
		{"up, nothing said", is(up(i, i, true, drbd.Secondary)), Wish{}, Refuse, "--data peer"},
		{"both blank", is(up(i, i, true, drbd.Secondary)), Wish{Data: None}, SkipSync, ""},
		{"the data are here", is(up(i, i, true, drbd.Secondary)), Wish{Data: Here}, Force, ""},
		{"the data are there", is(up(i, i, true, drbd.Secondary)), Wish{Data: Peer}, Done, "--data here, on"},
		{"the peer's good data are not overwritten", is(up(i, u, true, drbd.Secondary)), Wish{Data: Here}, Refuse, "--data peer"},
		{"nor forgotten", is(up(i, u, true, drbd.Secondary)), Wish{Data: None}, Refuse, "--data peer"},
		{"being copied", is(syncing), Wish{Data: Here}, Done, "being copied"},
		{"forced by this run", is(up(u, i, true, drbd.Primary)), Wish{Data: Here, Forced: true}, Demote, ""},
		{"primary by somebody", is(up(u, i, true, drbd.Primary)), Wish{Data: Here}, Done, "primary here"},
		{"all is done", is(up(u, u, true, drbd.Secondary)), Wish{Data: None}, Done, "good data"},
		{"outdated", is(up(drbd.Outdated, d, false, drbd.Secondary)), Wish{Data: Here}, Refuse, "Outdated"},
		{"no disk any more", is(up(drbd.Diskless, d, false, drbd.Secondary)), Wish{Data: Here}, Refuse, "cannot be used"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := Next(c.facts, c.wish)
			if s.Act != c.act || !strings.Contains(s.Why+strings.Join(s.Hint, "\n"), c.says) || (s.Act == Refuse) && len(s.Hint) == 0 {
				t.Errorf("%+v", s)
			}
		})
	}
}
