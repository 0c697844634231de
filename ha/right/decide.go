package right

import (
	"fmt"

	"kvmctl/ha/arbiter"
)

// Disk is the worst state of all volumes of a group, as far as it matters here.
type Disk string

// The states.
const (
	UpToDate Disk = "UpToDate"
	Worse    Disk = "worse" // Consistent, Outdated, Inconsistent, Diskless, Failed, unknown: none of them is ever promoted
)

// Situation is all that decisions are made of. Its times are the caller's affair: a fact is what was true last.
type Situation struct {
	Node, Peer string
	Group      string // for the commands in answers
	Alone      AloneBy
	Agreed     bool // the peer said the same `alone` last, and that it heard ours

	Own     Record
	Damaged error   // the record could not be read: Store.Read's
	Host    *Record // the copy that a guest's host keeps; nil: there is none

	Disk   Disk
	Active bool // a device is primary here, or is being made so

	Connected  bool    // DRBD is connected to the peer, with all volumes
	PeerActive bool    // the peer is heard, by DRBD or by a heartbeat, and is primary
	Heard      *Record // the peer's record while it is heard; nil: it is not

	// As it is in this DRBD connection, or was in the last one of this boot up to its loss; false and zero: there was none.
	BothUpToDate bool   // all volumes, here and there
	PeerBehind   bool   // UpToDate here, and there on the way to it, from here, or outdated
	Last         Record // the peer's record as it was last heard in that connection

	Licence  Licence    // the last one that came in
	InFlight arbiter.ID // the request that is being made since the peer was lost; zero: none. A reconnect, a boot and a yield end it
}

// ready reports whether this node had all data when the peer was lost, and knows of the last number: FAILOVER.md, safety 4. Of two equals it holds only
// until one of them writes a record, for then their numbers differ; a let-go is such a record, and is known.
func (s Situation) ready() bool {
	if s.Own.State != Paired || s.Last.State != Paired || !s.BothUpToDate && !s.PeerBehind {
		return false
	}
	return s.Own.N == s.Last.N || s.Own.N+1 == s.Last.N && s.licensed(LetGo)
}

// licensed reports whether a licence is for the request in flight and for the number after the record's. An answer to an earlier request says what
// was so before the two saw each other again; one for an earlier number, what was so before this node was paired once more.
func (s Situation) licensed(k Kind) bool {
	return s.Licence.Kind == k && s.Licence.Request == s.InFlight && s.InFlight != arbiter.ID{} && s.Licence.N == s.Own.N+1
}

func (s Situation) confirmDead() string {
	return fmt.Sprintf("kvmha confirm-dead %s %s", s.Group, s.Peer)
}

// MayPromote decides for a node that is not active: a standby, or one that has booted. The order of what it says is that of FAILOVER.md, safety 2:
// the peer's right is removed, Write is on the disk, and only then `drbdadm primary`.
func MayPromote(s Situation) Verdict {
	if v, no := s.never(); no {
		return v
	}
	if s.PeerActive {
		return wait(ReasonPeerActive, "", "%s is active", s.Peer)
	}
	if s.Connected {
		return may(Connected)
	}
	return s.alone()
}

// MayStayAlone decides for an active node whose peer is gone, and that its kernel has frozen: whether it may answer fence-peer with 4 or 7.
// Until it may it stays frozen, which loses nothing.
func MayStayAlone(s Situation) Verdict {
	if v, no := s.never(); no {
		return v
	}
	return s.alone()
}

// Lost says of an active node that has asked nobody successfully yet that its peer went on alone: what its kernel has frozen will never be written.
func Lost(s Situation) (why string, lost bool) {
	if !s.Active || s.Connected || s.Own.State == Alone || s.Heard == nil || s.Heard.State != Alone || s.Heard.N <= s.Own.N {
		return "", false
	}
	return fmt.Sprintf("%s went on alone (%v)", s.Peer, *s.Heard), true
}

// never gives what no licence overcomes.
func (s Situation) never() (Verdict, bool) {
	switch {
	case s.Damaged != nil:
		return wait(ReasonDamaged, "", "the record of who may be alone cannot be read: %v; remove it, and this node waits for %s or for `%s`", s.Damaged, s.Peer, s.confirmDead()), true
	case s.Disk != UpToDate:
		return wait(ReasonDisk, "", "not every volume is UpToDate here: the newest data are at %s", s.Peer), true
	case s.Own.State == Alone && s.Heard != nil && s.Heard.State == Alone:
		return wait(ReasonSplit, fmt.Sprintf("kvmha drbd resolve %s --keep <node>", s.Group), "%s and %s both went on alone (%v and %v): a person says whose data are kept", s.Node, s.Peer, s.Own, *s.Heard), true
	}
	return Verdict{}, false
}

