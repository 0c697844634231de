package main

import (
	"testing"
	"time"
)

func TestAway(t *testing.T) {
	at := time.Now()
	after := func(ms ...int) *answers {
		a := &answers{}
		for _, n := range ms {
			a.add(at.Add(time.Duration(n) * time.Millisecond))
		}
		return a
	}
	for name, c := range map[string]struct {
		a    *answers
		want int
	}{
		"never":                      {after(), 1000},
		"one gap that begins before": {after(-50, 200, 300, 950), 650},
		"the first one":              {after(-50, 600, 700, 800, 900), 650},
		"not back":                   {after(-20, 100), 900},
		"over before":                {after(-900, -10, 200, 400, 600, 800), 210},
	} {
		if got := c.a.away(at, at.Add(time.Second)); got != time.Duration(c.want)*time.Millisecond {
			t.Errorf("%s: %v, not %d ms", name, got, c.want)
		}
	}
}

func TestActiveWhen(t *testing.T) {
	at := time.Now()
	e := func(ms int, node, from, to string) event {
		return event{at.Add(time.Duration(ms) * time.Millisecond), node, from, to}
	}
	for want, events := range map[string][]event{
		"a all the time": {e(100, "c", "active", "standby"), e(200, "b", "standby", "waiting")},
		"a until 0.0 s, b from 6.1 s": {e(0, "a", "", "off"), e(5000, "b", "standby", "promoting"), e(6100, "b", "promoting", "active"),
			e(9000, "a", "", "on")},
		"a until 0.1 s, a from 3.3 s": {e(100, "a", "", "dead"), e(3300, "a", "promoting", "active")},
		"a until 1.0 s, b from 2.0 s, b until 3.0 s": {e(1000, "a", "active", "demoting"), e(1500, "a", "demoting", "standby"), e(2000, "b", "promoting", "active"),
			e(3000, "b", "active", "demoting")},
	} {
		if got := activeWhen(events, at, "a", "a", "b"); got != want {
			t.Errorf("%q, not %q", got, want)
		}
	}
}

func TestLastPromotion(t *testing.T) {
	log := `time=x level=INFO msg=role group=varda from=standby to=promoting reason="" event=elected cause="y" vhid=210
time=x level=DEBUG msg="step ended" group=varda id=9 step=right outcome=failed reason="no" took=21.7ms
time=x level=INFO msg=role group=varda from=standby to=promoting reason="" event=elected cause="y" vhid=210
time=x level=DEBUG msg="step ended" group=varda id=32 step=right outcome=done reason="" took=1.06812637s
time=x level=DEBUG msg="step ended" group=varda id=34 step="mount /iut/admin" outcome=done reason="" took=1.5ms
time=x level=INFO msg=role group=varda from=promoting to=active reason="" event=promoted cause="y" vhid=210
time=x level=DEBUG msg="step ended" group=varda id=40 step=hook outcome=done reason="" took=1s`
	got := lastPromotion(log)
	if len(got) != 2 || got[0] != (step{"right", 1068126370}) || got[1] != (step{"mount /iut/admin", 1500 * time.Microsecond}) {
		t.Errorf("%v", got)
	}
}
