package hostcmd

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"kvmctl/cmd/internal/cli"
	"kvmctl/vm"
)

func write(t *testing.T, paths ...string) {
	t.Helper()
	for _, p := range paths {
		if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(p, []byte(p), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

func link(t *testing.T, to, name string) {
	t.Helper()
	if err := os.Symlink(to, name); err != nil {
		t.Fatal(err)
	}
}

func TestOnlyWhatLiesInTheFolderItselfIsInside(t *testing.T) {
	top := t.TempDir()
	folder := filepath.Join(top, "vm-a")
	write(t, folder+"/disk0.qcow2", folder+"/sub/data.raw", top+"/vm-ab/disk0.qcow2", top+"/srv/x.qcow2")
	link(t, top+"/srv", folder+"/out")
	link(t, top+"/srv/x.qcow2", folder+"/x.qcow2")
	link(t, folder, top+"/alias")
	tests := []struct {
		path string
		want bool
	}{
		{folder + "/disk0.qcow2", true},
		{folder + "/sub/data.raw", true},
		{folder + "/x.qcow2", true}, // the link itself is
		{folder + "/out/x.qcow2", false},
		{folder + "/../vm-ab/disk0.qcow2", false},
		{top + "/vm-ab/disk0.qcow2", false},
		{top + "/alias/disk0.qcow2", false},
		{folder + "/none.qcow2", false},
		{folder, false},
		{"disk0.qcow2", false},
	}
	for _, tt := range tests {
		if got := inside(folder, tt.path); got != tt.want {
			t.Errorf("inside(%s) = %v, want %v", tt.path, got, tt.want)
		}
	}
	if inside(top+"/alias", top+"/alias/disk0.qcow2") {
		t.Error("a folder that is a symbolic link counts as the guest's own")
	}
}

func TestAnImageThatSomethingNeedsIsSpared(t *testing.T) {
	top := t.TempDir()
	disk, over, other := top+"/disk.qcow2", top+"/over.qcow2", top+"/other.qcow2"
	write(t, disk, over, other)
	link(t, disk, top+"/link.qcow2")
	if err := os.Link(disk, top+"/hard.qcow2"); err != nil {
		t.Fatal(err)
	}
	own := imageUse{guest: "vm-a", links: []string{disk}}
	tests := []struct {
		name   string
		images []string
		uses   []imageUse
		want   string
	}{
		{"nobody else", []string{disk}, []imageUse{own}, ""},
		{"another guest has another", []string{disk}, []imageUse{own, {guest: "vm-b", links: []string{other}}}, ""},
		{"another guest has it", []string{disk}, []imageUse{own, {guest: "vm-b", links: []string{disk}}}, disk + " is an image of vm-b too"},
		{"by a symbolic link", []string{disk}, []imageUse{{guest: "vm-b", links: []string{top + "/link.qcow2"}}}, disk + " is an image of vm-b too"},
		{"by a hard link", []string{disk}, []imageUse{{guest: "vm-b", links: []string{top + "/hard.qcow2"}}}, disk + " is an image of vm-b too"},
		{"the link goes, its end does not", []string{top + "/link.qcow2"}, []imageUse{{guest: "vm-b", links: []string{disk}}}, ""},
		{"another is based on it", []string{disk}, []imageUse{{guest: "vm-b", links: []string{over, disk}}}, "the image " + over + " of vm-b is based on " + disk},
		{"its own other disk is", []string{disk}, []imageUse{own, {guest: "vm-a", links: []string{over, disk}}}, "the image " + over + " of vm-a is based on " + disk},
		{"which goes too", []string{disk, over}, []imageUse{own, {guest: "vm-a", links: []string{over, disk}}}, ""},
		{"nobody can tell", []string{disk}, []imageUse{{guest: "vm-b", links: []string{other}, err: errors.New("broken")}}, "it is not known which images vm-b needs: broken"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := ""
			if err := spared(tt.images, "vm-a", tt.uses); err != nil {
				got = err.Error()
				if code := cli.Code(err); code != cli.ExitRefused {
					t.Errorf("exit code %d, want %d", code, cli.ExitRefused)
				}
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// A delete that is killed between any two of its steps is finished by the next one: with the same result.
func TestAnInterruptedDeleteIsFinishedByTheNext(t *testing.T) {
	all := func(l vm.Layout) []string {
		return []string{l.GuestToml("vm-a"), l.GuestEtcDir("vm-a") + "/hook", l.ABILock("vm-a"), l.History("vm-a"), l.HistoryOld("vm-a"),
			l.ConsoleLog("vm-a"), l.GuestLibDir("vm-a") + "/.tmp-123", l.GuestEtcDir("vm-a") + "/.tmp-9", l.GuestLibDir("vm-a") + "/disk0.qcow2",
			l.GuestLibDir("vm-a") + "/mine", l.GuestLock("vm-a"), l.LibDir() + "/vm-b/disk0.qcow2"}
	}
	want := func(l vm.Layout) []string {
		return []string{l.GuestEtcDir("vm-a") + "/hook", l.GuestLibDir("vm-a") + "/mine"}
	}
	plan := func(l vm.Layout) *deletePlan {
		return &deletePlan{images: []string{l.GuestLibDir("vm-a") + "/disk0.qcow2"}}
	}
	// What was deleted so far is what a kill leaves missing: every set of files that a run can have got through, in its order.
	for done := range 10 {
		l := vm.Layout{Root: t.TempDir()}
		write(t, all(l)...)
		gone := []string{"", l.GuestLibDir("vm-a") + "/disk0.qcow2", l.History("vm-a"), l.HistoryOld("vm-a"), l.ConsoleLog("vm-a"), l.ABILock("vm-a"),
			l.GuestLibDir("vm-a") + "/.tmp-123", l.GuestEtcDir("vm-a") + "/.tmp-9", l.GuestTomlDeleted("vm-a")}
		for i := range min(done, len(gone)) {
			if i == 0 {
				if err := os.Rename(l.GuestToml("vm-a"), l.GuestTomlDeleted("vm-a")); err != nil {
					t.Fatal(err)
				}
				continue
			}
			if err := os.Remove(gone[i]); err != nil {
				t.Fatal(err)
			}
		}
		kept, err := plan(l).carryOut(l, "vm-a")
		if err != nil {
			t.Errorf("after %d steps: %v", done, err)
		}
		if diff := cmp.Diff(want(l), kept); diff != "" {
			t.Errorf("after %d steps: kept (-want +got):\n%s", done, diff)
		}
		left, err := filesBelow(l.Root)
		if err != nil {
			t.Fatal(err)
		}
		whole := append(want(l), l.LibDir()+"/vm-b/disk0.qcow2")
		slices.Sort(whole)
		slices.Sort(left)
		if diff := cmp.Diff(whole, left); diff != "" {
			t.Errorf("after %d steps: left (-want +got):\n%s", done, diff)
		}
	}
}

func TestDeletesCommandLineCanBeTypedAgain(t *testing.T) {
	o := deleteOptions{name: "vm-a", disks: true, images: []string{"/srv/my disk.raw"}}
	if diff := cmp.Diff("kvmctl delete vm-a --disks --image '/srv/my disk.raw'", o.commandLine()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestADiskThatIsNotThereNeedsNothing(t *testing.T) {
	spec := &vm.Spec{Name: "vm-b", Disks: []vm.Disk{{Image: t.TempDir() + "/none.qcow2", Format: "qcow2"}}, CDROMs: []vm.CDROM{{}, {Image: "/srv/a.iso"}}}
	got := usesOf(context.Background(), spec)
	if len(got) != 2 || got[0].err != nil || got[0].links[0] != spec.Disks[0].Image || got[1].links[0] != "/srv/a.iso" {
		t.Errorf("usesOf = %+v: want a disk that is not there without an error, and the one CD", got)
	}
}
