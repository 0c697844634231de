package carp

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// move is one line of a script: at a time after the epoch an input, and the effects that it must have.
type move struct {
	at   time.Duration
	in   Input
	want string // effects, one a line
}

func play(t *testing.T, m *Machine, moves []move) {
	t.Helper()
	for i, mv := range moves {
		got := text(m.Step(epoch.Add(mv.at), mv.in))
		if d := cmp.Diff(mv.want, got); d != "" {
			t.Fatalf("move %d, %v %T%+v (-want +got):\n%s", i, mv.at, mv.in, mv.in, d)
		}
	}
}

const (
	second = time.Second
	ms     = time.Millisecond
)

func bad(from string) Rejected {
	in := hear(from, 1, 0, 0)
	return Rejected{BadDigest, in.Claim}
}

const allowed = "silent -> backup: the group may contend"

func TestScripts(t *testing.T) {
	const dead = 3390625 * time.Microsecond
	const every = 1390625 * time.Microsecond
	elected := "send advert 1/100\nbackup -> candidate: no advert from a master\nelected: no advert from a master"
	for _, tt := range []struct {
		name  string
		cfg   Config
		moves []move
	}{
		{"a dead master: claims at once, its adverts flow while the group promotes, and bows out", config(UCARP, 1, 100), []move{
			{0, Allow{}, allowed},
			{dead - 1, Turn{}, ""},
			{dead, Turn{}, elected},
			{dead + every - 1, Turn{}, ""},
			{dead + every, Turn{}, "send advert 1/100"},
			{dead + every, Ready{}, "candidate -> master: the group is ready"},
			{dead + 2*every + 10*ms, Turn{}, "send advert 1/100"},
			{dead + 3*every, Turn{}, "send advert 1/100"}, // the beat is kept
			{dead + 3*every, Release{}, "send bow-out\nmaster -> backup: the group lets go"},
			{dead + 3*every, hear("10.77.0.9", 1, 200, 0), ""}, // worse, but it was given the role
			{2*dead + 3*every - 1, Turn{}, ""},
			{2*dead + 3*every, Turn{}, elected}, // nobody took it; heard at the moment of the release
			{2*dead + 3*every, Silence{BowOut: true}, "send bow-out\ncandidate -> silent: the group must not contend"},
			{2*dead + 3*every, Silence{BowOut: true}, ""},
			{3*dead + 3*every, Turn{}, ""},
		}},
		{"preemption is silent until the group is ready: the old master serves", config(UCARP, 1, 100), []move{
			{0, Allow{Preempt: true}, allowed},
			{second, hear("10.77.0.9", 1, 200, 0), "backup -> candidate: the master is worse (10.77.0.9)\nelected silently: the master is worse"},
			{2 * second, hear("10.77.0.9", 1, 200, 0), ""},
			{3 * second, Ready{}, "send advert 1/100\ncandidate -> master: the group is ready"},
		}},
		{"a silent candidate whose master dies claims at once", config(UCARP, 1, 100), []move{
			{0, Allow{Preempt: true}, allowed},
			{second, hear("10.77.0.9", 1, 200, 0), "backup -> candidate: the master is worse (10.77.0.9)\nelected silently: the master is worse"},
			{second + dead - 1, Turn{}, ""},
			{second + dead, Turn{}, "send advert 1/100"},
			{second + dead, Ready{}, "candidate -> master: the group is ready"},
		}},
		{"a silent candidate whose master bows out claims at once", config(UCARP, 1, 100), []move{
			{0, Allow{Preempt: true}, allowed},
			{second, hear("10.77.0.9", 1, 200, 0), "backup -> candidate: the master is worse (10.77.0.9)\nelected silently: the master is worse"},
			{second, hear("10.77.0.9", 255, 255, 0), "send advert 1/100"},
		}},
		{"a silent candidate whose master became better steps back, and Ready comes too late", config(UCARP, 1, 100), []move{
			{0, Allow{Preempt: true}, allowed},
			{second, hear("10.77.0.9", 1, 200, 0), "backup -> candidate: the master is worse (10.77.0.9)\nelected silently: the master is worse"},
			{2 * second, hear("10.77.0.9", 1, 100, 0), "candidate -> backup: the master is no longer worse (10.77.0.9)\n" +
				"deposed by 10.77.0.9: the master is no longer worse"},
			{2 * second, Ready{}, ""},
		}},
		{"a release by a silent candidate says nothing on the wire", config(UCARP, 1, 100), []move{
			{0, Allow{Preempt: true}, allowed},
			{second, hear("10.77.0.9", 1, 200, 0), "backup -> candidate: the master is worse (10.77.0.9)\nelected silently: the master is worse"},
			{second, Release{}, "candidate -> backup: the group lets go"},
			{2 * second, hear("10.77.0.9", 1, 200, 0), ""},
			{2 * second, Allow{Preempt: true}, ""},
			{3 * second, hear("10.77.0.9", 1, 200, 0), "backup -> candidate: the master is worse (10.77.0.9)\nelected silently: the master is worse"},
		}},
		{"silent for a moment, as after a freeze: the dead interval runs from its own last advert", config(UCARP, 1, 100), []move{
			{0, Allow{}, allowed},
			{dead, Turn{}, elected},
			{dead, Ready{}, "candidate -> master: the group is ready"},
			{dead + 2*second, Silence{}, "master -> silent: the group must not contend"},
			{dead + 2*second, Allow{}, allowed},
			{2*dead - 1, Turn{}, ""},
			{2 * dead, Turn{}, elected},
		}},
		{"silent for so long that less than an interval is left: it listens for a whole dead interval", config(UCARP, 1, 100), []move{
			{0, Allow{}, allowed},
			{dead, Turn{}, elected},
			{dead, Ready{}, "candidate -> master: the group is ready"},
			{dead + 2*second + 1, Silence{}, "master -> silent: the group must not contend"},
			{dead + 2*second + 1, Allow{}, allowed},
			{2*dead + 2*second, Turn{}, ""},
			{2*dead + 2*second + 1, Turn{}, elected},
		}},
		{"silent for a moment behind a good-bye: somebody else has taken over", config(UCARP, 1, 100), []move{
			{0, Allow{}, allowed},
			{dead, Turn{}, elected},
			{dead, Ready{}, "candidate -> master: the group is ready"},
			{dead + second, Silence{BowOut: true}, "send bow-out\nmaster -> silent: the group must not contend"},
			{dead + second, Allow{}, allowed},
			{2*dead + second - 1, Turn{}, ""},
			{2*dead + second, Turn{}, elected},
		}},
		{"silent for a moment in which a master was heard: it is waited for", config(UCARP, 1, 100), []move{
			{0, Allow{}, allowed},
			{dead, Turn{}, elected},
			{dead, Ready{}, "candidate -> master: the group is ready"},
			{dead + second, Silence{}, "master -> silent: the group must not contend"},
			{dead + second + 500*ms, hear("10.77.0.9", 1, 100, 0), ""},
			{dead + second + 600*ms, Allow{}, allowed},
			{2*dead + second + 500*ms - 1, Turn{}, ""},
			{2*dead + second + 500*ms, Turn{}, elected},
		}},
		{"silent: hears, and does nothing", config(UCARP, 1, 100), []move{
			{0, hear("10.77.0.9", 255, 255, 0), ""},
			{0, Ready{Unelected: true}, ""},
			{0, Release{}, ""},
			{100 * second, Turn{}, ""},
		}},
		{"went on after an exec: master without an election", config(UCARP, 1, 100), []move{
			{0, Allow{}, allowed},
			{0, Ready{}, ""}, // not unelected
			{0, Ready{Unelected: true}, "send advert 1/100\nbackup -> master: the group is ready"},
			{0, Ready{Unelected: true}, ""},
		}},
		{"stopped (SIGSTOP) for 10 s as a backup: the master has its say before it is missed (facts 3, case 2)", config(UCARP, 1, 100), []move{
			{0, Allow{}, allowed},
			{10 * second, Turn{}, ""},
			{10*second + 200*ms, hear("10.77.0.9", 1, 0, 0), ""},
			{10*second + 200*ms + dead, Turn{}, elected},
		}},
		{"stopped for 10 s as a backup, and the master is gone: one interval later", config(UCARP, 1, 100), []move{
			{0, Allow{}, allowed},
			{10 * second, Turn{}, ""},
			{10*second + every, Turn{}, elected},
		}},
		{"stopped for 10 s as a master: one advert, not seven", config(UCARP, 1, 100), []move{
			{0, Allow{}, allowed},
			{0, Ready{Unelected: true}, "send advert 1/100\nbackup -> master: the group is ready"},
			{10 * second, Turn{}, "send advert 1/100"},
			{10*second + every - 1, Turn{}, ""},
			{10*second + every, Turn{}, "send advert 1/100"},
		}},
		{"sending fails three times: 240, until it worked three times (F carp_send_ad_error, U carp_send_ad)", config(UCARP, 1, 100), []move{
			{0, Allow{}, allowed},
			{0, Ready{Unelected: true}, "send advert 1/100\nbackup -> master: the group is ready"},
			{0, SendResult{Failed: true}, ""},
			{0, SendResult{Failed: true}, ""},
			{0, SendResult{Failed: true}, "adverts cannot be sent"},
			{0, SendResult{Failed: true}, ""},
			{every, Turn{}, "send advert 1/240"},
			{every, SendResult{}, ""},
			{every, SendResult{}, ""},
			{every, SendResult{Failed: true}, ""},
			{every, SendResult{}, ""},
			{every, SendResult{}, ""},
			{every, SendResult{}, "adverts can be sent again"},
			{every + 1937500*time.Microsecond, Turn{}, "send advert 1/100"},
		}},
		{"toward kvmha with a heartbeat: adverts and their absence decide nothing", func() Config {
			c := config(KVMHA, 1, 100)
			c.Authoritative = false
			return c
		}(), []move{
			{0, Allow{Preempt: true}, allowed},
			{second, hear("10.77.0.9", 255, 255, 0), ""},
			{second, hear("10.77.0.9", 1, 200, 0), ""},
			{100 * second, Turn{}, ""},
			{100 * second, Ready{}, "send advert 1/100\nbackup -> master: the group is ready"},
			{101 * second, hear("10.77.0.9", 1, 0, 0), ""},
			{101 * second, hear("10.77.0.9", 1, 200, 0), "announce against 10.77.0.9"},
		}},
		{"worse adverts are announced against ten times a second, and answered once between two adverts of our own", config(UCARP, 1, 100), []move{
			{0, Allow{}, allowed},
			{0, Ready{Unelected: true}, "send advert 1/100\nbackup -> master: the group is ready"},
			{0, hear("10.77.0.9", 1, 200, 0), "send advert 1/100\nannounce against 10.77.0.9"},
			{99 * ms, hear("10.77.0.9", 1, 200, 0), ""},
			{100 * ms, hear("10.77.0.9", 1, 200, 0), "announce against 10.77.0.9"},
			{every - 1, Turn{}, ""},
			{every, Turn{}, "send advert 1/100"}, // an answer moves no beat
			{every, hear("10.77.0.9", 1, 200, 0), "send advert 1/100\nannounce against 10.77.0.9"},
		}},
		{"who took over from a master that fell silent advertises four times as often, until somebody is heard", config(UCARP, 1, 100), []move{
			{0, Allow{}, allowed},
			{0, hear("10.77.0.9", 1, 0, 0), ""},
			{dead, Turn{}, "send advert 1/100\nbackup -> candidate: no advert from a master\nelected: no advert from a master"},
			{dead, Ready{}, "candidate -> master: the group is ready"},
			{dead + every/4 - 1, Turn{}, ""},
			{dead + every/4, Turn{}, "send advert 1/100"},
			{dead + every/2, Turn{}, "send advert 1/100"},
			{dead + 3*(every/4), Turn{}, "send advert 1/100"},
			{dead + every, Turn{}, "send advert 1/100"},
			{dead + every, hear("10.77.0.9", 1, 200, 0), "send advert 1/100\nannounce against 10.77.0.9"},
			{dead + every + every/4, Turn{}, "send advert 1/100"}, // as it was planned
			{dead + 2*every, Turn{}, ""},
			{dead + 2*every + every/4, Turn{}, "send advert 1/100"},
		}},
		{"who never heard a master does not", config(UCARP, 1, 100), []move{
			{0, Allow{}, allowed},
			{dead, Turn{}, "send advert 1/100\nbackup -> candidate: no advert from a master\nelected: no advert from a master"},
			{dead + every - 1, Turn{}, ""},
			{dead + every, Turn{}, "send advert 1/100"},
		}},
		{"a worse advert that was captured is not answered: a stranger must not make us talk", config(UCARP, 1, 100), func() []move {
			captured := hear("10.77.0.9", 1, 200, 0)
			return []move{
				{0, Allow{}, allowed},
				{0, captured, ""},
				{0, Ready{Unelected: true}, "send advert 1/100\nbackup -> master: the group is ready"},
				{100 * ms, captured, "announce against 10.77.0.9\n" + strings.Replace(reported(0, "1 replayed; the last (replayed)"), "advskew 0", "advskew 200", 1)},
			}
		}()},
		{"a reload keeps what was waited, and takes the new interval", config(UCARP, 1, 100), []move{
			{0, Allow{}, allowed},
			{3 * second, Reload{config(UCARP, 1, 0)}, "send advert 1/0\nbackup -> candidate: no advert from a master\nelected: no advert from a master"},
			{4 * second, Turn{}, "send advert 1/0"},
		}},
	} {
		t.Run(tt.name, func(t *testing.T) { play(t, New(tt.cfg, epoch), tt.moves) })
	}
}

