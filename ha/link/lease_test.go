package link

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"pgregory.net/rapid"
)

var (
	epoch = time.Unix(1000, 0)
	vip   = netip.MustParseAddr("10.77.0.240")
)

func heldAt(since time.Duration) Held {
	return Held{"eth0", 2, vip, 100, epoch.Add(since), time.Second}
}

func TestTermsFor(t *testing.T) {
	for n, want := range map[int]Terms{
		0: {time.Second, 250 * time.Millisecond}, 32: {time.Second, 250 * time.Millisecond}, 33: {2 * time.Second, time.Second},
	} {
		if got := TermsFor(n); got != want {
			t.Errorf("%d addresses: %v, want %v", n, got, want)
		}
	}
}

// The terms of many addresses must leave the loop no less time to be late in than those of few, in which nothing was ever lost (lease.md: 16 busy
// loops, longest turn 0.419 s).
func TestTermsLeaveSlack(t *testing.T) {
	few, many := TermsFor(1), TermsFor(200)
	if a, b := few.Lifetime-few.Every, many.Lifetime-many.Every; b < a {
		t.Errorf("few have %v, many %v", a, b)
	}
}

func TestNextRefresh(t *testing.T) {
	ms := func(n int) time.Time { return epoch.Add(time.Duration(n) * time.Millisecond) }
	held := func(n, since int, lifetime time.Duration) Held {
		return Held{"eth0", 2, netip.AddrFrom4([4]byte{10, 78, 0, byte(n)}), 100, ms(since), lifetime}
	}
	answer := func(h Held) Answer { return Answer{Index: h.Index, Addr: h.Addr, Born: h.Born} }
	var b Book
	want := func(what string, n int) {
		t.Helper()
		if got := b.Next().Sub(epoch); got != time.Duration(n)*time.Millisecond {
			t.Errorf("%s: next at %v, want %d ms", what, got, n)
		}
	}
	if !b.Next().IsZero() {
		t.Error("nothing is held, yet something is due")
	}
	for n := range 32 {
		b.Add(held(n, n, time.Second))
	}
	want("few", 250)
	b.Add(held(32, 32, 2*time.Second))
	want("the thirty-third does not put off those that have a second only", 250)
	all, terms, _ := b.Plan(ms(250))
	var answers []Answer
	for _, h := range all {
		answers = append(answers, answer(h))
	}
	b.Answered(ms(250), ms(251), terms, answers)
	want("many, all refreshed", 1250)
	all, terms, _ = b.Plan(ms(1250))
	b.Answered(ms(1250), ms(1251), terms, answers[1:])
	want("one was not reached: again soon", 1500)
	_, terms, _ = b.Plan(ms(1500))
	b.Answered(ms(1500), ms(1501), terms, nil)
	want("nor then", 1750)
	_, terms, _ = b.Plan(ms(1750))
	b.Answered(ms(1750), ms(1751), terms, answers)
	want("reached", 2750)
	for n := range 33 {
		b.Drop(2, held(n, 0, 0).Addr)
	}
	if !b.Next().IsZero() || len(all) != 33 {
		t.Errorf("%v", b.Next())
	}
}

