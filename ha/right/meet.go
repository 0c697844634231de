package right

import "fmt"

// Session is what two nodes know while they are connected.
type Session struct {
	Peer   string
	Own    Record
	Said   Record // the peer's record, as it said in this connection
	Active bool   // a device is primary here

	Disk, PeerDisk Disk   // as DRBD says in this connection
	Arbiter        uint64 // the number of the arbiter's record, looked at in this connection; 0: no arbiter, or it was not looked at
}

// Meeting is what becomes of the records of two nodes that see each other.
type Meeting struct {
	Write *Record // has to be on the disk, then to be told to the peer; nil: nothing
	Split bool    // both went on alone
	Equal bool    // either may stand in for the other
}

// Meet decides what is written while the two are connected; call it whenever something of the session has changed. A target is not its source's
// equal before the source, too, has written paired: until then the source may go on alone without asking.
func Meet(s Session) Meeting {
	if s.Own.State == Alone && s.Said.State == Alone {
		m := Meeting{Split: true}
		if !s.Active { // or it would go on when it next boots without its peer, where the peer goes on as well
			m.Write = &Record{Group: s.Own.Group, State: Paired, N: max(s.Own.N, s.Said.N), Why: "split brain: " + s.Peer + " went on alone, too"}
		}
		return m
	}
	if s.Disk != UpToDate || s.PeerDisk != UpToDate || s.Said.State == Unwritten && s.Own.State != Unwritten {
		return Meeting{}
	}
	// An arbiter may have given a number to a request whose answer was lost: without it here, no request would ever be the next.
	to := Record{Group: s.Own.Group, State: Paired, N: max(s.Own.N, s.Said.N, s.Arbiter), Why: "paired with " + s.Peer}
	if !to.Same(s.Own) {
		return Meeting{Write: &to}
	}
	return Meeting{Equal: s.Said.State == Paired && s.Said.N == s.Own.N}
}

// MayBeTarget decides whether a node accepts a resync that overwrites it: Write has to be on the disk first. Discard says that a person, or a proof
// that nothing was changed here, gave up what this node has and its peer has not.
func MayBeTarget(s Situation, discard bool) Verdict {
	var heard Record
	if s.Heard != nil {
		heard = *s.Heard
	}
	switch {
	case s.Damaged != nil:
		return wait(ReasonDamaged, "", "the record of who may be alone cannot be read: %v", s.Damaged)
	case s.Active:
		return wait(ReasonActive, "", "%s is active", s.Node)
	case s.Own.State == Alone && !discard:
		return wait(ReasonAlone, fmt.Sprintf("kvmha drbd resolve %s --keep <node>", s.Group), "%s went on alone (%v): the resync would discard what it wrote", s.Node, s.Own)
	}
	v := may(Connected)
	if to := (Record{Group: s.Own.Group, State: Paired, N: max(s.Own.N, heard.N), Why: "resync from " + s.Peer}); !to.Same(s.Own) {
		v.Write = &to
	}
	return v
}

// CatchUp gives the number that the arbiter is asked for, with a new id, because its record ends before what is written here: somebody went on alone by
// a let-go, or on a person's word. Until it has caught up it refuses whoever has to ask. Its answer licenses nothing, for the number is taken.
func CatchUp(own Record, arbiter uint64) (n uint64, behind bool) {
	return arbiter + 1, arbiter < own.N
}
