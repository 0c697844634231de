package vm

import (
	"encoding/json"
	"fmt"
)

// StateWord is what a guest is at the moment.
type StateWord string

// The states of a guest, exhaustive.
const (
	StateStopped  StateWord = "stopped"
	StateStarting StateWord = "starting"
	StateRunning  StateWord = "running"
	StatePaused   StateWord = "paused"
	StateStopping StateWord = "stopping"
	StateWedged   StateWord = "wedged"  // its QEMU holds the lock and does not answer
	StateCrashed  StateWord = "crashed" // ended without a SHUTDOWN event
	StateSaved    StateWord = "saved"   // in a file: the next start goes on where it was
)

// shutdown is the data of QMP's SHUTDOWN event (qapi/run-state.json).
type shutdown struct {
	Guest  bool   `json:"guest"`
	Reason string `json:"reason"`
}

// hostWentDown is the reason of a run that a reboot or a power cut ended.
const hostWentDown = "the host went down while it ran"

// Ended decides from a run's facts how it ended: facts holds that run alone, in order, without a KindEnd.
// sameBoot says whether the host is still up since the run's start.
func Ended(facts []Fact, sameBoot bool) (StateWord, string) {
	var last *shutdown
	var asked, saved, fenced *Fact
	full, panicked := false, false
	for i, f := range facts {
		switch {
		case f.Kind == KindLogFull:
			full = true
		case f.Kind == KindStop:
			asked = &facts[i]
		case f.Kind == KindFence:
			fenced = &facts[i]
		case f.Kind == KindSave:
			saved = &facts[i]
		case f.Kind == KindEvent && f.Event == "RESUME":
			if saved != nil && f.Time.After(saved.Time) { // somebody let go on what was given up
				saved = nil
			}
		case f.Kind == KindEvent && f.Event == "GUEST_PANICKED":
			panicked = true
		case f.Kind == KindEvent && f.Event == "SHUTDOWN":
			var s shutdown
			if json.Unmarshal(f.Data, &s) == nil {
				last = &s
			}
		}
	}
	switch {
	case saved != nil:
		return StateSaved, "saved " + saved.Reason
	case last != nil:
		return StateStopped, shutdownReason(*last, asked, panicked)
	case fenced != nil:
		return StateStopped, "fenced " + fenced.Reason
	case !sameBoot:
		return StateStopped, hostWentDown
	case asked != nil && asked.Reason == RungKill.String():
		return StateStopped, "killed by kvmctl: it did not end otherwise"
	case full:
		return StateStopped, "reason unknown: log full"
	}
	return StateCrashed, "QEMU ended without a word: SIGKILL, out of memory, or a crash"
}

func shutdownReason(s shutdown, asked *Fact, panicked bool) string {
	byUs := ""
	if asked != nil {
		byUs = ", asked by kvmctl stop"
	}
	switch s.Reason {
	case "guest-shutdown":
		return "guest shut down" + byUs
	case "guest-reset":
		return "guest asked for a reset, which ended it" + byUs
	case "guest-panic":
		return "guest panicked"
	case "host-qmp-quit":
		if asked != nil {
			return "ended by kvmctl stop (quit)"
		}
		return "ended from a monitor (quit)"
	case "host-signal":
		if asked != nil {
			return "ended by kvmctl stop (SIGTERM)"
		}
		return "QEMU got a signal from the host"
	case "host-error":
		return "QEMU met an error on the host"
	}
	if panicked {
		return "guest panicked"
	}
	return fmt.Sprintf("QEMU shut down: %.40s%s", s.Reason, byUs)
}

// lastRun cuts the facts of the last run out of a history, and its end if that is noted already. A guest can flood its history until
// the start of its run is rotated away: then what the last event belongs to is the last run.
func lastRun(facts []Fact) (run []Fact, end *Fact) {
	name, found := "", false
	for _, f := range facts {
		if f.Kind == KindStart || f.Kind == KindEnd || f.Kind == KindEvent {
			name, found = f.Run, true
		}
	}
	if !found {
		return nil, nil
	}
	return factsOf(facts, name)
}

// factsOf gives what a history holds of one run, its end apart; nil: not noted.
func factsOf(facts []Fact, name string) (run []Fact, end *Fact) {
	for i, f := range facts {
		switch {
		case f.Run != name:
		case f.Kind == KindEnd:
			end = &facts[i]
		default:
			run = append(run, f)
		}
	}
	return run, end
}

// sameBoot reports whether a run began since the host is up. One whose start is not known any more is so old that it did not.
func sameBoot(run []Fact) bool {
	return len(run) > 0 && run[0].Kind == KindStart && run[0].Boot == bootID()
}
