package agentcmd

import (
	"encoding/json"
	"maps"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"testing"

	"kvmctl/ha"
	"kvmctl/ha/storage"
)

func TestAWatchedTableIsPaintedOverTheOneBefore(t *testing.T) {
	for _, c := range []struct{ name, got, want string }{
		{"the first one clears", repaint("A\nB\n", true), "\x1b[H\x1b[2JA\x1b[K\r\nB\x1b[K\r\n\x1b[J"},
		{"no later one does", repaint("A\n", false), "\x1b[HA\x1b[K\r\n\x1b[J"},
		{"all fits", clip("1\n2\n3\n", 80, 4), "1\n2\n3\n"},
		{"the last row is the cursor's", clip("1\n2\n3\n", 80, 3), "1\n2\n"},
		{"a line as wide as the terminal is one row", clip("éé\nb\n", 2, 3), "éé\nb\n"},
		{"a wider one is two", clip("ééé\nb\n", 2, 3), "ééé\n"},
	} {
		if c.got != c.want {
			t.Errorf("%s: %q, want %q", c.name, c.got, c.want)
		}
	}
}

func TestTheKeysThatEndAWatch(t *testing.T) {
	for typed, rest := range map[string]string{"xyq12": "12", "\x03z": "z", "Q": "", "x": ""} {
		in, stopped := strings.NewReader(typed), false
		quitKey(in, func() { stopped = true })
		if !stopped || in.Len() != len(rest) {
			t.Errorf("%q: stopped %v, %d left, want %q", typed, stopped, in.Len(), rest)
		}
	}
}

// TestTheHelpNamesEveryKeyOfTheStatus holds the promise of the manual against what --json prints.
func TestTheHelpNamesEveryKeyOfTheStatus(t *testing.T) {
	ago := 1.0
	full := ha.Status{Degraded: []string{"x"}, Beat: &ha.BeatStatus{}, Arbiter: []ha.ArbiterStatus{{}}, Syncs: []ha.SyncStatus{{Held: &ago}}, Peers: []ha.PeerStatus{{Seen: &ago, Wrong: "x", Report: &ha.Report{}}}, Groups: []ha.GroupStatus{{Reason: "x", Checks: []ha.CheckStatus{{}}, Alarms: []string{"x"}, Missing: "x", Override: "x", Mend: []string{"x"}, Storage: &storage.Standing{},
		CARP: ha.CARPStatus{Heard: &ago}, Addresses: []ha.AddressStatus{{Address: netip.MustParseAddr("10.0.0.1")}}}}}
	text, err := json.Marshal(full)
	if err != nil {
		t.Fatal(err)
	}
	var top map[string]any
	if err := json.Unmarshal(text, &top); err != nil {
		t.Fatal(err)
	}
	keys := slices.Collect(maps.Keys(top))
	keys = append(keys, slices.Collect(maps.Keys(top["groups"].([]any)[0].(map[string]any)))...)
	keys = append(keys, slices.Collect(maps.Keys(top["peers"].([]any)[0].(map[string]any)))...)
	keys = append(keys, slices.Collect(maps.Keys(top["syncs"].([]any)[0].(map[string]any)))...)
	if want := reflect.TypeFor[ha.SyncStatus]().NumField() + reflect.TypeFor[ha.PeerStatus]().NumField() + reflect.TypeFor[ha.Status]().NumField() + reflect.TypeFor[ha.GroupStatus]().NumField(); len(keys) != want {
		t.Errorf("%d keys, want %d: %q", len(keys), want, keys)
	}
	_, help, _ := said(t, "status", "--help")
	named := strings.FieldsFunc(help, func(r rune) bool { return !(r == '_' || r >= 'a' && r <= 'z') })
	for _, k := range keys {
		if !slices.Contains(named, k) {
			t.Errorf("the help of status does not name %q", k)
		}
	}
}
