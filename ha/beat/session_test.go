package beat

import (
	"testing"
	"time"
)

// talk is two sessions, the second of a node whose datagrams somebody records.
type talk struct {
	now      time.Time
	a, b     *Session
	recorded []Datagram
}

func newTalk() *talk {
	t := &talk{now: time.Unix(5000, 0), a: NewSession(NodeID{1}, Boot{1}, 2), b: NewSession(NodeID{2}, Boot{2}, 2)}
	t.exchange(5)
	return t
}

// exchange lets both send so often on path 0, and a on both.
func (t *talk) exchange(times int) {
	for range times {
		t.now = t.now.Add(Interval)
		t.b.Receive(t.now, t.a.Compose(t.now, 0), 0)
		d := t.b.Compose(t.now, 0)
		t.recorded = append(t.recorded, d)
		t.a.Receive(t.now, d, 0)
	}
}

// Facts section 3, case 10: what somebody has recorded changes nothing, in this boot or after another.
func TestSessionReplay(t *testing.T) {
	k := newTalk()
	if !k.a.Alive(k.now) || !k.b.Alive(k.now) {
		t.Fatal("they do not hear each other")
	}
	for _, d := range k.recorded {
		if k.a.Receive(k.now, d, 0) {
			t.Fatalf("a replay within the boot was news: %+v", d)
		}
	}
	old := k.recorded
	k.now = k.now.Add(Dead)
	for _, d := range old {
		k.a.Receive(k.now, d, 0)
	}
	if k.a.Heard(k.now) || k.a.PathHeard(k.now, 0) {
		t.Error("replays keep a silent peer alive")
	}
	k.b = NewSession(NodeID{2}, Boot{3}, 2) // it boots again
	k.now = k.now.Add(20 * time.Second)
	k.exchange(10)
	if !k.a.Alive(k.now) || k.a.mark.Boot != (Boot{3}) {
		t.Fatal("a peer that has booted again is not known")
	}
	for _, d := range old {
		if k.a.Receive(k.now, d, 0) || k.a.mark.Boot != (Boot{3}) {
			t.Fatalf("a replay of another boot was news: %+v", d)
		}
	}
}

// A stranger who repeats what the boots before have said does not keep a peer out that has just booted.
func TestSessionReplaysDoNotKeepThePeerOut(t *testing.T) {
	k := newTalk()
	old := k.recorded
	k.now = k.now.Add(time.Minute)
	k.a, k.b = NewSession(NodeID{1}, Boot{4}, 2), NewSession(NodeID{2}, Boot{5}, 2)
	for n := 0; !k.a.Alive(k.now) || !k.b.Alive(k.now); n++ {
		if n > 20 {
			t.Fatal("they have not met after 2 s")
		}
		for _, d := range old {
			k.a.Receive(k.now, d, 0)
		}
		k.exchange(1)
		for _, d := range old {
			k.a.Receive(k.now, d, 0)
		}
	}
}

func TestSessionRefuses(t *testing.T) {
	k := newTalk()
	good := k.b.Compose(k.now, 0)
	future := good
	future.Echo.Sequence = SequenceOf(k.now.Add(time.Hour))
	if k.a.Receive(k.now, future, 0) {
		t.Error("an echo of what nobody has sent was news")
	}
	if !k.a.Receive(k.now, good, 7) {
		t.Error("a way that is in no file is none")
	}
	if k.a.Receive(k.now, good, 0) {
		t.Error("the same a second time was news")
	}
}

// A node that hears and is not heard knows it: the echo gets old.
func TestSessionIsNotHeard(t *testing.T) {
	k := newTalk()
	for range 15 {
		k.now = k.now.Add(Interval)
		k.a.Compose(k.now, 0)
		k.a.Receive(k.now, k.b.Compose(k.now, 0), 0)
	}
	if !k.a.Heard(k.now) || k.a.Alive(k.now) {
		t.Errorf("heard %v, alive %v", k.a.Heard(k.now), k.a.Alive(k.now))
	}
}

// A program that takes another one over in place begins a new session on the same boot; the peer sees nothing of it.
func TestSessionGoesOnAfterAnExec(t *testing.T) {
	k := newTalk()
	k.b = NewSession(NodeID{2}, Boot{2}, 2)
	k.exchange(3)
	if !k.a.Alive(k.now) || !k.b.Alive(k.now) || k.a.since != time.Unix(5000, 0).Add(2*Interval) {
		t.Errorf("alive %v and %v, heard since %v", k.a.Alive(k.now), k.b.Alive(k.now), k.a.since)
	}
}

// FAILOVER.md, safety 6: last heard, the dead interval, and as long as its kernel may keep the addresses.
func TestHowLongSilenceIsWaitedFor(t *testing.T) {
	t0 := time.Unix(1000, 0)
	for want, p := range map[time.Duration]Peer{
		Dead + LeaseBound:                     {},
		Dead + LeaseBoundTick:                 {Tick: true},
		Dead + LeaseBound + 5*time.Second:     {Longer: 5 * time.Second},
		Dead + LeaseBoundTick + 2*time.Second: {Tick: true, Longer: 2 * time.Second},
		Dead + LeaseBound + restartGrace:      {Restarting: true},
	} {
		e := NewElector(0, t0)
		p.Heard = t0.Add(time.Minute)
		if got := e.due(p).Sub(p.Heard); got != want {
			t.Errorf("%+v: %v, want %v", p, got, want)
		}
	}
}