// alone decides without the peer.
func (s Situation) alone() Verdict {
	confirm := s.confirmDead()
	switch {
	case s.Heard != nil && s.Heard.State == Alone && s.Own.State != Alone:
		return wait(ReasonPeerAhead, "", "%s went on alone (%v): the newest data are there", s.Peer, *s.Heard)
	case s.licensed(Person) && s.Heard == nil: // who is heard is not dead
		return s.write(Person)
	case s.Host != nil && s.Host.Newer(s.Own):
		return wait(ReasonReverted, confirm, "the host's copy of the record says %v, the record %v: this is an old image", *s.Host, s.Own)
	case s.Own.State == Alone:
		return may(Own)
	case s.Alone.Who == "":
		return wait(ReasonNoKey, confirm, "the group has no alone = \"…\"")
	case !s.Agreed:
		return wait(ReasonDisagreed, confirm, "the files of %s and %s did not have the same alone = \"…\" when %s was lost", s.Node, s.Peer, s.Peer)
	case !s.ready():
		return wait(ReasonNotReady, confirm, "%s may have gone on alone: %s was not connected with it, as its equal, until it was lost (the record here: %v)", s.Peer, s.Node, s.Own)
	}
	return s.byKey()
}

// byKey decides for a node that was ready. The let-go counts under every key: the peer wrote down that it waits.
func (s Situation) byKey() Verdict {
	if s.licensed(LetGo) {
		return s.write(LetGo)
	}
	v := wait(ReasonAsk, s.confirmDead(), "")
	v.Ask, v.N = []Kind{LetGo}, s.Own.N+1
	switch s.Alone.Who {
	case ByName:
		if s.Alone.Node == s.Node {
			return s.write(Named)
		}
		// No fence here: the named node may have gone on alone before it was killed.
		v.Why = fmt.Sprintf("%s may have gone on alone: it is the one that may", s.Alone.Node)
	case ByArbiter:
		if s.licensed(Arbiter) {
			return s.write(Arbiter)
		}
		v.Ask, v.Why = append(v.Ask, Arbiter), "the arbiter's record is not won"
	case ByFence:
		if s.licensed(Fence) {
			return s.write(Fence)
		}
		v.Ask, v.Why = append(v.Ask, Fence), fmt.Sprintf("no fence has answered that %s is off", s.Peer)
	}
	return v
}

// write is what a node puts down before it goes on alone.
func (s Situation) write(by Kind) Verdict {
	n := s.Own.N
	if s.Host != nil { // a person overrules an old image, but its numbers are taken
		n = max(n, s.Host.N)
	}
	v := may(by)
	v.Write = &Record{Group: s.Own.Group, State: Alone, N: n + 1, Why: fmt.Sprintf("%s %v", by, s.InFlight)}
	return v
}

// MayYield decides whether a node lets go because its peer asks to go on alone as number n. Its answer is sent after Write is on the disk, and, where
// DRBD is not connected, after `drbdadm outdate`: then it is a let-go for that request. A request that comes late is refused: if its asker has let go
// itself by then, both would be outdated, and neither could ever bring the other up to date.
func MayYield(s Situation, n uint64) Verdict {
	switch {
	case s.Damaged != nil:
		return wait(ReasonDamaged, "", "the record of who may be alone cannot be read: %v", s.Damaged)
	case s.Active:
		return wait(ReasonActive, "", "%s is active", s.Node)
	case s.InFlight != arbiter.ID{}:
		return wait(ReasonAsking, "", "%s asks to go on alone itself", s.Node)
	case s.Own.State == Alone:
		return wait(ReasonAlone, "", "%s went on alone (%v)", s.Node, s.Own)
	case s.Heard == nil || s.Heard.State != Paired || s.Heard.N+1 != n:
		return wait(ReasonLate, "", "%s is not heard to be paired at the number before %d: the request is an old one", s.Peer, n)
	}
	v := may(LetGo)
	// From here on the numbers differ, so this node is nobody's equal until the peer was paired with it again.
	if to := (Record{Group: s.Own.Group, State: Paired, N: max(s.Own.N, n), Why: fmt.Sprintf("let %s go on alone", s.Peer)}); !to.Same(s.Own) {
		v.Write = &to
	}
	return v
}
