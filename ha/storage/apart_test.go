package storage

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"kvmctl/ha/drbd"
	"kvmctl/ha/failover"
)

func TestJoin(t *testing.T) {
	split := func(here, there, changed uint64, primary bool) Parted {
		return Parted{Cause: drbd.SplitBrain, Here: here, There: there, Changed: changed, Counted: true, Primary: primary}
	}
	of := func(p Parted) *Parted { return &p }
	for _, tt := range []struct {
		name       string
		own        Parted
		other      *Parted
		peerActive bool
		want       joining
	}{
		{"an admin's disconnect is left alone", Parted{Cause: drbd.ByAdmin}, of(Parted{Cause: drbd.ByAdmin}), false, joinNot},
		{"so is a wrong secret", Parted{Cause: drbd.WrongSecret}, of(Parted{Cause: drbd.WrongSecret}), false, joinNot},
		{"and what nobody knows", Parted{}, nil, false, joinNot},
		{"both were primary, and one still is", Parted{Cause: drbd.TwoPrimaries, Primary: true}, nil, false, joinPlain},
		{"both were primary, and are", Parted{Cause: drbd.TwoPrimaries, Primary: true}, nil, true, joinNot},
		{"split, the peer says nothing", split(0, 8, 0, false), nil, false, joinNot},
		{"split, nothing changed here", split(0, 8, 0, false), of(split(8, 0, 12, true)), true, joinDiscard},
		{"split, nothing changed there", split(8, 0, 12, true), of(split(0, 8, 0, false)), false, joinPlain},
		{"split, something was written after they met", split(0, 8, 4, false), of(split(8, 0, 12, true)), true, joinNot},
		{"split, the peer knows of changes here", split(0, 8, 0, false), of(split(8, 4, 12, true)), true, joinNot},
		{"split, this one still writes", split(0, 8, 0, true), of(split(8, 0, 8, false)), false, joinNot},
		{"split, nobody knows what changed since", Parted{Cause: drbd.SplitBrain, There: 8}, of(split(8, 0, 12, true)), true, joinNot},
		{"split, both changed", split(4, 8, 4, false), of(split(8, 4, 8, true)), true, joinNot},
		{"split, neither changed", split(0, 0, 0, false), of(split(0, 0, 0, false)), false, joinNot},
	} {
		if got := join(tt.own, tt.other, tt.peerActive); got != tt.want {
			t.Errorf("%s: %d, want %d", tt.name, got, tt.want)
		}
	}
}

// part has both nodes StandAlone.
func (l *lab) part(causes [2]drbd.Apart, changed [2]uint64) {
	l.set(func() {
		for i, n := range l.nodes {
			n.alone, n.apart, n.changed = true, causes[i], changed[i]
		}
	})
}

// A resource that is StandAlone for a moment is told to nobody; then why is, and what a person may type.
func TestWhyItIsStandAlone(t *testing.T) {
	for cause, want := range map[drbd.Cause]failover.Apart{
		drbd.ByAdmin: failover.ApartAdmin, drbd.WrongSecret: failover.ApartSecret, drbd.SplitBrain: failover.ApartSplit, drbd.Unrelated: failover.ApartUnclear, drbd.OtherSettings: failover.ApartSettings,
	} {
		synctest.Test(t, func(t *testing.T) {
			l := newLab(t, "varda2")
			a := drbd.Apart{Cause: cause, Met: 1, Here: 8, There: 12, Said: "words"}
			l.part([2]drbd.Apart{a, a}, [2]uint64{8, 12})
			if time.Sleep(time.Second); l.nodes[0].diskNow().Apart != failover.Together {
				t.Errorf("%v: told at once: %v", cause, l.nodes[0].diskNow())
			}
			time.Sleep(4 * time.Second)
			d := l.nodes[0].diskNow()
			if d.Apart != want || cause == drbd.SplitBrain && !strings.Contains(d.Why, "8 KiB had changed here and 12 KiB at vm-varda") {
				t.Errorf("%v: %v", cause, d)
			}
			if time.Sleep(time.Minute); l.nodes[0].howJoined()+l.nodes[1].howJoined() != "" {
				t.Errorf("%v: connects by itself", cause)
			}
			if l.set(func() { l.nodes[0].alone, l.nodes[1].alone = false, false }); true {
				synctest.Wait()
			}
			if d := l.nodes[0].diskNow(); d.Apart != failover.Together {
				t.Errorf("%v: still %v", cause, d)
			}
		})
	}
}

// Whoever changed nothing takes what the other one has, without a person.
func TestASideThatChangedNothingRecoversByItself(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab(t, "varda2")
		if err := primary(t, l.nodes[0], time.Second); err != nil {
			t.Fatal(err)
		}
		l.part([2]drbd.Apart{{Cause: drbd.SplitBrain, Met: 1, Here: 40}, {Cause: drbd.SplitBrain, Met: 1, There: 40}}, [2]uint64{40, 0})
		time.Sleep(10 * time.Second)
		if a, b := l.nodes[0].howJoined(), l.nodes[1].howJoined(); a != "plain" || b != "discard" {
			t.Errorf("the one that wrote connects %q, the other one %q", a, b)
		}
	})
}