func TestBook(t *testing.T) {
	ms := func(n int) time.Time { return epoch.Add(time.Duration(n) * time.Millisecond) }
	same := Answer{Index: 2, Addr: vip, Born: 100}
	anew := Answer{Index: 2, Addr: vip, Born: 175}
	for _, tt := range []struct {
		name          string
		before, after int // ms since the last refresh
		answers       []Answer
		lost, strays  string
		refreshed     bool // that it was asked for
	}{
		{"refreshed in time", 250, 251, []Answer{same}, "[]", "[]", true},
		{"just in time (lease.md: a stall of 0.7 s is kept)", 979, 979, []Answer{same}, "[]", "[]", true},
		{"too late: it is not asked for (lease.md: 0.95 s after up to 0.25 s)", 980, 981, nil, "[lost 10.77.0.240 on eth0: its lifetime ended before it was refreshed]", "[]", false},
		{"late in the middle of the turn, but the kernel had refreshed before", 900, 1500, []Answer{same}, "[]", "[]", true},
		{"late in the middle of the turn: made anew", 900, 3000, []Answer{anew}, "[lost 10.77.0.240 on eth0: its lifetime ended before it was refreshed]", fmt.Sprint([]Answer{anew}), true},
		{"late in the middle of the turn, without an answer", 900, 3000, nil, "[lost 10.77.0.240 on eth0: its lifetime ended before it was refreshed]", "[]", true},
		{"deleted by somebody, made anew", 250, 251, []Answer{anew}, "[lost 10.77.0.240 on eth0: somebody removed it]", fmt.Sprint([]Answer{anew}), true},
		{"without an answer, in time for another try", 250, 251, nil, "[]", "[]", true},
		{"without an interface", 250, 251, []Answer{{Index: 2, Addr: vip, NoLink: true}}, "[lost 10.77.0.240 on eth0: its interface went away]", "[]", true},
		{"an answer for what was dropped meanwhile", 250, 251, []Answer{same, {Index: 3, Addr: vip, Born: 9}}, "[]", fmt.Sprint([]Answer{{Index: 3, Addr: vip, Born: 9}}), true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var b Book
			b.Add(heldAt(0))
			refresh, terms, lost := b.Plan(ms(tt.before))
			if (len(refresh) > 0) != tt.refreshed {
				t.Errorf("refreshes %v", refresh)
			}
			more, strays := b.Answered(ms(tt.before), ms(tt.after), terms, tt.answers)
			lost = append(lost, more...)
			if fmt.Sprint(lost) != tt.lost || fmt.Sprint(strays) != tt.strays {
				t.Errorf("lost %v, strays %v; want %s, %s", lost, strays, tt.lost, tt.strays)
			}
			if (len(b.Held()) == 1) != (tt.lost == "[]") {
				t.Errorf("holds %v", b.Held())
			}
		})
	}
}

// TestABookNeverRefreshesWhatTheKernelMayHaveDropped runs a book against a model of the kernel that drops as early as the real one may. What
// is held is there, and was never away.
func TestABookNeverRefreshesWhatTheKernelMayHaveDropped(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var b Book
		now := epoch
		kernelEnd, kernelBorn, there := time.Time{}, uint32(0), false
		settle := func() {
			if there && !now.Before(kernelEnd.Add(-early)) {
				there = false
			}
		}
		refresh := func(lifetime time.Duration) Answer { // RTM_NEWADDR inserts what is not there
			settle()
			if !there {
				there, kernelBorn = true, uint32(now.UnixMilli()/10)
			}
			kernelEnd = now.Add(lifetime)
			return Answer{Index: 2, Addr: vip, Born: kernelBorn}
		}
		pass := func(label string, most int) {
			now = now.Add(time.Duration(rapid.IntRange(0, most).Draw(t, label)) * time.Millisecond)
		}
		born := refresh(time.Second).Born
		b.Add(Held{"eth0", 2, vip, born, now, time.Second})
		for range rapid.IntRange(1, 40).Draw(t, "turns") {
			pass("wait", 1500)
			if rapid.IntRange(0, 9).Draw(t, "removed") == 0 {
				there = false
			}
			before := now
			held, terms, _ := b.Plan(before)
			pass("stall before the kernel", 1500)
			var answers []Answer
			if len(held) > 0 {
				answers = append(answers, refresh(terms.Lifetime))
			}
			pass("stall after the kernel", 1500)
			_, strays := b.Answered(before, now, terms, answers)
			if len(strays) > 0 {
				there = false
			}
			if len(b.Held()) == 0 {
				if settle(); there && now.Before(kernelEnd.Add(-early)) && len(strays) == 0 && len(held) == 0 {
					return // it ends by itself; nobody refreshes it
				}
				return
			}
			if kernelBorn != born {
				t.Fatalf("held, though the kernel had dropped it and the refresh at %v made another", before)
			}
		}
	})
}