// reported is a Report of such adverts.
func reported(since time.Duration, what string) string {
	return fmt.Sprintf("packets not obeyed in %v: %s from 10.77.0.9 00:00:00:00:00:00 claims vhid 42, advbase 1, advskew 0", since, what)
}

func TestMisconfiguredIsDecidedAtTheStartOnly(t *testing.T) {
	const dead = 3390625 * time.Microsecond
	first := reported(0, "1 digest; the last (digest)")
	verdict := "misconfigured: only adverts with a wrong digest since the start, the last from 10.77.0.9"
	for _, tt := range []struct {
		name  string
		moves []move
	}{
		{"case 9: bad adverts in three intervals, and not one good; it ends when they end", []move{
			{0, Allow{}, allowed},
			{second, bad("10.77.0.9"), first},
			{2 * second, bad("10.77.0.9"), ""},
			{3 * second, bad("10.77.0.9"), verdict},
			{30 * second, bad("10.77.0.9"), ""},
			{30*second + dead - 1, Turn{}, ""},
			{30*second + dead, Turn{}, "no longer misconfigured: the bad adverts ended\n" +
				"send advert 1/100\nbackup -> candidate: no advert from a master\nelected: no advert from a master"},
		}},
		{"an election waits for the verdict", []move{
			{0, Allow{}, allowed},
			{3 * second, bad("10.77.0.9"), first},
			{dead, Turn{}, ""},
			{4 * second, bad("10.77.0.9"), ""},
			{5 * second, bad("10.77.0.9"), verdict},
		}},
		{"one bad advert puts the election off by a dead time at most", []move{
			{0, Allow{}, allowed},
			{3 * second, bad("10.77.0.9"), first},
			{dead, Turn{}, ""},
			{3*second + dead, Turn{}, "send advert 1/100\nbackup -> candidate: no advert from a master\nelected: no advert from a master"},
			{3*second + dead, bad("10.77.0.9"), ""},
		}},
		{"a flood within one interval counts as one", []move{
			{0, Allow{}, allowed},
			{second, bad("10.77.0.9"), first},
			{second + 1*ms, bad("10.77.0.9"), ""},
			{second + 2*ms, bad("10.77.0.9"), ""},
			{second + 3*ms, bad("10.77.0.9"), ""},
			{dead, Turn{}, ""},
			{second + dead, Turn{}, "send advert 1/100\nbackup -> candidate: no advert from a master\nelected: no advert from a master"},
		}},
		{"one good advert ends it, and takes the verdict back", []move{
			{second, bad("10.77.0.9"), first},
			{2 * second, bad("10.77.0.9"), ""},
			{3 * second, bad("10.77.0.9"), verdict},
			{4 * second, hear("10.77.0.9", 1, 0, 0), "no longer misconfigured: a good advert came"},
			{5 * second, bad("10.77.0.9"), ""},
			{6 * second, bad("10.77.0.9"), ""},
			{7 * second, bad("10.77.0.9"), ""},
		}},
		{"a reload begins again", []move{
			{0, hear("10.77.0.9", 1, 0, 0), ""},
			{second, bad("10.77.0.9"), first},
			{2 * second, bad("10.77.0.9"), ""},
			{3 * second, bad("10.77.0.9"), ""},
			{3 * second, Reload{config(UCARP, 1, 100)}, ""},
			{4 * second, bad("10.77.0.9"), ""},
			{5 * second, bad("10.77.0.9"), ""},
			{6 * second, bad("10.77.0.9"), verdict},
		}},
	} {
		t.Run(tt.name, func(t *testing.T) { play(t, New(config(UCARP, 1, 100), epoch), tt.moves) })
	}
}

