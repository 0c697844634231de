package right

import (
	"fmt"
	"slices"
)

// steps gives every state that one small step leads to, with the step's name.
func (c config) steps(r rules, w world, yield func(string, world)) {
	for i := range w.n {
		c.outside(r, w, i, yield)
		c.drbd(r, w, i, yield)
		c.ask(r, w, i, yield)
		c.answer(r, w, i, yield)
		c.act(r, w, i, yield)
	}
	next := w
	next.link = !w.link
	if w.link {
		next.faults++
	}
	if next.faults <= c.maxFaults {
		yield(map[bool]string{true: "the link heals", false: "the link breaks"}[next.link], next)
	}
}

// named is a step's name; it is made only of those that led to something.
func (c config) named(i int, format string, args ...any) string {
	if !c.told {
		return ""
	}
	return names[i] + " " + fmt.Sprintf(format, args...)
}

// crash is a power cut, by fate or by a fence.
func (w *world) crash(i int) {
	n := &w.n[i]
	n.forget()
	n.up, n.prim, n.frozen, n.conn, n.sees, n.both, n.behind, n.last = false, false, false, false, false, false, false, mrec{}
}

// outside is what nobody decides.
func (c config) outside(r rules, w world, i int, yield func(string, world)) {
	n, p := w.n[i], w.n[1-i]
	if n.up && w.faults < c.maxFaults {
		next := w
		next.crash(i)
		next.faults++
		yield(c.named(i, "crashes"), next)
	}
	if !n.up && (n.held == 0 || w.link && p.up && kinds[p.cur.kind] != Person) {
		next := w
		m := &next.n[i]
		if n.held == heldByPerson { // whoever said confirm-dead keeps it off until it meets its peer
			if met := r.meet(c.session(&w, i, p.rec)); met.Write != nil {
				m.rec = recOf(*met.Write)
			}
		}
		m.up, m.held = true, 0
		yield(c.named(i, "boots"), next)
	}
	if n.up && n.conn && (!w.real(i) || w.faults < c.maxFaults) {
		next := w
		if w.real(i) {
			next.faults++
		}
		m := &next.n[i]
		m.both, m.behind = n.disk == upToDate && n.sees, n.disk == upToDate && !n.sees
		m.conn, m.sees, m.frozen = false, false, n.prim
		yield(c.named(i, "loses its peer"), next)
	}
	if n.up && n.prim && !n.frozen && !n.conn && n.extra != acked { // what a connected one writes, both have: protocol C
		next := w
		next.n[i].extra = acked
		yield(c.named(i, "writes"), next)
	}
	if c.person && !w.person && n.up && !n.conn && !p.up && n.cur.kind == 0 {
		next := w
		next.person = true
		next.n[i].cur = mreq{kindOf(Person), n.rec.n + 1, true}
		next.n[1-i].held = heldByPerson
		yield(c.named(i, "is told confirm-dead"), next)
	}
}

// drbd is what the kernel does, and what is written of records while it is connected.
func (c config) drbd(r rules, w world, i int, yield func(string, world)) {
	n, p := w.n[i], w.n[1-i]
	if i == 0 && w.channel() && !n.conn && !p.conn {
		c.connect(r, w, yield)
	}
	if n.conn && w.channel() && n.last != p.rec {
		next := w
		next.n[i].last = p.rec
		yield(c.named(i, "hears %v", p.rec.record()), next)
	}
	if w.real(i) && n.sees != (p.disk == upToDate) {
		next := w
		next.n[i].sees = !n.sees
		yield(c.named(i, "sees its peer's disk"), next)
	}
	if w.real(i) && n.disk == inconsistent && p.disk == upToDate {
		next := w
		next.n[i].disk, next.n[i].extra, next.n[i].sees, next.n[1-i].extra = upToDate, same, true, same
		yield(c.named(i, "is UpToDate"), next)
	}
	if n.up && (n.conn || r.lonelyMeet) {
		s := c.session(&w, i, n.last)
		for _, s.Arbiter = range slices.Compact([]uint64{0, uint64(w.arb)}) {
			if m := r.meet(s); m.Write != nil {
				next := w
				next.n[i].rec = recOf(*m.Write)
				yield(c.named(i, "writes down %v", *m.Write), next)
			}
		}
	}
	if n.up && n.prim {
		next := w
		next.n[i].prim, next.n[i].frozen = false, false
		yield(c.named(i, "demotes"), next)
	}
}

// session is what a node knows of the two; said is its peer's record.
func (c config) session(w *world, i int, said mrec) Session {
	n := &w.n[i]
	s := Session{Peer: names[1-i], Own: n.rec.record(), Said: said.record(), Active: n.prim, Disk: Worse, PeerDisk: Worse}
	if n.disk == upToDate {
		s.Disk = UpToDate
	}
	if n.conn && n.sees || !n.conn && n.both {
		s.PeerDisk = UpToDate
	}
	return s
}

