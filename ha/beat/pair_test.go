package beat

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"
)

// The model's figures. A kernel keeps a lease so long after its last refresh, at most (lease.md); the loop turns so often.
const (
	modelTurn    = 5 * time.Millisecond
	modelRefresh = 250 * time.Millisecond
	modelLease   = 2322 * time.Millisecond
	modelProbe   = 50 * time.Millisecond // a promote asks whether somebody has the addresses
	modelWord    = 50 * time.Millisecond // until a change of role is known to the other: two turns, and what a heartbeat may be under way
)

var group = GroupOf("web")

// model is two nodes on virtual time, joined by two paths.
type model struct {
	t     testing.TB
	now   time.Time
	nodes [2]*modelNode
	loss  [2][2]bool // whether what a node sends on a path is lost
	delay func() time.Duration
	air   []flight
	dual  time.Duration // how long both had the address
	blind time.Duration // how much of it while neither could hear the other, or so shortly after that nobody could know
	heal  time.Time     // when they last could not
	mute  time.Time     // when one that is not heard, or only just again, last stood still with the address
	late  time.Time     // when one that was not heard as the other decided to take over was last about to be told
	lost  [2]time.Time  // when what a node says last got nowhere
	none  time.Duration // how long nobody had it, since it was last had
	log   []string
}

type flight struct {
	to, path int
	at       time.Time
	bytes    []byte
}

type modelNode struct {
	s        *Session
	e        *Elector
	role     Role
	ready    time.Time // of a promote
	unfit    bool
	lease    time.Time
	refresh  time.Time
	beat     time.Time
	dirty    bool
	down     bool // no program runs
	hung     bool
	restarts time.Time // when a program comes back; zero: it does not
	skew     uint8
	causes   []Cause
}

func newModel(t testing.TB, skews [2]uint8) *model {
	m := &model{t: t, now: time.Unix(1000, 0), delay: func() time.Duration { return 0 }}
	for i := range m.nodes {
		m.nodes[i] = &modelNode{skew: skews[i]}
		m.boot(i)
	}
	return m
}

func (m *model) boot(i int) {
	n := m.nodes[i]
	n.s = NewSession(IDOf([]byte{byte(i)}), Boot{byte(i + 1)}, 2)
	n.e = NewElector(n.skew, m.now)
	n.role, n.down, n.hung, n.lease, n.restarts, n.dirty = Starting, false, false, time.Time{}, time.Time{}, true
}

func (m *model) has(i int) bool { return m.now.Before(m.nodes[i].lease) }

// run lets time pass.
func (m *model) run(d time.Duration) {
	for end := m.now.Add(d); m.now.Before(end); m.now = m.now.Add(modelTurn) {
		var still []flight
		for _, f := range m.air {
			if f.at.After(m.now) {
				still = append(still, f)
				continue
			}
			if n := m.nodes[f.to]; !n.down { // one that hangs has it in its socket
				d, err := Parse(f.bytes, testKey)
				if err != nil {
					m.t.Fatal(err)
				}
				if n.hung {
					f.at = m.now.Add(modelTurn)
					still = append(still, f)
					continue
				}
				n.s.Receive(m.now, d, f.path)
			}
		}
		m.air = still
		for i := range m.nodes {
			m.turn(i)
		}
		m.watch()
	}
}

func (m *model) watch() {
	cut := func(i int) bool { return m.loss[i][0] && m.loss[i][1] }
	if cut(0) && cut(1) {
		m.heal = m.now
	}
	for i, n := range m.nodes {
		if cut(i) {
			m.lost[i] = m.now
		}
		if (cut(i) || m.now.Sub(m.heal) < Fresh+Dead) && m.has(i) && (n.hung || n.down) { // the lease of a node that stopped unheard ends when nobody can know
			m.mute = m.now
		}
		// A one-way cut that ends while the other one probes: it takes the address, and until its word of that is there both have it. That is the
		// bound of any one-way cut.
		if o := m.nodes[1-i]; m.now.Sub(m.lost[i]) <= modelProbe+modelWord && o.role == Active && m.now.Sub(o.ready) <= modelWord {
			m.late = m.now
		}
	}
	if m.has(0) && m.has(1) {
		m.dual += modelTurn
		if m.now.Sub(m.heal) < Fresh+Dead || m.late.Equal(m.now) || m.now.Sub(m.mute) < modelLease {
			m.blind += modelTurn
		}
	}
	if m.none += modelTurn; m.has(0) || m.has(1) {
		m.none = 0
	}
}