// A stranger's bad frames, ten a second for an hour: the timers of a standby are moved neither way, and there is one line a minute.
func TestAStrangersFramesMoveNothing(t *testing.T) {
	m := New(config(UCARP, 1, 100), epoch)
	m.Step(epoch, Allow{Preempt: true})
	var got []string
	for at := time.Duration(0); at < time.Hour; at += 100 * ms {
		if at%second == 0 && at < 50*time.Minute {
			got = append(got, text(m.Step(epoch.Add(at), hear("10.77.0.9", 1, 0, 0))))
		}
		for r := range reasons {
			if r != Replayed && r != Altered {
				got = append(got, text(m.Step(epoch.Add(at), Rejected{r, bad("10.77.0.66").Claim})))
			}
		}
		got = append(got, text(m.Step(epoch.Add(at), Turn{})))
		if s := m.Facts().State; at < 50*time.Minute+2390*ms && s != Backup || at > 50*time.Minute+2500*ms && s == Backup {
			t.Fatalf("%v after %v", s, at) // the last advert came at 49:59; the dead time is 3.39 s
		}
	}
	lines := 0
	for _, g := range got {
		lines += strings.Count(g, "packets not obeyed")
	}
	if lines != 60 {
		t.Errorf("%d reports in an hour", lines)
	}
}

