package drbd

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

// only knows minor 0, of r0.
func only(minor int) (string, int, bool) { return "r0", 0, minor == 0 }

// TestReadLog has what the recordings do not: other forms of the log, and causes that follow each other.
func TestReadLog(t *testing.T) {
	const (
		gone  = "drbd r0: conn( Disconnecting -> StandAlone ) \n"
		again = "drbd r0: conn( StandAlone -> Unconnected ) \n"
		split = "block drbd0: Split-Brain detected but unresolved, dropping connection!\n"
	)
	tests := []struct {
		name, log string
		want      map[string]Apart
	}{
		{"nothing", "", map[string]Apart{}},
		{"a try under way", "drbd r0: Authentication of peer failed\n" + gone + again, map[string]Apart{}},
		{"the last cause holds", "drbd r0: Authentication of peer failed\n" + gone + again + "drbd r0: conn( Connected -> Disconnecting ) \n" + gone,
			map[string]Apart{"r0": {Cause: ByAdmin}}},
		{"records of /dev/kmsg", "6,339,5140900,-;drbd r0: Authentication of peer failed\n6,340,5140901,-;" + gone, map[string]Apart{"r0": {Cause: WrongSecret, Said: "Authentication of peer failed"}}},
		{"dmesg", "[   21.330414] drbd r0: Authentication of peer failed\n[   21.330415] " + gone, map[string]Apart{"r0": {Cause: WrongSecret, Said: "Authentication of peer failed"}}},
		{"DRBD 9", "drbd r0/0 drbd0 vm-varda: Split-Brain detected but unresolved, dropping connection!\ndrbd r0 vm-varda: conn( Disconnecting -> StandAlone )\n",
			map[string]Apart{"r0": {Cause: SplitBrain, Said: "Split-Brain detected but unresolved, dropping connection!"}}},
		{"a minor of nobody", "block drbd7: Split-Brain detected but unresolved\n" + gone, map[string]Apart{"r0": {}}},
		{"one side changed nothing", "block drbd0: self AB:CD:EF:00 bits:0 flags:0\nblock drbd0: peer AB:CD:EF:00 bits:3 flags:0\n" + split + gone,
			map[string]Apart{"r0": {Cause: SplitBrain, Said: "Split-Brain detected but unresolved, dropping connection!", Met: 1, There: 12}}},
		{"together since", "block drbd0: self AB:CD:EF:00 bits:0 flags:0\nblock drbd0: peer AB:CD:EF:00 bits:3 flags:0\n" + split + gone + again +
			"block drbd0: peer( Unknown -> Secondary ) conn( WFReportParams -> Connected ) \ndrbd r0: conn( Connected -> Disconnecting ) \n" + gone, map[string]Apart{"r0": {Cause: ByAdmin}}},
		{"two volumes of DRBD 9", "drbd r0/0 drbd0 x: self AB:CD bits:1 flags:0\ndrbd r0/0 drbd0 x: peer AB:CD bits:2 flags:0\n" +
			"drbd r0/1 drbd1 x: self AB:CD bits:4 flags:0\ndrbd r0/1 drbd1 x: peer AB:CD bits:8 flags:0\ndrbd r0 x: conn( Connected -> StandAlone )\n",
			map[string]Apart{"r0": {Met: 2, Here: 20, There: 40}}},
		{"half a comparison", "block drbd0: peer AB:CD:EF:00 bits:3 flags:0\n" + split + gone,
			map[string]Apart{"r0": {Cause: SplitBrain, Said: "Split-Brain detected but unresolved, dropping connection!"}}},
		{"the other half", "block drbd0: self AB:CD:EF:00 bits:3 flags:0\n" + split + gone,
			map[string]Apart{"r0": {Cause: SplitBrain, Said: "Split-Brain detected but unresolved, dropping connection!"}}},
		{"the first complaint is the cause", split + "drbd r0: incompatible verify-alg settings\n" + gone,
			map[string]Apart{"r0": {Cause: SplitBrain, Said: "Split-Brain detected but unresolved, dropping connection!"}}},
		{"unrelated", "block drbd0: Unrelated data, aborting!\n" + gone, map[string]Apart{"r0": {Cause: Unrelated, Said: "Unrelated data, aborting!"}}},
		{"a frozen primary that thawed", "block drbd0: self AB:CD:EF:00 bits:0 flags:0\nblock drbd0: peer AB:CD:EF:00 bits:9 flags:0\nblock drbd0: I shall become SyncTarget, but I am primary!\n" + gone,
			map[string]Apart{"r0": {Cause: TwoPrimaries, Said: "I shall become SyncTarget, but I am primary!", Met: 1, There: 36}}},
		{"its peer", "block drbd0: State change failed: Multiple primaries not allowed by config\n" + gone,
			map[string]Apart{"r0": {Cause: TwoPrimaries, Said: "State change failed: Multiple primaries not allowed by config"}}},
		{"settings", "drbd r0: incompatible after-sb-0pri settings\n" + gone, map[string]Apart{"r0": {Cause: OtherSettings, Said: "incompatible after-sb-0pri settings"}}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if diff := cmp.Diff(tt.want, ReadLog([]byte(tt.log), only)); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func FuzzReadLog(f *testing.F) {
	seeds(f, "log")
	f.Add([]byte("drbd r0/0 drbd0 x: self AB:CD bits:1 flags:0\ndrbd r0/1 drbd1 x: peer AB:CD bits:1 flags:0\ndrbd r0 x: conn( Connected -> StandAlone )\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		for name, a := range ReadLog(data, only) {
			if name == "" || a.Met == 0 && a.Here+a.There > 0 {
				t.Fatalf("%q: %+v", name, a)
			}
		}
	})
}
