package vm

import (
	"encoding/json"
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func start(run string) Fact { return Fact{Kind: KindStart, Run: run, Boot: bootID()} }

func event(run, name, data string) Fact {
	f := Fact{Kind: KindEvent, Run: run, Event: name}
	if data != "" {
		f.Data = json.RawMessage(data)
	}
	return f
}

func down(reason string) Fact {
	return event("r", "SHUTDOWN", fmt.Sprintf(`{"guest":true,"reason":%q}`, reason))
}

func asked(rung Rung) Fact { return Fact{Kind: KindStop, Run: "r", Reason: rung.String()} }

func TestHowARunEnded(t *testing.T) {
	full, panicked := Fact{Kind: KindLogFull, Run: "r"}, event("r", "GUEST_PANICKED", `{"action":"poweroff"}`)
	for _, tt := range []struct {
		name     string
		facts    []Fact
		rebooted bool
		state    StateWord
		reason   string
	}{
		{"nothing said", nil, false, StateCrashed, "QEMU ended without a word: SIGKILL, out of memory, or a crash"},
		{"a reset is no end", []Fact{event("r", "RESET", `{"guest":true,"reason":"guest-reset"}`)}, false, StateCrashed, "QEMU ended without a word: SIGKILL, out of memory, or a crash"},
		{"guest shut down", []Fact{down("guest-shutdown")}, false, StateStopped, "guest shut down"},
		{"guest shut down because asked", []Fact{asked(RungACPI), down("guest-shutdown")}, false, StateStopped, "guest shut down, asked by kvmctl stop"},
		{"guest asked for a reset", []Fact{down("guest-reset")}, false, StateStopped, "guest asked for a reset, which ended it"},
		{"guest panicked", []Fact{panicked, down("guest-panic")}, false, StateStopped, "guest panicked"},
		{"guest panicked, other reason", []Fact{panicked, down("subsystem-reset")}, false, StateStopped, "guest panicked"},
		{"quit by us", []Fact{asked(RungQuit), down("host-qmp-quit")}, false, StateStopped, "ended by kvmctl stop (quit)"},
		{"quit by somebody", []Fact{down("host-qmp-quit")}, false, StateStopped, "ended from a monitor (quit)"},
		{"SIGTERM by us", []Fact{asked(RungTerm), down("host-signal")}, false, StateStopped, "ended by kvmctl stop (SIGTERM)"},
		{"SIGTERM by somebody", []Fact{down("host-signal")}, false, StateStopped, "QEMU got a signal from the host"},
		{"host error", []Fact{down("host-error")}, false, StateStopped, "QEMU met an error on the host"},
		{"a reason we do not know", []Fact{asked(RungACPI), down("snapshot-load")}, false, StateStopped, "QEMU shut down: snapshot-load, asked by kvmctl stop"},
		{"killed by us", []Fact{asked(RungQuit), asked(RungTerm), asked(RungKill)}, false, StateStopped, "killed by kvmctl: it did not end otherwise"},
		{"asked in vain, then it crashed", []Fact{asked(RungACPI)}, false, StateCrashed, "QEMU ended without a word: SIGKILL, out of memory, or a crash"},
		{"the log was full", []Fact{full}, false, StateStopped, "reason unknown: log full"},
		{"the log was full, SHUTDOWN is there", []Fact{full, down("guest-shutdown")}, false, StateStopped, "guest shut down"},
		{"the log was full, then we killed it", []Fact{full, asked(RungKill)}, false, StateStopped, "killed by kvmctl: it did not end otherwise"},
		{"the last SHUTDOWN counts", []Fact{down("guest-reset"), down("guest-shutdown")}, false, StateStopped, "guest shut down"},
		{"SHUTDOWN without sense", []Fact{event("r", "SHUTDOWN", `7`)}, false, StateCrashed, "QEMU ended without a word: SIGKILL, out of memory, or a crash"},
		{"fenced", []Fact{{Kind: KindFence, Run: "r", PID: 7, Reason: "for varda2"}}, false, StateStopped, "fenced for varda2"},
		{"fenced, then the host went down", []Fact{{Kind: KindFence, Run: "r", PID: 7, Reason: "for varda2"}}, true, StateStopped, "fenced for varda2"},
		{"it had shut down when it was fenced", []Fact{down("guest-shutdown"), {Kind: KindFence, Run: "r", PID: 7, Reason: "for varda2"}}, false, StateStopped, "guest shut down"},
		{"the host went down", nil, true, StateStopped, "the host went down while it ran"},
		{"the host went down with a full log", []Fact{full}, true, StateStopped, "the host went down while it ran"},
		{"shut down, then the host", []Fact{down("guest-shutdown")}, true, StateStopped, "guest shut down"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			state, reason := Ended(append([]Fact{start("r")}, tt.facts...), !tt.rebooted)
			if state != tt.state || reason != tt.reason {
				t.Errorf("%s %q, want %s %q", state, reason, tt.state, tt.reason)
			}
		})
	}
}

