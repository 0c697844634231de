package link

import (
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

var carrierDefaults = CarrierConfig{UpDelay: 2 * time.Second, DownDelay: 100 * time.Millisecond, HoldMin: time.Second, HoldMax: 300 * time.Second}

// change is what the kernel says, and when.
type change struct {
	at time.Duration
	up bool
}

// drive runs a link that starts up, and gives when what counts changed.
func drive(c *Carrier, changes []change, until time.Duration) (told []change) {
	step := func(at time.Duration, up bool) {
		if c.Step(epoch.Add(at), up) {
			told = append(told, change{at, c.Up()})
		}
	}
	for i, ch := range append(changes, change{until, false}) {
		raw := true
		if i > 0 {
			raw = changes[i-1].up
		}
		for next := c.Next(); !next.IsZero() && next.Before(epoch.Add(ch.at)); next = c.Next() {
			step(next.Sub(epoch), raw)
		}
		if i < len(changes) {
			step(ch.at, ch.up)
		}
	}
	return told
}

func (c change) String() string {
	if c.up {
		return c.at.String() + " up"
	}
	return c.at.String() + " down"
}

func TestCarrier(t *testing.T) {
	s := time.Second
	for _, tt := range []struct {
		name    string
		changes []change
		want    string
	}{
		{"a link that stays", nil, ""},
		{"a loss of 50 ms is not told", []change{{s, false}, {s + 50*time.Millisecond, true}}, ""},
		{"a loss", []change{{s, false}}, "1.1s down"},
		{"a loss of a second", []change{{s, false}, {2 * s, true}}, "1.1s down, 4s up"},
		{"a third loss waits for 4 s", []change{{s, false}, {2 * s, true}, {5 * s, false}, {6 * s, true}, {9 * s, false}, {10 * s, true}},
			"1.1s down, 4s up, 5.1s down, 8s up, 9.1s down, 14s up"},
		{"losses that nobody was told of count", []change{{s, false}, {s + 1, true}, {s + 2, false}, {s + 3, true}, {3 * s, false}, {4 * s, true}},
			"3.1s down, 8s up"},
		{"ucarp's case: 0.3 s × 8 (facts 1.7: 4 and 3 transitions)", flaps(8, 300*time.Millisecond, 300*time.Millisecond), "100ms down, 2m12.5s up"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var got []string
			for _, c := range drive(NewCarrier(carrierDefaults, epoch, true), tt.changes, time.Hour) {
				got = append(got, c.String())
			}
			if strings.Join(got, ", ") != tt.want {
				t.Errorf("%q, want %q", strings.Join(got, ", "), tt.want)
			}
		})
	}
}

func TestCarrierForgivesALinkThatStayedUp(t *testing.T) {
	c := NewCarrier(carrierDefaults, epoch, true)
	drive(c, flaps(20, time.Second, time.Second), 20*time.Minute)
	if !c.Step(epoch.Add(21*time.Minute), true) && c.Hold() != carrierDefaults.UpDelay {
		t.Errorf("it has to stay up for %v, want %v", c.Hold(), carrierDefaults.UpDelay)
	}
}

// flaps are n losses.
func flaps(n int, down, up time.Duration) (all []change) {
	at := time.Duration(0)
	for range n {
		all = append(all, change{at, false}, change{at + down, true})
		at += down + up
	}
	return all
}

// A link that is never up for as long as it must be, whatever it does else, goes down once and comes back once, when it has become quiet: facts
// section 3, case 7.
func TestCase7AFlapTrainOfTenMinutesIsTwoTransitions(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := NewCarrier(carrierDefaults, epoch, true)
		var all []change
		for at := time.Duration(0); at < 10*time.Minute; {
			down := time.Duration(rapid.IntRange(1, 30_000).Draw(t, "down")) * time.Millisecond
			up := time.Duration(rapid.IntRange(1, 1999).Draw(t, "up")) * time.Millisecond
			all = append(all, change{at, false}, change{at + down, true})
			at += down + up
		}
		if told := drive(c, all, time.Hour); len(told) > 2 || !c.Up() {
			t.Fatalf("told %v", told)
		}
	})
}

// Whatever a link does in ten minutes, each return costs twice the time of the last one: there is room for no more than nine.
func TestCase7AnyTenMinutes(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := NewCarrier(carrierDefaults, epoch, true)
		var all []change
		for at := time.Duration(0); at < 10*time.Minute; {
			down := time.Duration(rapid.IntRange(1, 5000).Draw(t, "down")) * time.Millisecond
			up := time.Duration(rapid.IntRange(1, 90_000).Draw(t, "up")) * time.Millisecond
			all = append(all, change{at, false}, change{at + down, true})
			at += down + up
		}
		ups := 0
		for _, x := range drive(c, all, time.Hour) {
			if x.up && x.at < 10*time.Minute {
				ups++
			}
		}
		if ups > 9 {
			t.Fatalf("%d returns within 10 minutes", ups)
		}
	})
}
