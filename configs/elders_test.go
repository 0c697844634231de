package configs

import (
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// A draft that claims what a guest has which was started before blocks itself and nobody else.
func TestADraftDoesNotBlockWhoWasThereBefore(t *testing.T) {
	const both = "disk.image /srv/x.qcow2 is also written by "
	shared := "[[disk]]\nimage = \"/srv/x.qcow2\"\n"
	for _, tt := range []struct {
		name    string
		a, b    string   // vm.toml
		started []string // with an ABI lock
		want    map[string]string
	}{
		{"neither was started: nobody knows whose it is", shared, shared, nil, map[string]string{"a": both + "b", "b": both + "a"}},
		{"one was started: it is its own", shared, shared, []string{"b"}, map[string]string{"a": both + "b"}},
		{"both were started: nobody knows", shared, shared, []string{"a", "b"}, map[string]string{"a": both + "b", "b": both + "a"}},
		{"both were started, and it lies in the folder of one", "[[disk]]\nimage = \"x.qcow2\"\n", "[[disk]]\nimage = \"$ROOT/var/lib/kvm/a/x.qcow2\"\n",
			[]string{"a", "b"}, map[string]string{"b": "disk.image $ROOT/var/lib/kvm/a/x.qcow2 is also written by a"}},
		{"who was started goes before whose folder it is", "[[disk]]\nimage = \"x.qcow2\"\n", "[[disk]]\nimage = \"$ROOT/var/lib/kvm/a/x.qcow2\"\n",
			[]string{"b"}, map[string]string{"a": "disk.image $ROOT/var/lib/kvm/a/x.qcow2 is also written by b"}},
		{"a screen", "[vnc]\ndisplay = 1\n", "[vnc]\ndisplay = 1\n", []string{"a"}, map[string]string{"b": "vnc.display 1 is also that of a"}},
		{"a draft that cannot be read at all", shared, "memory = \n[[disk\n", nil, map[string]string{"b": "expected value but found '\\n' instead"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			root := t.TempDir()
			expand := func(s string) string { return replaceRoot(s, root) }
			put(t, root, "etc/kvm/a/vm.toml", expand(tt.a))
			put(t, root, "etc/kvm/b/vm.toml", expand(tt.b))
			for _, name := range tt.started {
				put(t, root, "var/lib/kvm/"+name+"/abi.lock", "")
			}
			s, err := Load(t.Context(), root)
			if err != nil {
				t.Fatal(err)
			}
			got := map[string]string{}
			for _, name := range []string{"a", "b"} {
				for _, p := range s.ProblemsOf(name) {
					got[name] += cutPlace(p.Msg)
				}
			}
			want := map[string]string{}
			for name, msg := range tt.want {
				want[name] = expand(msg)
			}
			if d := cmp.Diff(want, got); d != "" {
				t.Error(d)
			}
		})
	}
}

// The verdict changes when the draft's rival is started, which changes no file of either: it is not kept.
func TestAVerdictThatDependsOnWhatWasStartedIsNotKept(t *testing.T) {
	root := t.TempDir()
	cache := filepath.Join(root, "cache")
	for _, name := range []string{"a", "b"} {
		put(t, root, "etc/kvm/"+name+"/vm.toml", "[[disk]]\nimage = \"/srv/x.qcow2\"\n")
	}
	broken := func() (names string) {
		g, err := loadGlance(t.Context(), root, cache, time.Now().Add(time.Hour))
		if err != nil {
			t.Fatal(err)
		}
		for _, x := range g.Guests {
			if x.Broken {
				names += x.Name
			}
		}
		return names
	}
	if got := broken(); got != "ab" {
		t.Errorf("broken before: %s", got)
	}
	put(t, root, "var/lib/kvm/a/abi.lock", "")
	if got := broken(); got != "b" {
		t.Errorf("broken after the start of a: %s", got)
	}
}

func replaceRoot(s, root string) string { return strings.ReplaceAll(s, "$ROOT", root) }

// cutPlace takes the place of the other guest's line off a message.
func cutPlace(msg string) string {
	msg, _, _ = strings.Cut(msg, " (/")
	return msg
}
