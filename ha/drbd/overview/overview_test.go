package overview

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/txtar"

	"kvmctl/ha/drbd"
)

var update = flag.Bool("update", false, "rewrite the golden file")

// TestWhatIsSaidOfEachRecording reads what two guests with DRBD 8.4.11 said in every scene, as the command does, and compares it with what people read.
func TestWhatIsSaidOfEachRecording(t *testing.T) {
	paths, err := filepath.Glob("../testdata/8.4/*.txtar")
	if err != nil || len(paths) == 0 {
		t.Fatalf("no recordings: %v", err)
	}
	var b bytes.Buffer
	for _, path := range paths {
		scene, err := txtar.ParseFile(path)
		if err != nil {
			t.Fatal(err)
		}
		for _, node := range []string{"varda2", "vm-varda"} {
			said := map[string][]byte{}
			for _, f := range scene.Files {
				if who, form, _ := strings.Cut(f.Name, "/"); who == node {
					said[form] = f.Data
				}
			}
			if said["events2-now"] == nil {
				continue
			}
			f := Facts{Configured: []string{"r0"}}
			if f.State, err = drbd.ParseEvents(said["events2-now"]); err != nil {
				continue // a scene in which DRBD says that it cannot
			}
			if f.Proc, err = drbd.ParseProc(said["proc"]); err != nil {
				t.Fatal(path, err)
			}
			f.Causes = drbd.ReadLog(said["log"], f.State.Place)
			for _, v := range Views(f) {
				fmt.Fprintf(&b, "%s %s: %s\n", strings.TrimSuffix(filepath.Base(path), ".txtar"), node, text(v))
			}
		}
	}
	golden := "testdata/views.txt"
	if *update {
		if err := os.WriteFile(golden, b.Bytes(), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(strings.Split(string(want), "\n"), strings.Split(b.String(), "\n")); d != "" {
		t.Errorf("(-want +got)\n%s", d)
	}
}

func text(v View) string {
	work := ""
	if v.Work != nil {
		work = fmt.Sprintf(" [%s %.1f%% left %v paused %v]", v.Work.Kind, v.Work.Percent, v.Work.Left, v.Work.Paused)
	}
	return fmt.Sprintf("%s %s/%s %s/%s %s %d KiB%s (%s) | %s | %s", v.Resource, v.Role, v.PeerRole, v.Disk, v.PeerDisk, v.Connection, v.OutOfSync, work, v.Cause, v.Wrong, v.Next)
}

// What no recording has.
func TestViews(t *testing.T) {
	good := func(edit func(*drbd.Resource)) drbd.Resource {
		r := drbd.Resource{Name: "r0", Role: drbd.Primary, Volumes: []drbd.Volume{{Disk: drbd.UpToDate}, {Number: 1, Minor: 1, Disk: drbd.UpToDate}},
			Peers: []drbd.Peer{{Name: "vm-varda", Connection: drbd.Connected, Role: drbd.Secondary, Volumes: []drbd.PeerVolume{
				{Replication: drbd.Established, Disk: drbd.UpToDate}, {Number: 1, Replication: drbd.Established, Disk: drbd.UpToDate}}}}}
		if edit != nil {
			edit(&r)
		}
		return r
	}
	mayVerify := func(v View) bool { return v.NotNow() == "" }
	for _, c := range []struct {
		name  string
		edit  func(*drbd.Resource)
		proc  drbd.Proc
		cause drbd.Apart
		wrong string // a part
		next  string
		check func(View) bool
	}{
		{name: "well", check: mayVerify},
		{name: "a verification found something", edit: func(r *drbd.Resource) { r.Peers[0].Volumes[1].OutOfSync = 8 }, wrong: "8 KiB differ", next: "drbdadm disconnect r0 && drbdadm connect r0"},
		{name: "the same where it is secondary", edit: func(r *drbd.Resource) {
			r.Role, r.Peers[0].Role = drbd.Secondary, drbd.Primary
			r.Peers[0].Volumes[1].OutOfSync = 8
		}, wrong: "8 KiB differ",
			next: "drbdadm disconnect r0 && drbdadm connect r0, where it is primary", check: mayVerify},
		{name: "the same where nobody is", edit: func(r *drbd.Resource) { r.Role = drbd.Secondary; r.Peers[0].Volumes[1].OutOfSync = 8 }, wrong: "a person chooses",
			next: "drbdadm invalidate-remote r0, where the data stay", check: mayVerify},
		{name: "a resync of what differs", edit: func(r *drbd.Resource) {
			p := &r.Peers[0].Volumes[1]
			p.OutOfSync, p.Replication, p.Disk = 8, drbd.SyncSource, drbd.Inconsistent
		},
			wrong: "resync to the peer is under way", check: func(v View) bool { return v.NotNow() == v.Wrong }},
		{name: "two volumes verify", edit: func(r *drbd.Resource) {
			r.Peers[0].Volumes[0].Replication, r.Peers[0].Volumes[1].Replication = drbd.VerifyS, drbd.VerifyS
		}, proc: drbd.Proc{Minors: []drbd.ProcMinor{{Configured: true, Done: 70, Left: time.Minute}, {Minor: 1, Configured: true, Done: 20, Left: time.Hour}}},
			check: func(v View) bool { return v.Work.Percent == 20 && v.Work.Left == time.Hour && v.Work.Seconds == 3600 }},
		{name: "disk lost, and the peer's works", edit: func(r *drbd.Resource) { r.Volumes[1].Disk = drbd.Diskless }, wrong: "works with the peer's", next: "kvmha switch <group>, then see to the disk"},
		{name: "disk lost", edit: func(r *drbd.Resource) { r.Role, r.Volumes[1].Disk = drbd.Secondary, drbd.Diskless }, wrong: "lost or detached", next: "drbdadm up r0, once there is a disk"},
		{name: "never initialised", edit: func(r *drbd.Resource) {
			for i := range r.Volumes {
				r.Volumes[i].Disk, r.Peers[0].Volumes[i].Disk = drbd.Inconsistent, drbd.Inconsistent
			}
		}, wrong: "neither side", next: "kvmha drbd init r0"},
		{name: "other settings", edit: func(r *drbd.Resource) { r.Peers = nil }, cause: drbd.Apart{Cause: drbd.OtherSettings, Said: "incompatible protocol"},
			wrong: "it is StandAlone: other settings (incompatible protocol)", next: "kvmha drbd lint"},
		{name: "unrelated", edit: func(r *drbd.Resource) { r.Peers = nil }, cause: drbd.Apart{Cause: drbd.Unrelated}, wrong: "unrelated data", next: "kvmha drbd resolve r0"},
		{name: "both were primary", edit: func(r *drbd.Resource) { r.Peers = nil }, cause: drbd.Apart{Cause: drbd.TwoPrimaries}, wrong: "both were primary", next: "kvmha status"},
		{name: "the log is silent", edit: func(r *drbd.Resource) { r.Peers = nil }, wrong: "does not say why", next: "drbdadm connect r0"},
		{name: "no volume", edit: func(r *drbd.Resource) { r.Volumes = nil }, wrong: "no volume", next: "drbdadm adjust r0"},
	} {
		t.Run(c.name, func(t *testing.T) {
			v := Views(Facts{Configured: []string{"r0"}, State: drbd.State{Resources: []drbd.Resource{good(c.edit)}}, Proc: c.proc, Causes: map[string]drbd.Apart{"r0": c.cause}})
			if len(v) != 1 || (c.wrong == "") != (v[0].Wrong == "") || !strings.Contains(v[0].Wrong, c.wrong) || v[0].Next != c.next || c.check != nil && !c.check(v[0]) {
				t.Errorf("%+v", v)
			}
		})
	}
	v := Views(Facts{Configured: []string{"r1"}, State: drbd.State{Resources: []drbd.Resource{good(nil)}}})
	if len(v) != 2 || v[0].Up || v[0].Next != "drbdadm up r1" || v[1].Next != "kvmha drbd lint" {
		t.Errorf("one that is down, one that drbd.conf does not have: %+v", v)
	}
}
