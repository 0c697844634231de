package carp

import (
	"fmt"
	"net/netip"
	"strings"
	"time"
)

// State is how far a machine is.
type State int

// The states.
const (
	Silent    State = iota // does not contend, and sends nothing
	Backup                 // listens, and waits for the master to be gone
	Candidate              // elected; its group promotes. It advertises already, unless it preempts: then the old master goes on until Ready
	Master                 // advertises, and serves
)

// String gives the word that status and log show.
func (s State) String() string {
	if s < Silent || s > Master {
		return "unknown"
	}
	return [...]string{"silent", "backup", "candidate", "master"}[s]
}

// Cause is why a state changed.
type Cause string

// The causes, in the words of the log.
const (
	ByAllow      Cause = "the group may contend"
	BySilence    Cause = "the group must not contend"
	ByReady      Cause = "the group is ready"
	ByRelease    Cause = "the group lets go"
	ByDeadMaster Cause = "no advert from a master" // carp_master_down, by the timer
	ByBowOut     Cause = "the master bows out"     // "going to time out"
	ByPreemption Cause = "the master is worse"     // preempt
	ByDemotion   Cause = "the master is demoted"   // OpenBSD's demote counter
	ByBetter     Cause = "a better master advertises"
	ByEqual      Cause = "an equal master advertises"    // BSD's masters yield
	ByAddress    Cause = "an equal master goes before"   // ucarp and kvmha: by its address
	ByNotWorse   Cause = "the master is no longer worse" // so there is nothing to preempt
)

// Input is one event.
type Input interface{ input() }

// The inputs: from the group's failover machine, from the wire, from the sender, and from the clock.
type (
	// Turn is nothing but that time has passed.
	Turn struct{}
	// Allow lets the machine contend. Said again, it changes Preempt only.
	Allow struct {
		Preempt bool // take over from a master that is worse; else only from one that is gone
	}
	// Silence ends contending at once.
	Silence struct {
		BowOut bool // say good-bye, if it has advertised
	}
	// Ready says that the group's promote is at the address: master now.
	Ready struct {
		Unelected bool // from Backup, too: an agent that went on after an exec, or another authority than CARP. Never from Silent
	}
	// Release says good-bye and yields. It contends on, so that it takes the role back when nobody else does, but does not preempt until Allow.
	Release struct{}
	// Demote sets by how much the skew is worse (or, negative, better) than configured, as FreeBSD's net.inet.carp.demotion.
	Demote struct{ By int }
	// Reload changes the configuration, and begins a new probation. The state stays.
	Reload struct{ Config Config }

	// Received is an advert whose digest is right.
	Received struct{ Claim Claim }
	// Rejected is a packet that the Filter refused.
	Rejected struct {
		Reason Reason
		Claim  Claim
	}
	// SendResult tells what became of a Send.
	SendResult struct{ Failed bool }
)

func (Turn) input()       {}
func (Allow) input()      {}
func (Silence) input()    {}
func (Ready) input()      {}
func (Release) input()    {}
func (Demote) input()     {}
func (Reload) input()     {}
func (Received) input()   {}
func (Rejected) input()   {}
func (SendResult) input() {}

// Effect is one thing to do now. The order of a Step's effects counts: an advert that is sent with a change of state goes out before anybody is
// told, because nothing may hold an advert up.
type Effect interface {
	effect()
	fmt.Stringer
}

// The effects.
type (
	// Send is an advert to be signed and sent; SendResult answers it.
	Send struct{ Advert Advert }
	// Changed is the line for the log: each change of state has exactly one.
	Changed struct {
		From, To State
		Why      Cause
		By       netip.Addr // whose advert it was; zero: nobody's
	}
	// Elected tells the group to promote. Silently: it does not advertise until Ready.
	Elected struct {
		Cause    Cause
		Silently bool
	}
	// Deposed tells the group to demote, or to break off its promote.
	Deposed struct {
		Cause Cause
		By    netip.Addr
	}
	// Announce tells to repeat gratuitous ARP and NA: another master was heard, and clients may have learnt its address.
	Announce struct{ Against netip.Addr }
	// Misconfigured tells the group to wait: three intervals with adverts whose digest is wrong, and not one good, since start or reload.
	Misconfigured struct{ Claim Claim }
	// Configured takes Misconfigured back: a good advert came, or the bad ones ended.
	Configured struct{ Good bool }
	// Report sums up the packets that were not obeyed: at once for the first, then once a minute.
	Report struct {
		Since  time.Duration // since the last one
		Counts [reasons]uint64
		Last   Rejected
	}
	// Hampered tells that sending fails, so that the adverts (if they get through) are demoted by 240, or that it works again.
	Hampered struct{ Ended bool }
)

func (Send) effect()          {}
func (Changed) effect()       {}
func (Elected) effect()       {}
func (Deposed) effect()       {}
func (Announce) effect()      {}
func (Misconfigured) effect() {}
func (Configured) effect()    {}
func (Report) effect()        {}
func (Hampered) effect()      {}

func (e Send) String() string {
	if e.Advert.BowOut() {
		return "send bow-out"
	}
	return fmt.Sprintf("send advert %d/%d", e.Advert.Base, e.Advert.Skew)
}

func (e Changed) String() string {
	s := fmt.Sprintf("%v -> %v: %s", e.From, e.To, e.Why)
	if e.By.IsValid() {
		s += " (" + e.By.String() + ")"
	}
	return s
}

func (e Elected) String() string {
	if e.Silently {
		return "elected silently: " + string(e.Cause)
	}
	return "elected: " + string(e.Cause)
}

func (e Deposed) String() string { return fmt.Sprintf("deposed by %v: %s", e.By, e.Cause) }

func (e Announce) String() string { return fmt.Sprintf("announce against %v", e.Against) }

func (e Misconfigured) String() string {
	return fmt.Sprintf("misconfigured: only adverts with a wrong digest since the start, the last from %v", e.Claim.From)
}

func (e Configured) String() string {
	if e.Good {
		return "no longer misconfigured: a good advert came"
	}
	return "no longer misconfigured: the bad adverts ended"
}

func (e Report) String() string {
	var parts []string
	for r, n := range e.Counts {
		if n > 0 {
			parts = append(parts, fmt.Sprintf("%d %v", n, Reason(r)))
		}
	}
	a := e.Last.Claim.Advert
	return fmt.Sprintf("packets not obeyed in %v: %s; the last (%v) from %v %v claims vhid %d, advbase %d, advskew %d",
		e.Since, strings.Join(parts, ", "), e.Last.Reason, e.Last.Claim.From, e.Last.Claim.MAC, a.VHID, a.Base, a.Skew)
}

func (e Hampered) String() string {
	if e.Ended {
		return "adverts can be sent again"
	}
	return "adverts cannot be sent"
}
