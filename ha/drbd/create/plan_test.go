package create

import (
	"slices"
	"strings"
	"testing"

	"kvmctl/ha/drbd"
)

func TestPlan(t *testing.T) {
	v := Volume{Number: 1, Disk: Disk{Path: "/dev/x", Content: []string{"ext4"}}, Inside: true}
	for _, c := range []struct {
		data Data
		want string
	}{
		{None, "wipefs --all /dev/x; drbdadm create-md --force r0/1; drbdadm adjust r0; ; drbdadm new-current-uuid --clear-bitmap r0; "},
		{Peer, "wipefs --all /dev/x; drbdadm create-md --force r0/1; drbdadm adjust r0; ; "},
		{Here, "drbdadm create-md --force r0/1; drbdadm -- --force <new>:0:0:0:1:1 set-gi r0/1; drbdadm adjust r0; "},
	} {
		steps := Plan(Facts{Resource: "r0", Peer: "b", Volumes: []Volume{v}}, Wish{Data: c.data, Yes: true})
		var got []string
		for _, s := range steps {
			got = append(got, s.Command("r0"))
		}
		if text := strings.Join(got, "; "); text != c.want || steps[len(steps)-1].Act != Done {
			t.Errorf("%s: %s\n%+v", c.data, text, steps)
		}
	}
}

// TestNothingIsLost goes through every kind of two volumes and every wish: each plan ends, and none overwrites what was not to be.
func TestNothingIsLost(t *testing.T) {
	var volumes []Volume
	for _, content := range []string{"", "ext4", "gpt"} {
		for _, m := range []Metadata{NoMetadata, Fresh, Used} {
			for _, bits := range []int{0, 1, 2, 3, 4} {
				v := Volume{Disk: Disk{Path: "/dev/" + content, Missing: bits == 4}, Inside: bits&1 > 0, Tail: bits == 1, Metadata: m}
				if content != "" {
					v.Disk.Content = []string{content}
				}
				if bits == 2 {
					v.Disk.Users = []User{{"mounted at /srv", "umount /srv"}}
				}
				volumes = append(volumes, v)
			}
		}
	}
	for _, one := range volumes {
		for _, two := range volumes {
			two.Number, two.Disk.Path = 1, two.Disk.Path+"2"
			for _, data := range []Data{Unsaid, Here, Peer, None} {
				for _, yes := range []bool{false, true} {
					for _, state := range []drbd.Resource{{}, up(drbd.Diskless, drbd.DUnknown, false, drbd.Secondary)} {
						f := Facts{Resource: "r0", Peer: "b", Volumes: []Volume{one, two}, Up: state.Role != 0, State: state}
						plan(t, f, Wish{Data: data, Yes: yes})
					}
				}
			}
		}
	}
}

func plan(t *testing.T, f Facts, w Wish) {
	t.Helper()
	steps := Plan(f, w)
	if last := steps[len(steps)-1].Act; last != Refuse && last != Done {
		t.Fatalf("%+v %+v: goes in a circle: %+v", f, w, steps)
	}
	acts := func(a Act) bool { return slices.ContainsFunc(steps, func(s Step) bool { return s.Act == a }) }
	for _, s := range steps {
		for _, v := range f.Volumes {
			wrong := ""
			switch {
			case s.Act == Wipe && s.Disk == v.Disk.Path && (!w.Yes || w.Data == Here || w.Data == Unsaid || v.Metadata != NoMetadata || len(v.Disk.Users) > 0):
				wrong = "wiped"
			case s.Act == CreateMD && s.Volume == v.Number && (v.Metadata != NoMetadata || w.Data == Unsaid || len(v.Disk.Users) > 0 || v.Disk.Missing):
				wrong = "made anew"
			case s.Act == CreateMD && s.Volume == v.Number && w.Data == Here && v.Inside && slices.Contains(v.Disk.Content, "gpt"):
				wrong = "cut off at its end"
			case s.Act == CreateMD && s.Volume == v.Number && len(v.Disk.Content) > 0 && !w.Yes && w.Data != Here:
				wrong = "overwritten"
			case (s.Act == Force || s.Act == Claim) && w.Data != Here:
				wrong = "claimed"
			case s.Act == SkipSync && w.Data != None:
				wrong = "not copied"
			}
			if wrong != "" {
				t.Fatalf("%+v %+v: volume %d is %s: %+v", f, w, v.Number, wrong, steps)
			}
		}
	}
	if acts(Force) != acts(Demote) {
		t.Fatalf("%+v %+v: it is left primary: %+v", f, w, steps)
	}
}
