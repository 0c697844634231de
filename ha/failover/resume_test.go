package failover

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// replace hands a bench's machine over to another program, which knows no more than what was written.
func (b *bench) replace(t *testing.T) []Effect {
	t.Helper()
	r, ok := b.m.Handover(func(at time.Time) time.Duration { return at.Sub(began) + time.Hour })
	if !ok {
		t.Fatalf("not handed over: %+v", b.m.Status())
	}
	text, err := json.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	var read Resumed
	if err := json.Unmarshal(text, &read); err != nil {
		t.Fatal(err)
	}
	var effects []Effect
	b.m, effects = Resume(b.m.cfg, read, func(d time.Duration) time.Time { return began.Add(d - time.Hour) }, b.now)
	b.all = nil
	return effects
}

// From the next program's first turn on it does what the old one would have done.
func TestReplacedAgentGoesOn(t *testing.T) {
	cfg := plain()
	cfg.Hooks = Hooks{Active: true, Standby: true, Timeout: time.Second}
	b := newBench(cfg)
	b.fit()
	b.tell(Elected{BySilence})
	b.tell(Checked{Name: "http", State: Red, Why: "refused"})
	if err := b.advance(time.Minute); err != nil {
		t.Fatal(err)
	}
	before := b.m.Status()
	if before.Role != Waiting && before.Role != Standby {
		t.Fatalf("before: %+v", before)
	}
	b.tell(Elected{ByBowOut})
	before = b.m.Status()
	if want := []Effect{Allow{}, Ready{}}; !slices.Equal(b.replace(t), want) {
		t.Errorf("it begins with something else than %v", want)
	}
	if diff := cmp.Diff(before, b.m.Status()); diff != "" {
		t.Errorf("status (-before +after):\n%s", diff)
	}
	b.tell(Checked{Name: "http", State: Green})
	b.tell(Deposed{By: "10.2.0.2", Cause: "better"})
	var got []string
	for _, e := range b.all {
		got = append(got, e.String())
	}
	want := []string{
		"alert end check http: check http is red: refused; the role is given away", "active → demoting: deposed by 10.2.0.2: better",
		"alert notice hand-over: no longer active: deposed by 10.2.0.2: better", "lease #1 drop", "run #2 hook standby", "run #3 stop httpd",
		"run #4 stop db", "demoting → standby: let go: deposed by 10.2.0.2: better",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("after it (-want +got):\n%s", diff)
	}
}

// A cool-down does not end because the agent is replaced.
func TestReplacedAgentStillCoolsDown(t *testing.T) {
	b := newBench(plain())
	b.answers["start db"] = answer{outcome: Failed}
	b.fit()
	b.tell(Elected{BySilence})
	b.replace(t)
	b.fit()
	if s := b.m.Status(); s.Role != Waiting || s.Reason != ReasonCooling {
		t.Fatalf("%+v", s)
	}
	if err := b.advance(time.Second); err != nil || b.m.Status().Role != Standby || strings.Contains(b.String(), "alert first promote") {
		t.Errorf("%v, %+v\n%v", err, b.m.Status(), b)
	}
}

func TestNoHandoverOnTheWay(t *testing.T) {
	b := newBench(plain())
	b.answers["start db"] = answer{takes: time.Second}
	b.fit()
	b.tell(Elected{BySilence})
	if _, ok := b.m.Handover(func(time.Time) time.Duration { return 0 }); ok {
		t.Error("handed over while a unit starts")
	}
}
