package right

import (
	"fmt"

	"kvmctl/ha/arbiter"
)

// Kind is what a node may go on alone by.
type Kind string

// The kinds. There are no others: a ping target, an expired lease, a timeout and an unseen watchdog are none.
const (
	None      Kind = ""
	Own       Kind = "own record"   // it is alone already
	Connected Kind = "connected"    // it is not alone: DRBD's own cluster-wide change of state decides
	Named     Kind = "named"        // `alone` names this node
	LetGo     Kind = "let-go"       // the peer gave up its right, on disk, for this request
	Fence     Kind = "fence"        // a fencer answered this request: the peer is killed and held
	Arbiter   Kind = "arbiter"      // its record was won by this request
	Person    Kind = "confirm-dead" // a person says that the peer is dead, and stays off until the two see each other
)

// Licence is an answer that removed the peer's right.
type Licence struct {
	Kind    Kind
	Request arbiter.ID // that was answered
	N       uint64     // the number that the request was made for: one more than the record's then
}

// Reason is why a node has to wait.
type Reason string

// The reasons.
const (
	ReasonNone       Reason = ""
	ReasonDisk       Reason = "disk"        // not every volume is UpToDate
	ReasonDamaged    Reason = "damaged"     // the record cannot be read
	ReasonReverted   Reason = "reverted"    // the host's copy of the record is newer than the record: an old image
	ReasonSplit      Reason = "split-brain" // both went on alone
	ReasonPeerActive Reason = "peer-active" // the peer is heard, and is active
	ReasonPeerAhead  Reason = "peer-ahead"  // the peer is heard, and went on alone or was paired since
	ReasonNoKey      Reason = "no-key"      // the group has no `alone`
	ReasonDisagreed  Reason = "disagreed"   // the two files differ in `alone`
	ReasonNotReady   Reason = "not-ready"   // it is not known to have had all data when the peer was lost
	ReasonAsk        Reason = "ask"         // the peer's right is not removed yet
	ReasonActive     Reason = "active"      // of MayYield: this node has the data open
	ReasonAsking     Reason = "asking"      // of MayYield: this node has a request of its own in flight
	ReasonLate       Reason = "late"        // of MayYield: the peer does not ask any more
	ReasonAlone      Reason = "alone"       // this node went on alone: it has what the peer has not
)

// Verdict is what a decision says.
type Verdict struct {
	May bool
	By  Kind // why it may

	// Write is what has to be on the disk first, after the peer's right was removed and before `drbdadm primary`, exit 4 or 7 of fence-peer, an
	// answer to the peer, or a resync; nil: nothing. When and Group are the caller's.
	Write *Record

	Reason   Reason // why not
	Why      string // the same for people
	Ask      []Kind // whom to ask for a licence, in this order; nobody if empty
	N        uint64 // the number to ask for
	Override string // the command by which a person takes the decision; "": none does
}

func may(by Kind) Verdict { return Verdict{May: true, By: by} }

func wait(reason Reason, override, format string, args ...any) Verdict {
	return Verdict{Reason: reason, Override: override, Why: fmt.Sprintf(format, args...)}
}

func (v Verdict) String() string {
	switch {
	case v.May && v.Write != nil:
		return fmt.Sprintf("may, by %s, once %v is on the disk", v.By, *v.Write)
	case v.May:
		return fmt.Sprintf("may, by %s", v.By)
	}
	return fmt.Sprintf("wait (%s): %s", v.Reason, v.Why)
}
