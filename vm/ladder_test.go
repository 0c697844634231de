package vm

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// never is a time that no stop reaches.
const never = time.Hour

// obedience is a guest and its QEMU as a stop meets them: when what was tried works, and what follows from it. Times count from the stop's
// beginning; those that follow an act, from the act. Zero values: a monitor that always answers, no agent, and nobody obeys.
type obedience struct {
	monitor  time.Duration // it answers from then on
	held     bool          // until then another kvmctl uses it; else it is silent
	agent    bool          // the agent answers its ping in time
	obeys    time.Duration // how long after the agent's word, or the press that it listens to, the guest says SHUTDOWN
	press    int           // the press that it listens to, from 1
	hangs    bool          // its process stays behind a SHUTDOWN
	shutdown bool          // it said SHUTDOWN before we came
	self     time.Duration // it ends by itself then
	quit     bool          // QEMU obeys quit
	term     bool          // QEMU obeys SIGTERM
	kill     bool          // QEMU obeys SIGKILL
}

// climbed plays a ladder without a clock and gives a line for each act, watching left out.
func climbed(o StopOptions, g obedience) string {
	epoch := time.Unix(0, 0)
	now := epoch
	ends, says := epoch.Add(never), epoch.Add(never)
	if g.self > 0 {
		ends = epoch.Add(g.self)
	}
	if g.shutdown {
		says = epoch
	}
	obeys := func() {
		if g.obeys > 0 {
			says = now.Add(g.obeys)
			if !g.hangs {
				ends = says
			}
		}
	}
	answers := func() bool { return !now.Before(epoch.Add(g.monitor)) }
	l := newLadder(now, o)
	var seen sight
	var lines []string
	pressed := 0
	for range 10_000 {
		a := l.next(now, seen)
		line := ""
		if seen.failed = false; a.do == doWatch && a.says {
			lines = append(lines, fmt.Sprintf("%v told: %s", now.Sub(epoch), a.rung))
		}
		switch a.do {
		case doFinish:
			return strings.Join(append(lines, fmt.Sprintf("%v ended: %s", now.Sub(epoch), a.rung)), "; ")
		case doGiveUp:
			return strings.Join(append(lines, fmt.Sprintf("%v stuck", now.Sub(epoch))), "; ")
		case doLetBe:
			return strings.Join(append(lines, fmt.Sprintf("%v let be", now.Sub(epoch))), "; ")
		case doLook:
		case doWake:
			line = "wake"
			seen.failed, seen.held = !answers(), g.held
		case doAgent:
			line = "agent"
			if seen.failed = !g.agent; g.agent {
				obeys()
			}
		case doPush:
			line = "push"
			if pressed++; pressed == g.press {
				obeys()
			}
		case doWatch:
			now = now.Add(min(watchEvery, a.until.Sub(now)))
		case doWait:
			if ends.Before(a.until) {
				now = ends
			} else {
				now = a.until
			}
		case doQuit:
			line = "quit"
			if seen.failed = !answers(); g.quit {
				ends = now
			}
		case doTerm:
			if line = "sigterm"; g.term {
				ends = now
			}
		case doKill:
			if line = "sigkill"; g.kill {
				ends = now
			}
		}
		if line != "" {
			if a.says {
				line += "!" // everybody was told
			}
			lines = append(lines, fmt.Sprintf("%v %s", now.Sub(epoch), line))
		}
		seen.ended, seen.shutdown = !now.Before(ends), !now.Before(says)
	}
	return "it never ends: " + strings.Join(lines, "; ")
}