// connect is DRBD's handshake. Which disk is the newer one is told by the writes that are on it, as DRBD tells it by its generations.
func (c config) connect(r rules, w world, yield func(string, world)) {
	a, b := &w.n[0], &w.n[1]
	target := -1
	switch {
	case a.prim && b.prim || a.disk == inconsistent && b.disk == inconsistent:
		return
	case a.disk == inconsistent:
		target = 0
	case b.disk == inconsistent:
		target = 1
	case a.extra != same && b.extra != same: // split brain
		return
	case b.extra != same || a.extra == same && a.disk < b.disk:
		target = 0
	case a.extra != same || b.disk < a.disk:
		target = 1
	}
	if target >= 0 {
		t, s := &w.n[target], &w.n[1-target]
		if t.prim || s.disk != upToDate {
			return
		}
		v := r.target(c.situation(&w, target, true, false), false)
		if !v.May {
			return
		}
		if v.Write != nil {
			next := w
			next.n[target].rec = recOf(*v.Write)
			yield(c.named(target, "writes down %v before a resync", *v.Write), next)
			return
		}
	} else if a.disk != upToDate {
		return
	}
	next := w
	if target >= 0 {
		t := &next.n[target]
		if t.extra == acked {
			next.lost = true
		}
		t.disk = inconsistent
	}
	for i := range next.n {
		m := &next.n[i]
		m.forget()
		m.conn, m.frozen, m.both, m.behind, m.last = true, false, false, false, mrec{}
		m.sees = next.n[1-i].disk == upToDate
	}
	yield("they connect", next)
}

// decide is what a node asks itself; no answer where nothing has to be asked.
func (c config) decide(r rules, w *world, i int, heard, stale bool) Verdict {
	s := c.situation(w, i, heard, stale)
	switch n := &w.n[i]; {
	case n.prim && (n.frozen || n.conn):
		return r.stay(s)
	case !n.prim && !n.conn:
		return r.promote(s)
	}
	return Verdict{}
}

// ask makes a request, or gives one up.
func (c config) ask(r rules, w world, i int, yield func(string, world)) {
	n := w.n[i]
	if !n.up {
		return
	}
	if n.cur.kind != 0 {
		next := w
		next.n[i].forget()
		if next.faults++; next.faults > c.maxFaults {
			return
		}
		yield(c.named(i, "gives up its request"), next)
		return
	}
	v := c.decide(r, &w, i, true, false)
	if v.N > uint64(c.maxN) {
		return
	}
	for _, kind := range v.Ask {
		next := w
		next.n[i].cur = mreq{kind: kindOf(kind), n: uint8(v.N)}
		if n.conn { // it need not: it is about to lose its peer, or sees it behind
			if next.faults++; next.faults > c.maxFaults {
				continue
			}
		}
		yield(c.named(i, "asks (%s, %d)", kind, v.N), next)
	}
}

// answer carries a request out, whoever still waits for it.
func (c config) answer(r rules, w world, i int, yield func(string, world)) {
	if n, behind := CatchUp(w.n[i].rec.record(), uint64(w.arb)); behind && c.alone[i] == string(ByArbiter) {
		next := w
		next.arb = uint8(n)
		yield(c.named(i, "tells the arbiter of %d", n), next)
	}
	for _, stale := range []bool{false, true} {
		next := w
		req, word := &next.n[i].cur, "request"
		if stale {
			req, word = &next.n[i].stale, "old request"
		}
		if req.kind == 0 || req.answered {
			continue
		}
		req.answered = true
		p := &next.n[1-i]
		switch kinds[req.kind] {
		case Fence:
			next.crash(1 - i)
			if p.held == 0 {
				p.held = heldByFence
			}
		case Arbiter:
			if req.n != w.arb+1 {
				*req = mreq{} // lost
			} else {
				next.arb = req.n
			}
		case LetGo:
			v := r.yield(c.situation(&w, 1-i, true, false), uint64(req.n))
			if !w.channel() || !v.May {
				continue
			}
			if v.Write != nil {
				p.rec = recOf(*v.Write)
			}
			if !p.conn && p.disk == upToDate {
				p.disk = outdated
			}
		default:
			continue
		}
		yield(c.named(i, "has its %s carried out", word), next)
	}
}

// act is what a node does once it may.
func (c config) act(r rules, w world, i int, yield func(string, world)) {
	n, p := w.n[i], w.n[1-i]
	if !n.up {
		return
	}
	if !n.prim && n.conn && w.real(i) && !p.prim && r.promote(c.situation(&w, i, true, false)).By == Connected {
		next := w
		next.n[i].prim = true
		yield(c.named(i, "is promoted while connected"), next)
	}
	for _, heard := range []bool{false, true} {
		for _, stale := range []bool{false, true} {
			if stale && !n.stale.answered || heard && !w.channel() {
				continue
			}
			v := c.decide(r, &w, i, heard, stale)
			if !v.May {
				continue
			}
			next := w
			m := &next.n[i]
			switch {
			case v.Write != nil:
				if v.Write.N > uint64(c.maxN) {
					continue
				}
				m.rec, m.cur = recOf(*v.Write), mreq{}
				c.by[names[i]+" by "+string(v.By)] = true
				if v.By == Person && p.extra == acked {
					next.n[1-i].extra = givenUp
				}
				yield(c.named(i, "writes down %v, by %s", *v.Write, v.By), next)
			case v.By == Connected || n.conn:
			default:
				m.prim, m.frozen = true, false
				yield(c.named(i, "goes on alone"), next)
			}
		}
	}
}
