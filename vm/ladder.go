package vm

import "time"

// deed is what the ladder of a stop wants done next.
type deed int

const (
	doLook   deed = iota // read the recorder: was there a SHUTDOWN?
	doWake               // let a guest run that stands still
	doAgent              // ping the guest's agent, and ask it to shut the guest down
	doPush               // press the power button
	doWatch              // wait for the end until act.until or a SHUTDOWN in the recorder; ^C ends it
	doQuit               // tell QEMU to quit
	doTerm               // SIGTERM
	doKill               // SIGKILL
	doWait               // wait for the end until act.until, whatever else happens
	doFinish             // it has ended by act.rung
	doGiveUp             // it outlived SIGKILL
	doLetBe              // its monitor was held all the time: nothing was done to it, and nothing is
)

// act is one step of the ladder.
type act struct {
	do    deed
	rung  Rung
	says  bool      // the rung begins here: everybody is told before it is done
	until time.Time // of doWatch and doWait
}

// sight is what is known of the guest when the next step is decided.
type sight struct {
	ended    bool // its QEMU has gone
	shutdown bool // its recorder has a SHUTDOWN of this run
	failed   bool // what was just tried was not done
	held     bool // because another kvmctl uses the monitor
}

// ladder decides the steps of a stop (ARCHITECTURE.md, "Stop is one ladder"). It is a value of the times and sights that it is told: no clock,
// no process.
type ladder struct {
	force    bool
	began    time.Time
	deadline time.Time // of the guest's time
	presses  []time.Time
	stage    stage
	pushed   int       // how often the button was pressed
	hangs    time.Time // when a guest that said SHUTDOWN counts as hanging; zero: it did not say so
	tried    time.Time // when the monitor is tried again
	held     bool      // it could not be had because another kvmctl used it
}

// stage is how far the ladder was climbed: what the last act was for.
type stage int

const (
	atStart    stage = iota
	atLook           // did it go down before we came?
	atWake           // its monitor was asked for
	atDoze           // waiting for the monitor
	atAgent          // the agent was asked
	atAsked          // waiting for the guest, asked by its agent
	atPush           // the button was pressed
	atPushed         // waiting for the guest, the button pressed
	atQuit           // QEMU was told to quit
	atQuitWait       // waiting for QEMU
	atTerm           // SIGTERM was sent
	atTermWait       // waiting for QEMU
	atKill           // SIGKILL was sent
	atKillWait       // waiting for the kernel
)

// newLadder begins a stop. By force, or without time for the guest, it begins at quit. Windows wants the button twice, and some guests do
// not listen yet: it is pressed at 0, 0.5 s and half time.
func newLadder(now time.Time, o StopOptions) *ladder {
	return &ladder{force: o.Force || o.Timeout <= 0, began: now, deadline: now.Add(o.Timeout),
		presses: []time.Time{now, now.Add(min(secondPush, o.Timeout)), now.Add(o.Timeout / 2)}}
}

// next decides what to do at now, the last act being over.
func (l *ladder) next(now time.Time, s sight) act {
	if s.ended {
		return act{do: doFinish, rung: l.rung()}
	}
	if l.stage < atQuit && s.shutdown { // it obeys: asking again would tell it nothing, and a process that stays hangs
		return l.obeys(now)
	}
	switch l.stage {
	case atStart:
		if l.force {
			return l.to(atQuit, act{do: doQuit, says: true})
		}
		return l.to(atLook, act{do: doLook})
	case atLook:
		return l.to(atWake, act{do: doWake})
	case atWake:
		if !s.failed {
			return l.to(atAgent, act{do: doAgent})
		}
		// A monitor that is in use or silent for a moment is no reason to cut the power: it is asked again for all of the guest's time.
		l.held, l.tried = s.held, now.Add(wakeEvery)
		l.stage = atDoze
		return l.doze(now)
	case atDoze:
		return l.doze(now)
	case atAgent:
		if s.failed {
			return l.press()
		}
		return l.to(atAsked, act{do: doWatch, says: true, until: l.deadline})
	case atAsked:
		return l.await(now, l.deadline)
	case atPush, atPushed:
		l.stage = atPushed
		if l.pushed == len(l.presses) {
			return l.await(now, l.deadline)
		}
		if again := l.presses[l.pushed]; now.Before(again) {
			return l.await(now, again)
		}
		return l.press()
	}
	return l.hard(now, s)
}

// hard are the rungs that end QEMU whatever the guest does.
func (l *ladder) hard(now time.Time, s sight) act {
	wait := act{do: doWait, until: now.Add(rungTime)}
	switch l.stage {
	case atQuit:
		if s.failed { // its monitor is silent: waiting would tell nothing
			return l.to(atTerm, act{do: doTerm, says: true})
		}
		return l.to(atQuitWait, wait)
	case atQuitWait:
		return l.to(atTerm, act{do: doTerm, says: true})
	case atTerm:
		return l.to(atTermWait, wait)
	case atTermWait:
		return l.to(atKill, act{do: doKill, says: true})
	case atKill:
		return l.to(atKillWait, wait)
	}
	return act{do: doGiveUp, rung: RungKill}
}

// obeys gives a guest that has shut down 2 s to end its process: the rest of its time would be waited in vain.
func (l *ladder) obeys(now time.Time) act {
	if l.hangs.IsZero() {
		l.hangs = now.Add(hangTime)
	}
	return l.await(now, l.hangs)
}

// doze waits for a monitor that was not to be had. At the end of the guest's time one that another kvmctl holds keeps us from asking, so the
// guest is let be; one that is silent leaves the hard rungs.
func (l *ladder) doze(now time.Time) act {
	switch {
	case now.Before(l.tried) && now.Before(l.deadline):
		return l.await(now, earlier(l.tried, l.deadline))
	case now.Before(l.deadline):
		return l.to(atWake, act{do: doWake})
	case l.held:
		return act{do: doLetBe}
	}
	return l.to(atQuit, act{do: doQuit, says: true})
}

// press presses the power button.
func (l *ladder) press() act {
	l.pushed++
	return l.to(atPush, act{do: doPush, says: l.pushed == 1})
}

// await watches until a time, and goes on with the hard rungs from then on.
func (l *ladder) await(now, until time.Time) act {
	if now.Before(until) {
		return act{do: doWatch, rung: l.rung(), until: until}
	}
	return l.to(atQuit, act{do: doQuit, says: true})
}

func (l *ladder) to(next stage, a act) act {
	l.stage = next
	a.rung = l.rung()
	return a
}

// rung is what has ended a guest that has gone at this stage.
func (l *ladder) rung() Rung {
	switch l.stage {
	case atAsked:
		return RungAgent
	case atPush, atPushed:
		return RungACPI
	case atQuit, atQuitWait:
		return RungQuit
	case atTerm, atTermWait:
		return RungTerm
	case atKill, atKillWait:
		return RungKill
	}
	return RungSelf
}

func earlier(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}
