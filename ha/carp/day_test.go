package carp

import (
	"fmt"
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// agent is a machine in a goroutine of its own, on the clock of a synctest bubble.
type agent struct {
	mu      sync.Mutex // of all that the test looks at
	machine *Machine
	name    string
	in      chan Input
	quit    chan struct{}
	peer    *agent
	down    atomic.Bool // it can neither send nor hear
	sent    int
	last    time.Time // the last advert
	changes []string
	master  time.Time // when it became a candidate
}

func (a *agent) run() {
	timer := time.NewTimer(time.Hour)
	a.step(Allow{})
	for {
		if next := a.next(); !next.IsZero() {
			timer.Reset(time.Until(next))
		} else {
			timer.Stop()
		}
		select {
		case in := <-a.in:
			a.step(in)
		case <-timer.C:
			a.step(Turn{})
		case <-a.quit:
			return
		}
	}
}

func (a *agent) next() time.Time {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.machine.Next()
}

// look gives what can be seen of it.
func (a *agent) look() (f Facts, last, master time.Time) {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.machine.Facts(), a.last, a.master
}

func (a *agent) step(in Input) {
	a.mu.Lock()
	defer a.mu.Unlock()
	now := time.Now()
	for _, e := range a.machine.Step(now, in) {
		switch e := e.(type) {
		case Send:
			a.sent++
			if !a.down.Load() && !a.peer.down.Load() {
				a.last = now
				a.peer.in <- Received{Claim{From: a.machine.cfg.Source, TTL: 255, Advert: e.Advert}}
			}
		case Changed:
			a.changes = append(a.changes, e.String())
		case Elected:
			a.master = now
			a.in <- Ready{}
		}
	}
}

// A day of two machines, 1/0 and 1/100. Every hour but the first the better one is cut off for a minute: the other one takes over exactly 3.390625 s
// after its last advert, and gives way when it is back.
func TestADay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		newAgent := func(name string, skew int, last byte) *agent {
			cfg := config(KVMHA, 1, skew)
			cfg.Source = netip.AddrFrom4([4]byte{10, 77, 0, last})
			return &agent{machine: New(cfg, time.Now()), name: name, in: make(chan Input, 16), quit: make(chan struct{})}
		}
		a, b := newAgent("a", 0, 1), newAgent("b", 100, 2)
		a.peer, b.peer = b, a
		go a.run()
		go b.run()
		synctest.Wait()
		const phase = 777 * time.Millisecond
		time.Sleep(time.Hour + phase)
		for hour := 1; hour < 24; hour++ {
			synctest.Wait()
			before, _, _ := a.look()
			standby, _, _ := b.look()
			if s := fmt.Sprint(before.State, standby.State); s != "master backup" {
				t.Fatalf("hour %d: %s", hour, s)
			}
			a.down.Store(true)
			time.Sleep(time.Minute)
			synctest.Wait()
			_, last, _ := a.look()
			after, _, since := b.look()
			if took := since.Sub(last); took != 3390625*time.Microsecond {
				t.Errorf("hour %d: took over %v after the last advert", hour, took)
			}
			if after.State != Master {
				t.Fatalf("hour %d: b is %v", hour, after.State)
			}
			a.down.Store(false)
			time.Sleep(59*time.Minute + time.Duration(hour)*time.Millisecond)
		}
		close(a.quit)
		close(b.quit)
		synctest.Wait()
		if len(a.changes) != 3 || len(b.changes) != 1+23*3 {
			t.Errorf("a changed %d times, b %d times:\n%v\n%v", len(a.changes), len(b.changes), a.changes, b.changes)
		}
		if want := 24 * 3600; a.sent < want-10 || a.sent > want+23 {
			t.Errorf("a sent %d adverts in a day", a.sent)
		}
		if late := max(a.machine.Facts().Late, b.machine.Facts().Late); late != 0 {
			t.Errorf("adverts were %v late", late)
		}
	})
}
