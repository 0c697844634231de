package failover

import (
	"fmt"
	"strings"
)

// word gives the name of a value of an enumeration.
func word[T ~int](names []string, v T) string {
	if int(v) < 0 || int(v) >= len(names) {
		return fmt.Sprintf("unknown (%d)", int(v))
	}
	return names[v]
}

var (
	roleNames   = []string{"starting", "waiting", "standby", "promoting", "active", "demoting", "stuck"}
	reasonNames = []string{
		"none", "stopping", "maintenance", "misconfigured", "interface", "carrier", "isolated", "checks", "address", "cooling down", "standalone", "disk",
		"right",
	}
	eventNames = []string{
		"fit", "blocked", "elected", "promoted", "promote failed", "deposed", "check failed", "address", "frozen", "switch", "wanted", "unreachable", "leftovers", "released",
		"stuck", "freed", "disk", "refused",
	}
	kindNames = []string{
		"none", "start", "stop", "kill", "restart", "checks", "probe", "let-go", "hold", "drop", "ready", "announce", "hook active", "hook standby",
		"hook waiting", "up", "right", "primary", "secondary", "mount", "unmount",
	}
	subjectNames = []string{
		"takeover", "hand-over", "nobody-active", "check", "unit", "promote", "stuck", "address", "misconfigured", "flapping", "sync", "disk", "standalone", "frozen", "verify",
	}
	alertNames    = []string{"notice", "first", "reminder", "end"}
	outcomeNames  = []string{"done", "failed", "timed out"}
	stateNames    = []string{"unknown", "green", "red"}
	diskNames     = []string{"unknown", "up to date", "waits", "failed"}
	apartNames    = []string{"together", "unclear", "secret", "admin", "split brain", "two primaries", "settings"}
	rightNames    = []string{"unknown", "yes", "ask", "no", "lost"}
	electionNames = []string{"silence", "bow-out", "preempt", "hand-over", "declined", "lot", "unfit", "peer-quiet"}
)

// The names are those of status, logs and mails.

func (r Role) String() string      { return word(roleNames, r) }
func (r Reason) String() string    { return word(reasonNames, r) }
func (e Event) String() string     { return word(eventNames, e) }
func (k Kind) String() string      { return word(kindNames, k) }
func (s Subject) String() string   { return word(subjectNames, s) }
func (k AlertKind) String() string { return word(alertNames, k) }
func (o Outcome) String() string   { return word(outcomeNames, o) }
func (s State) String() string     { return word(stateNames, s) }
func (e Election) String() string  { return word(electionNames, e) }
func (s DiskState) String() string { return word(diskNames, s) }
func (a Apart) String() string     { return word(apartNames, a) }
func (s RightState) String() string {
	return word(rightNames, s)
}

func onOff(on bool) string {
	if on {
		return "on"
	}
	return "off"
}

func because(what, why string) string {
	if why == "" {
		return what
	}
	return what + ": " + why
}

func (Turn) String() string         { return "turn" }
func (i Elected) String() string    { return "elected by " + i.By.String() }
func (i Deposed) String() string    { return because("deposed by "+i.By, i.Cause) }
func (i PeerActive) String() string { return "peer " + i.By + " active" }
func (i Peer) String() string {
	if i.Worse {
		return because("peer worse", i.Why)
	}
	return "peer fit"
}
func (i Wanted) String() string { return i.By + " goes first, and is ready" }

func (i Misconfigured) String() string { return because("misconfigured", i.Why) }
func (i Carrier) String() string       { return "carrier " + onOff(i.Up) }
func (i Interface) String() string     { return "interface " + onOff(i.Present) }
func (i Isolated) String() string      { return because("isolated "+onOff(i.On), i.Why) }
func (i Checked) String() string       { return because("check "+i.Name+" "+i.State.String(), i.Why) }
func (i UnitRuns) String() string      { return "unit " + i.Name + " runs" }
func (i UnitDied) String() string      { return because("unit "+i.Name+" died", i.Why) }
func (i Result) String() string {
	return because(fmt.Sprintf("#%d %s", i.ID, i.Outcome), i.Why)
}
func (i Maintenance) String() string  { return "maintenance " + onOff(i.On) }
func (i Switch) String() string       { return fmt.Sprintf("switch %d force %s", i.ID, onOff(i.Force)) }
func (i Restart) String() string      { return fmt.Sprintf("restart %d", i.ID) }
func (i Stop) String() string         { return because("stop", i.Why) }
func (i Freeze) String() string       { return "frozen for " + i.Gap.String() }
func (i AddressLost) String() string  { return "address " + i.Addr.String() + " lost" }
func (i AddressFound) String() string { return because("address "+i.Addr.String()+" found", i.File) }
func (i AddressTaken) String() string { return "address " + i.Addr.String() + " taken by " + i.By }

// String gives a step's act and object.
func (s Step) String() string {
	if s.Name == "" {
		return fmt.Sprintf("#%d %s", s.ID, s.Kind)
	}
	return fmt.Sprintf("#%d %s %s", s.ID, s.Kind, s.Name)
}

func (e Run) String() string       { return "run " + e.Step.String() }
func (e Cancel) String() string    { return fmt.Sprintf("cancel #%d", e.ID) }
func (e LeaseHold) String() string { return "lease " + e.Step.String() }
func (e LeaseDrop) String() string { return "lease " + e.Step.String() }
func (e Allow) String() string {
	if e.Preempt {
		return "carp allow, preempt"
	}
	return "carp allow"
}
func (e Silence) String() string {
	if e.BowOut {
		return "carp silence, bow out"
	}
	return "carp silence"
}
func (Ready) String() string    { return "carp ready" }
func (Release) String() string  { return "carp release" }
func (Announce) String() string { return "announce" }
func (e Transition) String() string {
	return because(e.From.String()+" → "+e.Label(), e.Cause)
}

// Label is the new role, with the reason of waiting.
func (e Transition) Label() string { return label(e.To, e.Reason) }

func label(r Role, why Reason) string {
	if r != Waiting {
		return r.String()
	}
	return r.String() + " (" + why.String() + ")"
}

func (e Alert) String() string {
	s := "alert " + e.Kind.String() + " " + e.Subject.String()
	if e.Name != "" {
		s += " " + e.Name
	}
	if e.Kind == AlertNotice && len(e.Facts) > 1 { // the rest is what the Transition beside it says
		return because(s, e.Facts[0])
	}
	s = because(s, strings.Join(e.Facts, "; "))
	if e.Subject == AboutNobody && e.Kind != AlertEnd {
		s += "; type " + e.Command
	}
	return s
}

func (e Reply) String() string {
	switch {
	case e.Refused:
		return because(fmt.Sprintf("reply %d refused", e.ID), e.Why)
	case e.Failed:
		return because(fmt.Sprintf("reply %d failed", e.ID), e.Why)
	}
	return because(fmt.Sprintf("reply %d done", e.ID), e.Why)
}

func (e Stopped) String() string {
	if e.Clean {
		return "stopped"
	}
	return "stopped, not cleanly"
}
