package vm

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"kvmctl/vm/image"
)

func TestSnapshotsOfSeveralDisks(t *testing.T) {
	t.Parallel()
	at := func(s int64) time.Time { return time.Unix(s, 0) }
	got := together([]string{"/a", "/b"}, [][]image.Snapshot{
		{{Name: "late", Made: at(9)}, {Name: "both", State: 5, Made: at(2)}},
		{{Name: "both", Made: at(3)}, {Name: "b", Made: at(1)}},
	})
	want := []Snapshot{{Name: "b", Made: at(1), Missing: []string{"/a"}}, {Name: "both", Made: at(2), Memory: 5}, {Name: "late", Made: at(9), Missing: []string{"/b"}}}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
}

func TestHowToRestore(t *testing.T) {
	t.Parallel()
	off, live, part := &Snapshot{}, &Snapshot{Memory: 1}, &Snapshot{Memory: 1, Missing: []string{"/b"}}
	for _, tt := range []struct {
		name      string
		s         *Snapshot
		running   bool
		saved     string
		disksOnly bool
		want      restoreHow
		err       string
	}{
		{"none", nil, false, "", false, 0, `it has no snapshot "x"`},
		{"not on all disks", part, false, "", false, 0, "the snapshot is not on all disks: /b has it not"},
		{"off, of a guest that was off", off, false, "", false, restoreDisks, ""},
		{"off, of a guest that ran", live, false, "", false, restoreByStart, ""},
		{"off, its disks only", live, false, "", true, restoreDisks, ""},
		{"running, of a guest that was off", off, true, "", false, 0, "it runs, and its disks cannot be turned back under it"},
		{"running, of a guest that ran", live, true, "", false, restoreOnline, ""},
		{"running, its disks only", live, true, "", true, 0, "it runs, and its disks cannot be turned back under it"},
		{"saved", off, false, "/s", false, 0, "it is saved in /s, which would be lost"},
	} {
		got, err := howToRestore("vm-a", "x", tt.s, tt.running, tt.saved, RestoreOptions{DisksOnly: tt.disksOnly})
		text := ""
		if err != nil {
			text = err.Error()
		}
		if got != tt.want || text != tt.err {
			t.Errorf("%s: %v, %q", tt.name, got, text)
		}
	}
}

func TestSnapshotNames(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]bool{"a": true, "before-upgrade": true, "2026-11-22": true, "17": false, "": false, "-a": false, "a b": false, "a,b": false, "ü": false} {
		if got := CheckSnapshotName(name) == nil; got != want {
			t.Errorf("%q: %v", name, got)
		}
	}
}
