package drbd

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// The three samples of /proc/drbd in the notes that this program's predecessor was run by: DRBD 8.2.4, as people copied them.
const (
	seedSync = `cs:SyncSource st:Primary/Secondary ds:UpToDate/Inconsistent C r---
ns:3570248 nr:0 dw:0 dr:3570944 al:0 bm:217 lo:0 pe:6 ua:22 ap:0
[=====>..] sync'ed: 91.6% (333524/3903604)K
finish: 0:00:30 speed: 10,952 (10,256) K/sec
resync: used:1/31 hits:222939 misses:218 starving:0 dirty:0 changed:218
act_log: used:0/127 hits:0 misses:0 starving:0 dirty:0 changed:0
`
	seedPrimary = `version: 8.2.4 (api:88/proto:86-88)
GIT-hash: fc00c6e00a1b6039bfcebe37afa3e7e28dbd92fa build by root@vm-vara,
2008-02-06 15:07:24
0: cs:StandAlone st:Primary/Unknown ds:UpToDate/DUnknown  r---
   ns:0 nr:0 dw:4 dr:21 al:1 bm:0 lo:0 pe:0 ua:0 ap:0
   resync: used:0/31 hits:0 misses:0 starving:0 dirty:0 changed:0
`
	seedSecondary = `version: 8.2.4 (api:88/proto:86-88)
0: cs:StandAlone st:Secondary/Unknown ds:UpToDate/DUnknown r---
   ns:0 nr:0 dw:8 dr:21 al:0 bm:35 lo:0 pe:0 ua:0 ap:0
`
)

func TestParseProc(t *testing.T) {
	alone := ProcMinor{Configured: true, Connection: StandAlone, Replication: Off, Role: Primary, PeerRole: UnknownRole, Disk: UpToDate, PeerDisk: DUnknown}
	second := alone
	second.Role = Secondary
	tests := []struct {
		name, text string
		want       Proc
	}{
		{"seed, resync", seedSync, Proc{Minors: []ProcMinor{{Configured: true, Connection: Connected, Replication: SyncSource, Role: Primary, PeerRole: Secondary,
			Disk: UpToDate, PeerDisk: Inconsistent, Done: 91.6, Left: 30 * time.Second}}}},
		{"seed, split brain, primary", seedPrimary, Proc{Version: "8.2.4", Minors: []ProcMinor{alone}}},
		{"seed, split brain, secondary", seedSecondary, Proc{Version: "8.2.4", Minors: []ProcMinor{second}}},
		{"8.3, unconfigured and frozen", "version: 8.3.11 (api:88/proto:86-96)\n 1: cs:Unconfigured\n12: cs:WFConnection ro:Primary/Unknown ds:UpToDate/DUnknown C s-p---\n" +
			"    ns:0 nr:0 dw:4 dr:21 al:1 bm:0 lo:0 pe:0 ua:0 ap:1 ep:1 wo:b oos:12\n", Proc{Version: "8.3.11", Minors: []ProcMinor{{Minor: 1},
			{Minor: 12, Configured: true, Connection: Connecting, Replication: Off, Role: Primary, PeerRole: UnknownRole, Disk: UpToDate, PeerDisk: DUnknown,
				Suspended: true, Paused: true, OutOfSync: 12}}}},
		{"9: only the version", "version: 9.1.7 (api:2/proto:110-121)\nGIT-hash: 0 build by a@b\nTransports (api:18): tcp (9.1.7)\n", Proc{Version: "9.1.7"}},
		{"a word that came later", " 0: cs:Dancing ro:Primary/Tertiary ds:Shiny/UpToDate C r-----\n",
			Proc{Minors: []ProcMinor{{Configured: true, Role: Primary, PeerDisk: UpToDate}}}},
		{"nothing", "", Proc{}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := ParseProc([]byte(tt.text))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// TestRefused has what no DRBD writes: an error, and nothing that could be taken for a state.
func TestRefused(t *testing.T) {
	proc := func(b []byte) error { p, err := ParseProc(b); return whole(len(p.Minors), err) }
	status := func(b []byte) error { s, err := ParseStatus(b); return whole(len(s.Resources), err) }
	inJSON := func(b []byte) error { s, err := ParseStatusJSON(b); return whole(len(s.Resources), err) }
	events := func(b []byte) error { s, err := ParseEvents(b); return whole(len(s.Resources), err) }
	tests := []struct {
		name  string
		parse func([]byte) error
		text  string
		want  string
	}{
		{"proc half a line", proc, " 0: cs:Connected ro:Primary/Secondary ds:UpTo", `/proc/drbd line 1: "0: cs:Connected ro:Primary/Secondary ds:UpTo" is no device's state`},
		{"proc more than all", proc, " 0: cs:Unconfigured\n\t[>....] sync'ed: 101% (1/1)K\n", `/proc/drbd line 2: "101" is no percentage`},
		{"proc too long", proc, strings.Repeat("x", MaxInput+1), "/proc/drbd: longer than any answer of DRBD's"},
		{"status out of nothing", status, "  volume:0 disk:UpToDate\n", "status line 1: it is about no resource"},
		{"status twice", status, "r0 role:Primary\nr0 role:Primary\n", `status line 2: "r0" is no new resource`},
		{"status an error", status, "r0 role:Primary\nCommand failed badly\n", `status line 2: "failed" is no key:value`},
		{"status odd minor", status, "r0 role:Primary\n  volume:0 minor:-1 disk:UpToDate\n", `status line 2: minor: "-1" is no number`},
		{"json not even", inJSON, "r0 role:Primary", "status: invalid character 'r' looking for beginning of value"},
		{"json without a name", inJSON, `[{"role":"Primary"}]`, `status: "" is no new resource`},
		{"events cut off", events, "exists resource name:r0 role:Primary suspended:no\n", "events: the answer ends before its end"},
		{"events nobody", events, "change resource name:r0 role:Primary\nexists -\n", "event change resource r0: an event about something that was never told of"},
		{"events no peer", events, "exists resource name:r0\nexists peer-device name:r0 peer-node-id:0 volume:0\nexists -\n",
			"event exists peer-device r0: an event about something that was never told of"},
		{"events words", events, "Failed to modprobe drbd\n", `event "Failed to modprobe drbd": it is none of events2`},
		{"events no name", events, "exists resource role:Primary\n", `event "exists resource role:Primary": no name`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			err := tt.parse([]byte(tt.text))
			if err == nil || err.Error() != tt.want {
				t.Errorf("error %v, want %s", err, tt.want)
			}
		})
	}
}

// whole is the error of a parser, which may not come with half a value.
func whole(parts int, err error) error {
	if err != nil && parts > 0 {
		return errors.New("an error and a value")
	}
	return err
}

// TestBlankLines has lines of nothing but odd white space, which a fuzzer found.
func TestBlankLines(t *testing.T) {
	s, err := ParseStatus([]byte("# No currently configured DRBD found.\n \f\n\v\r\n"))
	if err != nil || len(s.Resources) > 0 {
		t.Errorf("%+v, %v", s, err)
	}
}
