package control_test

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"kvmctl/ha/drbd"
	"kvmctl/ha/drbd/control"
	"kvmctl/test/drbdlab"
)

// lab is two guests with real DRBD, and a Control of each.
type lab struct {
	*testing.T
	*drbdlab.Lab
	ctx  context.Context
	a, b *control.Control
}

// step runs a part of the whole; what comes behind it needs it.
func (l *lab) step(name string, f func(*lab)) {
	began := time.Now()
	if !l.Run(name, func(t *testing.T) { f(&lab{t, l.Lab, l.ctx, l.a, l.b}) }) {
		l.FailNow()
	}
	l.Logf("%s: %.1fs", name, time.Since(began).Seconds())
}

func (l *lab) sh(g *drbdlab.Guest, script string) string {
	l.Helper()
	out, err := g.Sh(l.ctx, script)
	if err != nil {
		l.Fatal(err)
	}
	return out
}

func (l *lab) must(err error) {
	l.Helper()
	if err != nil {
		l.Fatal(err)
	}
}

// fails wants an error for a reason, that does not tell the secret.
func (l *lab) fails(err error, want control.Reason) {
	l.Helper()
	if !errors.Is(err, want) || strings.Contains(err.Error(), "shared-secret") {
		l.Fatalf("error %v, want %v", err, want)
	}
}

// until waits for a state of r0.
func (l *lab) until(c *control.Control, what string, is func(drbd.Resource) bool) {
	l.Helper()
	var last drbd.Resource
	for deadline := time.Now().Add(40 * time.Second); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		s, err := c.States(l.ctx)
		if err != nil {
			continue // for the moment in which the guest is busy
		}
		if last, _ = s.Resource("r0"); is(last) {
			return
		}
	}
	l.Fatalf("it is never %s: %+v", what, last)
}

func quiet(r drbd.Resource) bool {
	return r.AllUpToDate() && r.PeerUpToDate() && r.Resyncing() == drbd.Nowhere && !r.Verifying()
}

// because checks why A is StandAlone, by the kernel's log.
func (l *lab) because(want drbd.Cause) drbd.Apart {
	l.Helper()
	got := drbd.ReadLog([]byte(l.sh(l.A, "dmesg")), func(minor int) (string, int, bool) { return "r0", 0, minor == 0 })["r0"]
	if got.Cause != want {
		l.Errorf("it is said to be stand-alone for %v (%s), want %v", got.Cause, got.Said, want)
	}
	return got
}

func alone(r drbd.Resource) bool { return r.StandAlone() }
func connecting(r drbd.Resource) bool {
	return len(r.Peers) == 1 && r.Peers[0].Connection == drbd.Connecting
}
func outdatedPeer(r drbd.Resource) bool {
	return len(r.Peers) == 1 && len(r.Peers[0].Volumes) == 1 && r.Peers[0].Volumes[0].Disk == drbd.Outdated
}

// watcher keeps what a watch told last.
type watcher struct {
	mu       sync.Mutex
	last     control.Told
	at       time.Time
	tellings int // that were begun
	done     chan struct{}
}

func (l *lab) watch(ctx context.Context, c *control.Control) *watcher {
	w := &watcher{done: make(chan struct{})}
	go func() {
		defer close(w.done)
		_ = c.Watch(ctx, control.Watching{Check: time.Second}, func(told control.Told) {
			w.mu.Lock()
			defer w.mu.Unlock()
			w.last, w.at = told, time.Now()
			if told.Err == nil && told.Event.Kind == "" {
				w.tellings++
			}
		}) // nil by its contract
	}()
	return w
}

// sees waits until the watch has told of a state of r0.
func (w *watcher) sees(l *lab, what string, is func(drbd.Resource) bool) (told time.Time, tellings int) {
	l.Helper()
	for deadline := time.Now().Add(40 * time.Second); time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
		w.mu.Lock()
		r, _ := w.last.State.Resource("r0")
		told, tellings = w.at, w.tellings
		w.mu.Unlock()
		if is(r) {
			return told, tellings
		}
	}
	l.Fatalf("the watch never tells of %s: %+v", what, w.last)
	return told, tellings
}