func TestTheLastRunIsCutOutOfAHistory(t *testing.T) {
	end := func(run string) Fact { return Fact{Kind: KindEnd, Run: run} }
	hook := Fact{Kind: KindHook}
	for _, tt := range []struct {
		name  string
		facts []Fact
		run   []Fact
		end   bool
	}{
		{"never started", nil, nil, false},
		{"only hooks", []Fact{hook}, nil, false},
		{"running", []Fact{start("a"), event("a", "RESUME", "")}, []Fact{start("a"), event("a", "RESUME", "")}, false},
		{"ended", []Fact{start("a"), event("a", "RESUME", ""), end("a"), hook}, []Fact{start("a"), event("a", "RESUME", "")}, true},
		{"one before it", []Fact{start("a"), end("a"), start("b")}, []Fact{start("b")}, false},
		{"an event of the one before comes late", []Fact{start("a"), end("a"), event("a", "STOP", ""), start("b"), end("b")}, []Fact{start("b")}, true},
		{"its start was rotated away", []Fact{event("a", "STOP", ""), event("a", "SHUTDOWN", "")}, []Fact{event("a", "STOP", ""), event("a", "SHUTDOWN", "")}, false},
		{"only its end is left", []Fact{end("a"), hook}, nil, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			run, end := lastRun(tt.facts)
			if d := cmp.Diff(tt.run, run); d != "" || (end != nil) != tt.end {
				t.Errorf("end %v, want %v; %s", end, tt.end, d)
			}
		})
	}
}

func TestARunWhoseStartIsForgottenIsOlderThanTheBoot(t *testing.T) {
	if !sameBoot([]Fact{start("a")}) {
		t.Error("a start of this boot is not one")
	}
	if sameBoot([]Fact{{Kind: KindStart, Run: "a", Boot: "other"}}) || sameBoot([]Fact{event("a", "STOP", "")}) || sameBoot(nil) {
		t.Error("a start of another boot, or none, is taken for one of this")
	}
}

func TestRunStatesOfQEMUInOurWords(t *testing.T) {
	for q, want := range map[string]StateWord{"running": StateRunning, "paused": StatePaused, "io-error": StatePaused,
		"internal-error": StatePaused, "guest-panicked": StatePaused, "prelaunch": StateStarting, "inmigrate": StateStarting,
		"shutdown": StateStopping, "suspended": StatePaused, "": StatePaused} {
		if got, _ := runState("vm-a", q); got != want {
			t.Errorf("%q is %s, want %s", q, got, want)
		}
	}
}

func TestTheTimeOfAnEndIsTheLastSHUTDOWN(t *testing.T) {
	one, two := down("guest-reset"), down("guest-shutdown")
	one.Time, two.Time = time.Unix(1, 0), time.Unix(2, 0)
	if got := endTime([]Fact{start("r"), one, two, event("r", "STOP", "")}); !got.Equal(two.Time) {
		t.Errorf("%v", got)
	}
	if got := endTime([]Fact{start("r")}); !got.IsZero() {
		t.Errorf("%v", got)
	}
}