func (m *model) turn(i int) {
	n := m.nodes[i]
	if n.down && !n.restarts.IsZero() && !m.now.Before(n.restarts) {
		m.boot(i)
	}
	if n.down || n.hung {
		return
	}
	if n.role == Active && !m.now.Before(n.refresh) {
		if !m.has(i) { // it stood still for longer than the lease lasts
			n.role = Standby
		} else {
			n.lease, n.refresh = m.now.Add(modelLease), m.now.Add(modelRefresh)
		}
	}
	switch {
	case n.unfit && n.role == Active:
		m.release(i)
		n.role = Waiting
	case n.unfit && (n.role == Standby || n.role == Starting):
		n.role = Waiting
	case n.role == Starting || n.role == Waiting && !n.unfit:
		n.role = Standby
	case n.role == Promoting && n.unfit:
		n.role = Waiting
	case n.role == Promoting && !m.now.Before(n.ready):
		n.role, n.dirty = Active, true
		n.lease, n.refresh = m.now.Add(modelLease), m.now.Add(modelRefresh)
	}
	m.judge(i)
	if before := n.role; n.dirty || !m.now.Before(n.beat) || before != n.role {
		n.beat, n.dirty = m.now.Add(Interval), false
		for path := range 2 {
			d := n.s.Compose(m.now, path)
			d.Groups = []Group{n.e.Report(group, n.role, 0, false)}
			if !m.loss[i][path] {
				m.air = append(m.air, flight{1 - i, path, m.now.Add(m.delay()), d.Append(nil, testKey)})
			}
		}
	}
}

func (m *model) judge(i int) {
	n := m.nodes[i]
	if !n.s.Known() { // CARP decides
		return
	}
	before := n.role
	v := n.e.Step(m.now, n.role, n.s.Peer(m.now, group))
	switch {
	case v.Elected != nil:
		if n.role != Standby {
			m.t.Fatalf("elected as %v", n.role)
		}
		n.role, n.ready = Promoting, m.now.Add(m.delay())
		if *v.Elected == Silence {
			n.ready = m.now.Add(modelProbe)
		}
		n.causes = append(n.causes, *v.Elected)
		m.note("%d elected: %v", i, *v.Elected)
	case v.Deposed != "":
		n.role, n.lease = Standby, time.Time{}
		m.note("%d deposed: %s", i, v.Deposed)
	}
	if n.role != before {
		n.dirty = true
		n.e.Step(m.now, n.role, n.s.Peer(m.now, group))
	}
}

func (m *model) note(format string, args ...any) {
	m.log = append(m.log, fmt.Sprintf("%v ", m.now.Sub(time.Unix(1000, 0)))+fmt.Sprintf(format, args...))
}

// release is a hand-over.
func (m *model) release(i int) {
	n := m.nodes[i]
	if n.role != Active {
		return
	}
	m.note("%d releases", i)
	n.role, n.lease, n.dirty = Standby, time.Time{}, true
	n.e.Release(m.now)
}

func (m *model) cut(from int, on bool) {
	m.note("%d is not heard: %v", from, on)
	m.loss[from] = [2]bool{on, on}
}

// one waits for the moment in which one node is active and the other knows.
func (m *model) settled(within time.Duration) int {
	m.t.Helper()
	for end := m.now.Add(within); m.now.Before(end); m.run(modelTurn) {
		if a, b := m.nodes[0].role, m.nodes[1].role; (a == Active) != (b == Active) && a != Promoting && b != Promoting && a != Starting && b != Starting {
			if a == Active {
				return 0
			}
			return 1
		}
	}
	m.t.Fatalf("%v and %v\n%v", m.nodes[0].role, m.nodes[1].role, m.log)
	return -1
}