// The rows of ARCHITECTURE.md, "Stop is one ladder". An act with "!" begins a rung.
func TestTheLadderOfAStop(t *testing.T) {
	thirty := StopOptions{Timeout: 30 * time.Second}
	for _, tt := range []struct {
		name  string
		o     StopOptions
		guest obedience
		want  string
	}{
		{"the agent, if it answers", thirty, obedience{agent: true, obeys: 2 * time.Second},
			"0s wake; 0s agent; 0s told: agent; 2s ended: agent"},
		{"an agent that takes the word and does not act: the hard rungs after the guest's time", thirty, obedience{agent: true, quit: true},
			"0s wake; 0s agent; 0s told: agent; 30s quit!; 30s ended: quit"},
		{"else the button, at once", thirty, obedience{press: 1, obeys: 2 * time.Second},
			"0s wake; 0s agent; 0s push!; 500ms push; 2s ended: acpi"},
		{"the button again after 0.5 s, for Windows", thirty, obedience{press: 2, obeys: time.Second},
			"0s wake; 0s agent; 0s push!; 500ms push; 1.5s ended: acpi"},
		{"and at half time, for one that was not listening yet", thirty, obedience{press: 3, obeys: time.Second},
			"0s wake; 0s agent; 0s push!; 500ms push; 15s push; 16s ended: acpi"},
		{"a short time is divided all the same", StopOptions{Timeout: 400 * time.Millisecond}, obedience{press: 3, obeys: 100 * time.Millisecond},
			"0s wake; 0s agent; 0s push!; 400ms push; 400ms push; 400ms quit!; 500ms ended: quit"},
		{"nobody obeys: quit, SIGTERM, SIGKILL, 2 s each", thirty, obedience{kill: true},
			"0s wake; 0s agent; 0s push!; 500ms push; 15s push; 30s quit!; 32s sigterm!; 34s sigkill!; 34s ended: sigkill"},
		{"one that obeys SIGTERM", thirty, obedience{term: true},
			"0s wake; 0s agent; 0s push!; 500ms push; 15s push; 30s quit!; 32s sigterm!; 32s ended: sigterm"},
		{"it outlives SIGKILL", thirty, obedience{},
			"0s wake; 0s agent; 0s push!; 500ms push; 15s push; 30s quit!; 32s sigterm!; 34s sigkill!; 36s stuck"},
		{"force begins at quit", StopOptions{Timeout: 30 * time.Second, Force: true}, obedience{quit: true}, "0s quit!; 0s ended: quit"},
		{"no time for the guest is as much as force", StopOptions{}, obedience{quit: true}, "0s quit!; 0s ended: quit"},
		{"a silent monitor is not waited for at quit", StopOptions{Force: true}, obedience{monitor: never, term: true},
			"0s quit!; 0s sigterm!; 0s ended: sigterm"},
		{"it shut down before we came", thirty, obedience{shutdown: true, self: time.Second}, "1s ended: by itself"},
		{"and hangs: the kill rungs, 2 s later", thirty, obedience{shutdown: true, quit: true}, "2s quit!; 2s ended: quit"},
		{"it shut down as asked and hangs: the kill rungs, 2 s later", thirty, obedience{press: 1, obeys: 3 * time.Second, hangs: true, quit: true},
			"0s wake; 0s agent; 0s push!; 500ms push; 5s quit!; 5s ended: quit"},
		{"one that shuts down in its last moment keeps its 2 s", thirty, obedience{agent: true, obeys: 29 * time.Second, hangs: true, quit: true},
			"0s wake; 0s agent; 0s told: agent; 31s quit!; 31s ended: quit"},
		{"a monitor that is in use is asked again", StopOptions{Timeout: 3 * time.Second}, obedience{monitor: 700 * time.Millisecond, held: true, press: 1, obeys: 300 * time.Millisecond},
			"0s wake; 500ms wake; 1s wake; 1s agent; 1s push!; 1s push; 1.3s ended: acpi"},
		{"a monitor in use all the time: the guest is let be", StopOptions{Timeout: time.Second}, obedience{monitor: never, held: true},
			"0s wake; 500ms wake; 1s let be"},
		{"a monitor silent all the time: the hard rungs", StopOptions{Timeout: time.Second}, obedience{monitor: never, term: true},
			"0s wake; 500ms wake; 1s quit!; 1s sigterm!; 1s ended: sigterm"},
		{"it ends while its monitor is waited for", StopOptions{Timeout: 3 * time.Second}, obedience{monitor: never, self: 600 * time.Millisecond},
			"0s wake; 500ms wake; 600ms ended: by itself"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if d := cmp.Diff(strings.Split(tt.want, "; "), strings.Split(climbed(tt.o, tt.guest), "; ")); d != "" {
				t.Error(d)
			}
		})
	}
}
