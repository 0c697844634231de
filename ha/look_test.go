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