// The cases are those of facts/ha.md, section 3.
func TestPair(t *testing.T) {
	for name, f := range map[string]func(*testing.T, *model){
		"17: both boot at once": func(t *testing.T, m *model) {
			if got := m.settled(time.Second); got != 0 || m.nodes[0].causes[0] != Lot || len(m.nodes[1].causes) != 0 {
				t.Errorf("node %d is active by %v and %v", got, m.nodes[0].causes, m.nodes[1].causes)
			}
		},
		"crash: the lease ends first": func(t *testing.T, m *model) {
			m.settled(time.Second)
			m.run(time.Second)
			m.nodes[0].down = true
			for m.nodes[1].role != Active {
				m.run(modelTurn)
			}
			if took := m.now.Sub(m.nodes[1].s.heard); took < Dead+LeaseBound || took > Dead+LeaseBound+modelProbe+4*modelTurn {
				t.Errorf("active %v after the last heartbeat", took)
			}
		},
		"hang: what thaws finds that it is over": func(t *testing.T, m *model) {
			m.settled(time.Second)
			m.nodes[0].hung = true
			m.run(5 * time.Second)
			m.nodes[0].hung = false
			m.run(5 * time.Second)
			if got := m.settled(time.Second); got != 1 || len(m.nodes[1].causes) != 1 || m.nodes[1].causes[0] != Silence {
				t.Errorf("node %d, elected by %v", got, m.nodes[1].causes)
			}
		},
		"hand-over: gone and there within two turns": func(t *testing.T, m *model) {
			m.settled(time.Second)
			m.run(time.Second)
			m.release(0)
			before := m.now
			for m.nodes[1].role != Active {
				m.run(modelTurn)
			}
			if took := m.now.Sub(before); took > 4*modelTurn {
				t.Errorf("it took %v", took)
			}
			m.run(time.Second)
			if c := m.nodes[1].causes; len(c) != 1 || c[0] != HandedOver || m.nodes[0].role != Standby || m.nodes[0].e.released != 0 {
				t.Errorf("taken by %v; the other is %v", c, m.nodes[0].role)
			}
		},
		"hand-over that is declined comes back": func(t *testing.T, m *model) {
			m.nodes[1].unfit = true
			m.settled(time.Second)
			m.run(time.Second)
			m.release(0)
			m.run(300 * time.Millisecond)
			if c := m.nodes[0].causes; m.nodes[0].role != Active || len(c) != 2 || c[1] != Declined {
				t.Errorf("%v by %v", m.nodes[0].role, c)
			}
		},
		"a peer that cannot serve is relieved": func(t *testing.T, m *model) {
			m.settled(time.Second)
			m.nodes[0].unfit = true
			m.run(time.Second)
			if m.nodes[1].role != Active {
				t.Errorf("%v", m.nodes[1].role)
			}
		},
		"5: asymmetric partition, the one that is not heard yields": func(t *testing.T, m *model) {
			m.settled(time.Second)
			m.run(time.Second)
			m.cut(0, true)
			m.run(5 * time.Second)
			if m.dual > 50*time.Millisecond {
				t.Errorf("both for %v", m.dual)
			}
			m.dual = 0
			if m.nodes[0].role != Standby || m.nodes[1].role != Active {
				t.Errorf("%v, %v", m.nodes[0].role, m.nodes[1].role)
			}
			m.cut(0, false)
			m.run(5 * time.Second)
			if m.settled(time.Second) != 1 {
				t.Error("it moved again")
			}
		},
		"full partition and heal: the one that goes first stays": func(t *testing.T, m *model) {
			m.settled(time.Second)
			m.cut(0, true)
			m.cut(1, true)
			m.run(5 * time.Second)
			m.cut(0, false)
			m.cut(1, false)
			m.run(600 * time.Millisecond)
			if m.nodes[0].role != Active || m.nodes[1].role != Standby {
				t.Errorf("%v, %v", m.nodes[0].role, m.nodes[1].role)
			}
			m.dual -= m.blind
		},
		"one path alive is alive": func(t *testing.T, m *model) {
			m.settled(time.Second)
			m.run(time.Second)
			m.loss[0][0], m.loss[1][0] = true, true
			m.run(10 * time.Second)
			if m.settled(time.Second) != 0 || len(m.nodes[1].causes) != 0 {
				t.Error("it moved")
			}
			if s := m.nodes[1].s; !s.Deaf(m.now, []int{0}) || s.Deaf(m.now, []int{1}) || s.Deaf(m.now, nil) {
				t.Error("not deaf where it is")
			}
		},
		"a program that comes back at once": func(t *testing.T, m *model) {
			m.settled(time.Second)
			m.run(time.Second)
			m.nodes[0].down, m.nodes[0].lease = true, time.Time{}
			m.nodes[0].restarts = m.now.Add(700 * time.Millisecond)
			m.run(1500 * time.Millisecond)
			if m.settled(time.Second) != 0 {
				t.Error("it waits for nothing")
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			m := newModel(t, [2]uint8{0, 100})
			f(t, m)
			if m.dual != 0 {
				t.Errorf("both for %v\n%v", m.dual, m.log)
			}
		})
	}
}

