package ha

import (
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

// Want of descriptors or memory keeps the agent from looking at its interface: that is no sign that it is gone.
func TestALookThatFailsSaysNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &wire{}
		n := w.add(1)
		j, stop := run(t, n, testGroup(0))
		time.Sleep(5 * time.Second)
		want(t, "at first", j.take(), "standby by fit", "promoting by elected", "active by promoted")
		n.look(syscall.EMFILE)
		time.Sleep(10 * time.Second)
		want(t, "blind", j.take())
		n.mu.Lock()
		n.station.Carrier, n.blind = false, nil
		n.mu.Unlock()
		time.Sleep(5 * time.Second) // it looks again by itself
		want(t, "the cable was pulled meanwhile", j.take(), "demoting by blocked", "waiting by blocked")
		n.look(syscall.ENODEV)
		time.Sleep(time.Second)
		if got := w.holders(shared); len(got) != 0 {
			t.Errorf("held by %v", got)
		}
		if err := stop(); err != nil {
			t.Error(err)
		}
	})
}

// A refresh that finds no interface is news, though the kernel's own has not come in: nothing else may ever tell.
func TestARefreshThatFindsNoInterfaceIsAFact(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &wire{}
		n := w.add(1)
		j, stop := run(t, n, testGroup(0))
		time.Sleep(5 * time.Second)
		j.take()
		n.mu.Lock()
		n.gone = true // of a virtual MAC, say, and made again since
		n.mu.Unlock()
		time.Sleep(time.Second)
		want(t, "its interface is another one", j.take())
		if got := w.holders(shared); len(got) != 1 {
			t.Errorf("held by %v", got)
		}
		n.mu.Lock()
		n.blind = syscall.ENODEV
		n.mu.Unlock()
		time.Sleep(300 * time.Millisecond) // a refresh
		want(t, "without an interface", j.take(), "demoting by blocked", "waiting by blocked")
		if err := stop(); err != nil {
			t.Error(err)
		}
	})
}