// One captured advert of the master's, without the key: with other claims it is dropped, as it is it makes nobody master.
func TestACapturedAdvertMakesNobodyMaster(t *testing.T) {
	m := New(config(UCARP, 1, 100), epoch)
	captured := hear("10.77.0.9", 1, 0, 0)
	worse, gone := captured, captured
	worse.Claim.Advert.Skew = 200
	gone.Claim.Advert.Base, gone.Claim.Advert.Skew = 255, 255
	bow := hear("10.77.0.9", 255, 255, 0)
	play(t, m, []move{
		{0, Allow{Preempt: true}, allowed},
		{second, captured, ""},
		{2 * second, worse, "packets not obeyed in 0s: 1 altered; the last (altered) from 10.77.0.9 00:00:00:00:00:00 claims vhid 42, advbase 1, advskew 200"},
		{2 * second, gone, ""},
		{2 * second, captured, ""}, // it restarts the timer, as with ucarp
		{5 * second, Turn{}, ""},
		{second*2 + 3390625*time.Microsecond, Turn{}, "send advert 1/100\nbackup -> candidate: no advert from a master\nelected: no advert from a master"},
		{6 * second, Silence{}, "candidate -> silent: the group must not contend"},
		{6 * second, bow, ""},
		{6 * second, Allow{}, allowed},
		{7 * second, bow, ""}, // a captured bow-out
	})
	if got, want := m.Facts().Rejected, [reasons]uint64{Altered: 2, Replayed: 2}; got != want {
		t.Errorf("counted %v, want %v", got, want)
	}
}