// Whatever happens, both have the address only while neither can hear the other, and when all is well again one has it. Each seed is one story.
func TestPairNeverBoth(t *testing.T) {
	for seed := range uint64(30) {
		tell(t, seed)
	}
}

func tell(t *testing.T, seed uint64) {
	random := rand.New(rand.NewPCG(seed, 1))
	m := newModel(t, [2]uint8{uint8(random.IntN(2)), 0})
	m.delay = func() time.Duration { return time.Duration(random.IntN(30)) * time.Millisecond }
	for range 1 + random.IntN(12) {
		i := random.IntN(2)
		n := m.nodes[i]
		act := []string{"release", "cut", "join", "path", "die", "hang", "thaw", "unfit", "fit"}[random.IntN(9)]
		m.note("%s %d", act, i)
		switch act {
		case "release":
			if !n.down && !n.hung {
				m.release(i)
			}
		case "cut", "join":
			m.cut(i, act == "cut")
		case "path":
			m.loss[i] = [2]bool{random.IntN(2) == 0, random.IntN(2) == 0}
		case "die":
			if !n.down {
				n.down, n.restarts = true, m.now.Add(time.Duration(100+random.IntN(4900))*time.Millisecond)
			}
		case "hang", "thaw":
			n.hung = act == "hang"
		case "unfit", "fit":
			n.unfit = act == "unfit"
		}
		m.run(time.Duration(random.IntN(4000)) * time.Millisecond)
	}
	if m.dual > m.blind {
		t.Fatalf("seed %d: both for %v, of which %v unseen\n%v", seed, m.dual, m.blind, m.log)
	}
	for i, n := range m.nodes {
		n.unfit, n.hung = false, false
		m.loss[i] = [2]bool{}
		if n.down {
			n.restarts = m.now
		}
	}
	m.run(6 * time.Second)
	if m.none > 0 {
		t.Fatalf("seed %d: nobody has it: %v, %v\n%v", seed, m.nodes[0].role, m.nodes[1].role, m.log)
	}
	m.dual, m.blind = 0, 0
	who := m.settled(time.Second)
	m.run(2 * time.Second)
	if m.settled(time.Second) != who || m.dual != 0 {
		t.Fatalf("seed %d: it does not come to rest: %v\n%v", seed, m.dual, m.log)
	}
}

// The node that goes first becomes fit at the very moment in which the other one takes the group because it is not: what it knows of the other is
// older than that.
func TestPairFitAgainAtTheWrongMoment(t *testing.T) {
	for seed := range uint64(5) {
		for at := time.Duration(0); at < 600*time.Millisecond; at += modelTurn {
			random := rand.New(rand.NewPCG(seed, uint64(at)))
			m := newModel(t, [2]uint8{0, 100})
			m.delay = func() time.Duration { return time.Duration(random.IntN(30)) * time.Millisecond }
			m.nodes[0].unfit = true
			m.run(at)
			m.nodes[0].unfit = false
			m.run(2 * time.Second)
			if m.settled(time.Second); m.dual != 0 {
				t.Fatalf("seed %d, fit after %v: both for %v\n%v", seed, at, m.dual, m.log)
			}
		}
	}
}
