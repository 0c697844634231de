package vm

import (
	"encoding/json"
	"testing"
	"time"
)

func TestHowFarAnInstallationIs(t *testing.T) {
	t.Parallel()
	at := func(s int64) time.Time { return time.Unix(s, 0) }
	start := []Fact{{Kind: KindStart, Run: "r", Time: at(1)}, {Kind: KindInstall, Run: "r", Time: at(1), Reason: "/cd.iso"}}
	reset := Fact{Kind: KindEvent, Event: "RESET", Run: "r", Time: at(5)}
	down := Fact{Kind: KindEvent, Event: "SHUTDOWN", Run: "r", Time: at(8), Data: json.RawMessage(`{"guest":true,"reason":"guest-shutdown"}`)}
	quit := Fact{Kind: KindEvent, Event: "SHUTDOWN", Run: "r", Time: at(8), Data: json.RawMessage(`{"guest":false,"reason":"host-qmp-quit"}`)}
	end := Fact{Kind: KindEnd, Run: "r", Time: at(9), State: StateStopped, Reason: "why"}
	crash := Fact{Kind: KindEnd, Run: "r", Time: at(9), State: StateCrashed, Reason: "why"}
	next := Fact{Kind: KindStart, Run: "s", Time: at(20)}
	for _, tt := range []struct {
		name  string
		facts []Fact
		runs  bool
		want  InstallStage
		since int64
	}{
		{"none", []Fact{next}, true, InstallNone, 0},
		{"it runs", nil, true, InstallRuns, 1},
		{"the guest was reset", []Fact{reset}, true, InstallBooted, 5},
		{"and ended later", []Fact{reset, down, end}, false, InstallBooted, 5},
		{"the guest shut down", []Fact{down, end}, false, InstallEnded, 9},
		{"it was told to by kvmctl stop", []Fact{{Kind: KindStop, Run: "r", Time: at(7)}, down, end}, false, InstallStopped, 9},
		{"quit on a monitor", []Fact{quit, end}, false, InstallStopped, 9},
		{"it crashed", []Fact{crash}, false, InstallStopped, 9},
		{"the host went down", nil, false, InstallStopped, 1},
		{"it ended, and another run began", []Fact{down, end, next}, true, InstallEnded, 9},
	} {
		facts := append(append([]Fact{}, start...), tt.facts...)
		if tt.want == InstallNone {
			facts = tt.facts
		}
		got := installation(facts, tt.runs)
		since := int64(0)
		if !got.Since.IsZero() {
			since = got.Since.Unix()
		}
		if got.Stage != tt.want || since != tt.since {
			t.Errorf("%s: %+v, want %s since %d", tt.name, got, tt.want, tt.since)
		}
	}
}
