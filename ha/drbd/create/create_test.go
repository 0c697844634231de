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
	on := func(content ...string) Volume {
		return Volume{Disk: Disk{Path: "/dev/vg/srv", Content: content}, Inside: true}
	}
	disk, full := on(), on("ext4")
	down := func(m Metadata, v ...Volume) Facts {
		for i := range v {
			v[i].Metadata = m
		}
		return Facts{Resource: "r0", Peer: "b", Volumes: v}
	}
	mixed := func(all ...Metadata) Facts {
		f := down(NoMetadata)
		for i, m := range all {
			f.Volumes = append(f.Volumes, Volume{Number: i, Metadata: m})
		}
		return f
	}
	tail, outside := on(), on("crypto_LUKS")
	tail.Tail, outside.Inside = true, false
	meta := down(NoMetadata, outside)
	meta.Meta = []Disk{{Path: "/dev/meta", Content: []string{"xfs"}}}
	nine := down(Fresh, full)
	nine.Nine = true
	early := down(NoMetadata, disk)
	early.Up, early.State = true, up(drbd.Diskless, drbd.DUnknown, false, drbd.Secondary)
	alone := up(drbd.Consistent, drbd.DUnknown, false, drbd.Secondary)
	alone.Peers[0].Connection = drbd.StandAlone
	is := func(r drbd.Resource) Facts { return Facts{Resource: "r0", Peer: "b", Up: true, State: r} }
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
		{"no disk", down(NoMetadata, Volume{Disk: Disk{Path: "/dev/x", Missing: true}}), Wish{Data: None}, Refuse, "/dev/x is not there"},
		{"in use", down(NoMetadata, Volume{Disk: Disk{Path: "/dev/x", Users: []User{{"mounted at /srv", "umount /srv"}}}}), Wish{Data: Here, Yes: true}, Refuse, "in use (mounted at /srv)umount /srv"},
		{"a file system, to be lost", down(NoMetadata, full), Wish{Data: None}, Refuse, "ext4"},
		{"the second volume has one", down(NoMetadata, disk, full), Wish{Data: Peer}, Refuse, "--data peer --yes"},
		{"a file system, lost by wish", down(NoMetadata, full), Wish{Data: Peer, Yes: true}, Wipe, "ext4"},
		{"a file system that stays", down(NoMetadata, full), Wish{Data: Here}, CreateMD, ""},
		{"a partition table whose end nobody knows", down(NoMetadata, on("gpt", "PMBR")), Wish{Data: Here, Yes: true}, Refuse, "gpt on it, whose end"},
		{"nothing known, and something at the end", down(NoMetadata, tail), Wish{Data: Here}, Refuse, "is not empty"},
		{"the same, by wish", down(NoMetadata, tail), Wish{Data: Here, Yes: true}, CreateMD, ""},
		{"the same, of nobody's data", down(NoMetadata, tail), Wish{Data: None}, CreateMD, ""},
		{"LUKS, with metadata elsewhere", down(NoMetadata, outside), Wish{Data: Here}, CreateMD, ""},
		{"a meta-disk with something on it", meta, Wish{Data: Here}, Refuse, "meta-disk /dev/meta has something on it (xfs)"},
		{"the same, by wish", meta, Wish{Data: Here, Yes: true}, Wipe, "xfs"},
		{"metadata are never made anew", down(Used, full), Wish{Data: None, Yes: true}, Up, ""},
		{"metadata, nothing said", down(Used, disk), Wish{}, Up, ""},
		{"killed behind create-md", down(Fresh, disk), Wish{Data: None}, Up, ""},
		{"killed behind create-md, the data are here", down(Fresh, full), Wish{Data: Here}, Claim, ""},
		{"the same with DRBD 9", nine, Wish{Data: Here}, Up, ""},
		{"killed between two volumes", mixed(Fresh, NoMetadata), Wish{Data: None}, CreateMD, ""},
		{"killed between two claims", mixed(Used, Fresh), Wish{Data: Here}, Claim, ""},
		{"a volume more", mixed(Used, NoMetadata), Wish{Data: None, Yes: true}, Refuse, "some of its volumes"},
		{"good data would be copied over the peer's", down(Used, disk), Wish{Data: Peer, Yes: true}, Refuse, "would be copied to b"},
		{"brought up before it was made", early, Wish{Data: None}, CreateMD, ""},
		{"what was claimed waits", is(up(drbd.Consistent, d, false, drbd.Secondary)), Wish{Data: Here}, Done, "init r0 --data peer, on b"},
		{"the same without fencing", is(up(u, d, false, drbd.Secondary)), Wish{Data: Here}, Done, "init r0 --data peer, on b"},
		{"booted without the peer", is(up(drbd.Consistent, d, false, drbd.Secondary)), Wish{Data: None}, Done, "Consistent"},
		{"unrelated data", is(alone), Wish{Data: Here}, Refuse, "does not connect to b"},
		{"overwritten in spite of --data here", is(syncing), Wish{Data: Here}, Refuse, "drbdadm disconnect r0"},
		{"up, alone", is(up(i, d, false, drbd.Secondary)), Wish{Data: None}, Await, ""},
		{"up, alone for long", is(up(i, d, false, drbd.Secondary)), Wish{Data: None, Awaited: true}, Done, "kvmha drbd init r0 --data none, on b"},
		{"up, alone for long, with the data", is(up(i, d, false, drbd.Secondary)), Wish{Data: Here, Awaited: true}, Done, "--data here, here again"},
		{"never forced alone: DRBD would ask who may be alone", is(up(i, d, false, drbd.Secondary)), Wish{Data: Here}, Await, ""},
		{"up, nothing said", is(up(i, i, true, drbd.Secondary)), Wish{}, Refuse, "--data peer"},
		{"both blank", is(up(i, i, true, drbd.Secondary)), Wish{Data: None}, SkipSync, ""},
		{"the data are here", is(up(i, i, true, drbd.Secondary)), Wish{Data: Here}, Force, ""},
		{"the data are there", is(up(i, i, true, drbd.Secondary)), Wish{Data: Peer}, Done, "--data here, on"},
		{"the peer's good data are not overwritten", is(up(i, u, true, drbd.Secondary)), Wish{Data: Here}, Refuse, "--data peer"},
		{"nor forgotten", is(up(i, u, true, drbd.Secondary)), Wish{Data: None}, Refuse, "--data peer"},
		{"being copied", is(syncing), Wish{Data: Peer}, Done, "being copied"},
		{"forced by this run", is(up(u, i, true, drbd.Primary)), Wish{Data: Here, Forced: true}, Demote, ""},
		{"primary by somebody", is(up(u, i, true, drbd.Primary)), Wish{Data: Here}, Done, "primary here"},
		{"all is done", is(up(u, u, true, drbd.Secondary)), Wish{Data: None}, Done, "good data"},
		{"outdated", is(up(drbd.Outdated, d, false, drbd.Secondary)), Wish{Data: Here}, Done, "init r0 --data peer"},
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