// A backup sends nothing, so nothing that it sends can tell it that it could again.
func TestSendingIsTriedAnew(t *testing.T) {
	every := 1390625 * time.Microsecond
	moves := []move{
		{0, Allow{}, allowed},
		{0, Ready{Unelected: true}, "send advert 1/100\nbackup -> master: the group is ready"},
		{0, SendResult{Failed: true}, ""},
		{0, SendResult{Failed: true}, ""},
		{0, SendResult{Failed: true}, "adverts cannot be sent"},
		{every, hear("10.77.0.9", 1, 200, 0), "send advert 1/240\nmaster -> backup: a better master advertises (10.77.0.9)\ndeposed by 10.77.0.9: a better master advertises"},
	}
	elsewhere, nowhere := config(UCARP, 1, 100), config(UCARP, 1, 100)
	elsewhere.Source, nowhere.Source = netip.MustParseAddr("10.77.1.2"), netip.Addr{}
	for _, tt := range []struct {
		name  string
		moves []move
	}{
		{"it has an address to send from again", []move{
			{2 * second, Reload{nowhere}, ""},
			{2 * second, Allow{Preempt: true}, ""},
			{3 * second, hear("10.77.0.9", 1, 250, 0), ""}, // it could not tell the master
			{3 * second, Reload{elsewhere}, "adverts can be sent again"},
			{4 * second, hear("10.77.0.9", 1, 200, 0), "backup -> candidate: the master is worse (10.77.0.9)\nelected silently: the master is worse"},
		}},
		{"what kept the group from contending is over", []move{
			{2 * second, Silence{}, "backup -> silent: the group must not contend\nadverts can be sent again"},
			{3 * second, Allow{Preempt: true}, allowed},
			{4 * second, hear("10.77.0.9", 1, 200, 0), "backup -> candidate: the master is worse (10.77.0.9)\nelected silently: the master is worse"},
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			play(t, New(config(UCARP, 1, 100), epoch), append(slices.Clone(moves), tt.moves...))
		})
	}
}

// The counters of ucarp and FreeBSD (facts 1.3): random while nobody was heard, then one more than what was heard or sent.
func TestCounters(t *testing.T) {
	m := New(config(UCARP, 1, 100), epoch)
	m.Step(epoch, Allow{})
	var got []uint64
	note := func(effects []Effect) {
		for _, e := range effects {
			if s, ok := e.(Send); ok {
				got = append(got, s.Advert.Counter)
			}
		}
	}
	note(m.Step(epoch, Ready{Unelected: true}))
	note(m.Step(epoch.Add(2*second), Turn{}))
	in := hear("10.77.0.9", 1, 200, 0)
	in.Claim.Advert.Counter = 1<<64 - 1
	note(m.Step(epoch.Add(2*second), in)) // which is answered
	note(m.Step(epoch.Add(4*second), Turn{}))
	note(m.Step(epoch.Add(6*second), Turn{}))
	random := count()
	if d := cmp.Diff([]uint64{random(), random(), 0, 1, 2}, got); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
}
