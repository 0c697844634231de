package beat

import (
	"slices"
	"time"
)

// The times of a heartbeat.
const (
	Interval = 100 * time.Millisecond // between two datagrams on each path
	Dead     = 3 * Interval           // without one, a path is silent; and so is a node, when all its paths are
	Fresh    = time.Second            // an echo that is older says nothing of now

	restartGrace  = time.Second // what a restart in place may take: three times its promise (FAILOVER.md, "Order")
	maxCandidates = 4
)

// Session is what one node knows of another by its heartbeats. It is a value of what was received and of the time it is told, which is that since
// boot, counted from time.Unix(0, 0). It is not safe for concurrent use.
//
// A datagram that anybody has recorded is worth nothing: within one boot sequences only grow, and another boot is believed only when it echoes a
// datagram of ours that is younger than the last one echoed.
type Session struct {
	boot Boot // of this node
	own  NodeID

	sent  uint64 // the newest sequence of ours
	mark  Mark   // the newest of the peer's that is believed
	echo  uint64 // the newest of ours that it has echoed
	view  Datagram
	heard time.Time // when mark came; zero: never
	since time.Time // it was heard all the time from then on
	fresh time.Time // when it last echoed a fresh one; zero: never
	paths []path

	candidates []Mark // of boots that have not proven yet that they are now
	turn       int
}

// path is one way to the peer.
type path struct {
	heard    time.Time
	sequence uint64
	number   uint8 // the peer's count of it
}

// NewSession begins to listen to a peer that is reached on so many paths.
func NewSession(own NodeID, boot Boot, paths int) *Session {
	return &Session{own: own, boot: boot, paths: make([]path, min(paths, MaxPaths))}
}

// SequenceOf gives the sequence that a datagram of this moment has.
func SequenceOf(now time.Time) uint64 { return uint64(max(0, now.Sub(time.Unix(0, 0)))) }

// Compose makes the next datagram for a path; the caller adds groups and flags.
func (s *Session) Compose(now time.Time, number int) Datagram {
	s.sent = max(s.sent+1, SequenceOf(now))
	d := Datagram{Sender: s.own, Mark: Mark{s.boot, s.sent}, Number: uint8(number), Echo: s.mark}
	if n := len(s.candidates); n > 0 && !s.Heard(now) {
		s.turn++ // one that somebody has recorded must not keep the true one from being answered
		if i := s.turn % (n + 1); i < n {
			d.Echo = s.candidates[i]
		}
	}
	for _, p := range s.paths {
		if age := s.age(now, p); age < MaxAge {
			d.Paths = append(d.Paths, Path{p.number, age.Truncate(time.Millisecond)})
		}
	}
	return d
}

func (s *Session) age(now time.Time, p path) time.Duration {
	if p.heard.IsZero() {
		return MaxAge
	}
	return min(max(0, now.Sub(p.heard)), MaxAge)
}

// Receive takes a datagram that the peer has signed, which came in on a path; -1: on none that is known. It reports whether it is news.
func (s *Session) Receive(now time.Time, d Datagram, number int) bool {
	fresh := false
	if d.Echo.Boot == s.boot && d.Echo.Sequence > 0 {
		age := time.Duration(SequenceOf(now)) - time.Duration(d.Echo.Sequence)
		if d.Echo.Sequence > s.sent && age < 0 {
			return false // nobody has sent that
		}
		fresh = age <= Fresh
	}
	if d.Mark.Boot != s.mark.Boot || s.heard.IsZero() {
		if !fresh || d.Echo.Sequence <= s.echo {
			s.candidate(d.Mark)
			return false
		}
		s.mark, s.candidates = Mark{Boot: d.Mark.Boot}, nil
		for i := range s.paths {
			s.paths[i].sequence = 0
		}
	}
	if number >= 0 && number < len(s.paths) && d.Mark.Sequence > s.paths[number].sequence {
		if late := time.Duration(s.mark.Sequence) - time.Duration(d.Mark.Sequence); late <= Fresh { // paths differ in length
			s.paths[number] = path{now, d.Mark.Sequence, d.Number}
		}
	}
	if d.Mark.Sequence <= s.mark.Sequence {
		return false
	}
	if !s.Heard(now) {
		s.since = now
	}
	s.mark, s.view, s.heard = d.Mark, d, now
	if d.Echo.Boot == s.boot {
		s.echo = max(s.echo, d.Echo.Sequence)
	}
	if fresh {
		s.fresh = now
	}
	return true
}

// candidate notes a boot that is to be answered: one that is now will echo the answer.
func (s *Session) candidate(m Mark) {
	s.candidates = slices.DeleteFunc(s.candidates, func(c Mark) bool { return c.Boot == m.Boot })
	if len(s.candidates) >= maxCandidates {
		s.candidates = s.candidates[1:]
	}
	s.candidates = append(s.candidates, m)
}

// Heard reports whether the peer was heard on any path within Dead.
func (s *Session) Heard(now time.Time) bool { return !s.heard.IsZero() && now.Sub(s.heard) < Dead }

// LastHeard gives when the peer was heard last; zero: never.
func (s *Session) LastHeard() time.Time { return s.heard }

// Alive reports whether it is heard, and hears this node.
func (s *Session) Alive(now time.Time) bool {
	return s.Heard(now) && !s.fresh.IsZero() && now.Sub(s.fresh) < Dead
}

// Known reports whether it was ever alive.
func (s *Session) Known() bool { return !s.fresh.IsZero() }

// PathHeard reports whether the peer was heard on one path within Dead.
func (s *Session) PathHeard(now time.Time, number int) bool {
	return number >= 0 && number < len(s.paths) && s.age(now, s.paths[number]) < Dead
}

// PeerHears reports whether the peer says that it hears this node on one path.
func (s *Session) PeerHears(number int) bool {
	return slices.ContainsFunc(s.view.Paths, func(p Path) bool { return int(p.Number) == number && p.Age < Dead })
}

// Deaf reports whether the paths of one link are silent both ways while the peer is alive on another one (FAILOVER.md, safety 7). Which of the
// two nodes has lost the link it does not tell.
func (s *Session) Deaf(now time.Time, link []int) bool {
	if len(link) == 0 || !s.Alive(now) {
		return false
	}
	return !slices.ContainsFunc(link, func(n int) bool { return s.PathHeard(now, n) || s.PeerHears(n) })
}

// Peer gives what is known of the peer and of one of its groups.
func (s *Session) Peer(now time.Time, id GroupID) Peer {
	p := Peer{
		Alive: s.Alive(now), Heard: s.heard, Since: s.since, Echo: s.echo, Tick: s.view.Tick, Restarting: s.view.Restarting, Sent: s.sent,
		FirstOnTie: slices.Compare(s.own[:], s.view.Sender[:]) < 0, Mark: s.mark,
	}
	if i := slices.IndexFunc(s.view.Groups, func(g Group) bool { return g.ID == id }); i >= 0 {
		p.Present, p.Group = true, s.view.Groups[i]
	}
	return p
}
