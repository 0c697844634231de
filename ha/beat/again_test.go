package beat

import (
	"testing"
	"time"
)

// TestAfterAPartitionTheNetworkIsToldAgain has an active node hear its peer again: as active, as one that lets go already, or as one that did so
// before a word of it came. Each time somebody may have the peer's MAC for the address.
func TestAfterAPartitionTheNetworkIsToldAgain(t *testing.T) {
	for _, role := range []Role{Active, Demoting, Standby} {
		now := time.Unix(1000, 0)
		e := NewElector(0, now)
		step := func(p Peer) Verdict {
			now = now.Add(Interval)
			p.Present = true
			if p.Alive {
				p.Heard = now
			}
			return e.Step(now, Active, p)
		}
		standby, back := Peer{Alive: true, Group: Group{Role: Standby, Skew: 100}}, Peer{Alive: true, Group: Group{Role: role, Skew: 100}}
		for range 2 {
			if v := step(standby); v.Again {
				t.Errorf("%v: told again though nothing has happened: %+v", role, v)
			}
		}
		if v := step(Peer{Heard: now.Add(-Dead)}); v.Again || v.Deposed != "" {
			t.Errorf("%v: when the peer falls silent: %+v", role, v)
		}
		if v := step(back); !v.Again || v.Deposed != "" {
			t.Errorf("%v: when it is heard again: %+v", role, v)
		}
		if step(standby); step(standby).Again {
			t.Errorf("%v: it does not end", role)
		}
	}
}

// TestWhoWentOnAloneWithTheStorageStays has a peer with the better skew thaw, active: it cannot know yet that it has no right to the disks any more.
func TestWhoWentOnAloneWithTheStorageStays(t *testing.T) {
	for _, behind := range []bool{true, false} {
		now := time.Unix(1000, 0)
		e := NewElector(100, now)
		thawed := Peer{Alive: true, Present: true, Behind: behind, Group: Group{Role: Active}}
		step := func(p Peer) Verdict {
			now = now.Add(Interval)
			p.Heard = now
			return e.Step(now, Active, p)
		}
		deaf := thawed
		deaf.Alive = false
		deaf.Since = now.Add(-time.Second)
		for _, p := range []Peer{thawed, deaf} {
			if v := step(p); (v.Deposed == "") != behind {
				t.Errorf("behind %v: %+v", behind, v)
			}
		}
		if !behind {
			continue
		}
		step(thawed)
		standby := thawed
		standby.Group.Role = Standby
		if v := step(standby); !v.Again {
			t.Errorf("it has let go, and nobody is told whose the address is: %+v", v)
		}
	}
}
