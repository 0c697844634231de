package right

import (
	"fmt"
	"slices"

	"kvmctl/ha/arbiter"
)

// The world of the model: two nodes with a disk each, the one link between them, and whoever answers. Every decision in it is made by the functions
// of this package, through rules; DRBD, the fencer and the arbiter do what was measured of them, in the worst order.

// rules are the decisions, so that a test can take one away.
type rules struct {
	promote, stay func(Situation) Verdict
	yield         func(Situation, uint64) Verdict
	target        func(Situation, bool) Verdict
	meet          func(Session) Meeting
	lonelyMeet    bool // meet is asked without a session, too
}

func ours() rules {
	return rules{promote: MayPromote, stay: MayStayAlone, yield: MayYield, target: MayBeTarget, meet: Meet}
}

type mdisk uint8

const (
	inconsistent mdisk = iota
	outdated
	upToDate
)

// mextra is all that has to be known of data: a write that both disks have says nothing any more, and a second one that only one of them has, no
// more than the first.
type mextra uint8

const (
	same    mextra = iota
	acked          // acknowledged writes
	givenUp        // writes that a person gave up
)

type mrec struct{ st, n uint8 }

var states = [...]State{Unwritten, Paired, Alone}

func (r mrec) record() Record { return Record{Group: "g", State: states[r.st], N: uint64(r.n)} }

func recOf(r Record) mrec { return mrec{uint8(rank3(r.State)), uint8(r.N)} }

func rank3(s State) int {
	for i, known := range states {
		if s == known {
			return i
		}
	}
	panic("no state " + s)
}

var kinds = [...]Kind{None, LetGo, Fence, Arbiter, Person}

func kindOf(k Kind) uint8 { return uint8(slices.Index(kinds[:], k)) }

type mreq struct {
	kind     uint8 // of kinds; the world has no pointers, or the collector would look through a million of them
	n        uint8
	answered bool
}

type mnode struct {
	up, prim, frozen, conn bool
	disk                   mdisk
	sees                   bool   // the peer's disk is UpToDate, as last seen
	both, behind           bool   // of the last connection
	extra                  mextra // what its disk has and the other one lacks
	rec, last              mrec
	cur, stale             mreq // what is asked now, and what was asked before and may still come in
	held                   uint8
}

const (
	heldByFence  = 1
	heldByPerson = 2
)

type world struct {
	n      [2]mnode
	link   bool
	arb    uint8
	faults uint8
	person bool
	lost   bool // a resync has discarded an acknowledged write
}

type config struct {
	alone     [2]string // each node's `alone`
	maxFaults uint8
	maxN      uint8
	person    bool
	told      bool            // steps have names
	by        map[string]bool // what somebody went on alone by
}

var names = [2]string{"a", "b"}

// start is two equals that know it; a is active.
func start() world {
	n := mnode{up: true, conn: true, disk: upToDate, sees: true, rec: mrec{1, 0}, last: mrec{1, 0}}
	w := world{n: [2]mnode{n, n}, link: true}
	w.n[0].prim = true
	return w
}

func (w *world) real(i int) bool {
	return w.link && w.n[0].up && w.n[1].up && w.n[0].conn && w.n[1].conn
}

func (w *world) channel() bool { return w.link && w.n[0].up && w.n[1].up }

var curID, staleID = arbiter.ID{1}, arbiter.ID{2}

func (c config) situation(w *world, i int, heard, stale bool) Situation {
	n, p := &w.n[i], &w.n[1-i]
	by, err := ParseAlone(c.alone[i], names[:]...)
	if err != nil {
		panic(err)
	}
	s := Situation{
		Node: names[i], Peer: names[1-i], Group: "g", Alone: by, Agreed: c.alone[0] == c.alone[1],
		Own: n.rec.record(), Disk: Worse, Active: n.prim, Connected: n.conn, Last: n.last.record(),
		BothUpToDate: n.both, PeerBehind: n.behind,
	}
	if n.disk == upToDate {
		s.Disk = UpToDate
	}
	if n.conn {
		s.BothUpToDate, s.PeerBehind = n.disk == upToDate && n.sees, n.disk == upToDate && !n.sees
	}
	if n.cur.kind != 0 {
		s.InFlight = curID
	}
	if r := n.cur; !stale && r.answered {
		s.Licence = Licence{kinds[r.kind], curID, uint64(r.n)}
	}
	if r := n.stale; stale && r.answered {
		s.Licence = Licence{kinds[r.kind], staleID, uint64(r.n)}
	}
	if heard && w.channel() {
		r := p.rec.record()
		s.Heard, s.PeerActive = &r, p.prim
	}
	return s
}

// forget ends a node's request: what is under way of it goes on, and its answer may come in later.
func (n *mnode) forget() {
	if n.cur.kind != 0 {
		n.stale, n.cur = n.cur, mreq{}
	}
}

// check is S1, S2 and S3 in one state.
func (w *world) check() string {
	able := func(i int) bool { // a write of a connected one ends when its peer has it: protocol C
		n := &w.n[i]
		return n.up && n.prim && !n.frozen && (!n.conn || w.real(i))
	}
	if able(0) && able(1) {
		return "S1: both are able to write"
	}
	for i := range w.n {
		switch n := &w.n[i]; {
		case n.prim && n.disk != upToDate:
			return fmt.Sprintf("S2: %s is primary on a disk that is not UpToDate", names[i])
		case able(i) && !n.conn && states[n.rec.st] != Alone:
			return fmt.Sprintf("S2: %s writes without its peer and without the right", names[i])
		case able(i) && w.n[1-i].extra == acked:
			return fmt.Sprintf("S3: %s serves data that lack an acknowledged write", names[i])
		}
	}
	if w.n[0].extra == acked && w.n[1].extra == acked {
		return "S3: each disk has an acknowledged write that the other one lacks"
	}
	if w.lost {
		return "S3: a resync discarded an acknowledged write"
	}
	return ""
}
