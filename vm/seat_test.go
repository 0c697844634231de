package vm

import (
	"errors"
	"path/filepath"
	"sync"
	"testing"
	"time"
)

// Two who force a seat at once: never do two sit there, and whoever does not get it is told by whom it is held.
func TestTwoWhoForceASeatAtOnce(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "console.lock")
	first, err := takeSeat(t.Context(), path, consoleSeat, "root, test", Visitor{TTY: "pts/1"})
	if err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	sitting, got := 1, 0
	sit := func(by int) {
		mu.Lock()
		defer mu.Unlock()
		if sitting += by; sitting > 1 {
			t.Errorf("%d sit there", sitting)
		}
	}
	var wg sync.WaitGroup
	for _, tty := range []string{"pts/2", "pts/3"} {
		wg.Go(func() {
			s, err := takeSeat(t.Context(), path, consoleSeat, "root, test", Visitor{TTY: tty, Force: true})
			var taken *TakenError
			var held *HeldSeatError
			switch {
			case errors.As(err, &held), errors.As(err, &taken):
				return
			case err != nil:
				t.Errorf("%s: %v", tty, err)
				return
			}
			sit(+1)
			mu.Lock()
			got++
			mu.Unlock()
			select {
			case <-s.taken: // by the other one
			case <-time.After(2 * wishLook):
			}
			sit(-1)
			s.leave()
		})
	}
	select {
	case who := <-first.taken:
		if who.TTY != "pts/2" && who.TTY != "pts/3" {
			t.Errorf("taken by %v", who)
		}
	case <-time.After(wishWait):
		t.Error("the one who sat there is not told")
	}
	sit(-1)
	first.leave()
	wg.Wait()
	if got == 0 {
		t.Error("nobody got it")
	}
}
