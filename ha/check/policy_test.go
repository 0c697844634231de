package check

import (
	"strings"
	"testing"
	"time"
)

var epoch = time.Unix(1000, 0)

func at(ms int) time.Time { return epoch.Add(time.Duration(ms) * time.Millisecond) }

// answers: "+" good, "-" bad, "!" a fact, "?" nothing learned, "A" began afresh with a hurry of 2 s. The states after each: u, g, r.
func TestAnswersInARow(t *testing.T) {
	second := Policy{Interval: time.Second, Timeout: time.Second, Fall: 3, Rise: 2}
	once := Policy{Interval: time.Second, Timeout: time.Second, Fall: 1, Rise: 1}
	for _, tt := range []struct {
		name          string
		policy        Policy
		start         State
		answers, want string
	}{
		{"the first good answer decides", second, Unknown, "+", "g"},
		{"so does the first bad one", second, Unknown, "-", "r"},
		{"three bad ones, a second apart (seed, row H4)", second, Unknown, "+---", "gggr"},
		{"a good one between begins anew", second, Unknown, "+--+---", "ggggggr"},
		{"two good ones for the way back", second, Unknown, "-+-++", "rrrrg"},
		{"a fact needs no second", second, Unknown, "+!", "gr"},
		{"nor does it need a first", second, Unknown, "!", "r"},
		{"after a fact the way back is as long", second, Unknown, "+!++", "grrg"},
		{"nothing learned changes nothing", second, Unknown, "?+??????--?-", "ugggggggggg" + "r"},
		{"nor does it while red", second, Unknown, "-???+?+", "rrrrrrg"},
		{"fall and rise of 1", once, Unknown, "+-+-", "grgr"},
		{"a predecessor's green outlives one bad answer", second, Green, "--+", "ggg"},
		{"and ends as ever", second, Green, "---", "ggr"},
		{"a predecessor's red needs the whole rise", second, Red, "++", "rg"},
		{"afresh: bad answers while it comes up, then one good", second, Unknown, "!A--!+", "ruuuug"},
		{"afresh: after the hurry the first answer decides", second, Unknown, "+A------------------------", "gu" + strings.Repeat("u", 20) + "rrrr"},
		{"afresh: once green it is as ever", second, Unknown, "+A+--+", "gugggg"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			now := at(0)
			tr := NewTrack(tt.policy, tt.start, now, now, 0)
			var got strings.Builder
			for _, a := range tt.answers {
				before, _, _ := tr.State()
				changed := false
				if a == 'A' {
					tr.Afresh(now, 2*time.Second)
					changed = before != Unknown
				} else {
					tr.Began(now)
					changed = tr.Take(now, Answer{map[rune]Verdict{'+': Pass, '-': Fail, '!': Certain, '?': NoIdea}[a], map[bool]string{false: "why"}[a == '+']})
					now = tr.Next()
				}
				s, since, reason := tr.State()
				if changed != (s != before) {
					t.Errorf("after %q: changed %t from %v to %v", got.String(), changed, before, s)
				}
				if changed && since.After(now) {
					t.Errorf("since %v, which is to come", since)
				}
				if s == Red && reason == "" {
					t.Errorf("after %q: red for no reason", got.String())
				}
				got.WriteByte("ugr"[s])
			}
			if got.String() != tt.want {
				t.Errorf("answers %s\n  got %s\n want %s", tt.answers, got.String(), tt.want)
			}
		})
	}
}

func TestTheGridOfQuestions(t *testing.T) {
	p := Policy{Interval: time.Second, Timeout: time.Second, Fall: 3, Rise: 2}
	for _, tt := range []struct {
		name  string
		began []int // ms; each question begins at one of these
		want  []int // when the next is due after it
		do    func(*Track)
	}{
		{name: "punctual", began: []int{100, 1100, 2100}, want: []int{1100, 2100, 3100}},
		{name: "a late one shifts nothing", began: []int{100, 1350, 2100}, want: []int{1100, 2100, 3100}},
		{name: "missed ones are not made up for", began: []int{100, 4700}, want: []int{1100, 5100}},
		{name: "an early one by the slack", began: []int{97}, want: []int{1100}},
		{name: "a long freeze", began: []int{100, 86_400_000}, want: []int{1100, 86_400_100}},
		{name: "pushed", began: []int{100, 350}, want: []int{1100, 1350}, do: func(tr *Track) { tr.AskNow(at(350)) }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tr := NewTrack(p, Unknown, at(0), at(100), 0)
			for i, b := range tt.began {
				if i == 1 && tt.do != nil {
					tt.do(&tr)
				}
				tr.Began(at(b))
				if got := tr.Next().Sub(epoch).Milliseconds(); got != int64(tt.want[i]) {
					t.Errorf("after the question at %d ms: next at %d, want %d", b, got, tt.want[i])
				}
			}
		})
	}
	t.Run("the second question is shifted once", func(t *testing.T) {
		tr := NewTrack(p, Unknown, at(0), at(100), 300*time.Millisecond)
		tr.Began(at(100))
		if !tr.Next().Equal(at(800)) {
			t.Errorf("second at %v", tr.Next())
		}
		tr.Began(at(800))
		if !tr.Next().Equal(at(1800)) {
			t.Errorf("third at %v", tr.Next())
		}
	})
}

func TestPolicyValidate(t *testing.T) {
	if err := (Policy{time.Second, time.Second, 1, 1}).Validate(); err != nil {
		t.Error(err)
	}
	want := "interval must be more than 0\ntimeout must be more than 0\nfall must be at least 1\nrise must be at least 1"
	if err := (Policy{}).Validate(); err == nil || err.Error() != want {
		t.Errorf("got %v", err)
	}
}

// A restart of a unit pushes several questions within milliseconds (measured on systemd 252: 34 ms from the first to a third that said
// "activating"): they are one bad answer, and a service that goes on failing is red in its time all the same.
func TestPushesWithinAnIntervalAreOneBadAnswer(t *testing.T) {
	p := Policy{Interval: time.Second, Timeout: time.Second, Fall: 3, Rise: 1}
	for _, tt := range []struct {
		name   string
		pushed []int // ms of the questions that something pushed; each is bad, as those of the grid are
		red    int   // ms of the question that decides
	}{
		{"a restart", []int{100, 117, 134}, 2134},
		{"pushes for ever, faster than the grid", []int{100, 400, 700, 1000, 1300, 1600}, 1300},
		{"no push", nil, 3000},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tr := NewTrack(p, Unknown, at(0), at(0), 0)
			tr.Began(at(0))
			tr.Take(at(0), Answer{Verdict: Pass})
			pushed := tt.pushed
			for {
				if len(pushed) > 0 && at(pushed[0]).Before(tr.Next()) {
					tr.AskNow(at(pushed[0]))
					pushed = pushed[1:]
				}
				now := tr.Next()
				tr.Began(now)
				if tr.Take(now.Add(time.Millisecond), Answer{Fail, "it is being restarted"}) {
					if got := now.Sub(epoch).Milliseconds(); got != int64(tt.red) {
						t.Errorf("red by the question at %d ms, want %d", got, tt.red)
					}
					return
				}
			}
		})
	}
}
