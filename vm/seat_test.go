package vm

import (
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
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

// A kvmctl under SIGSTOP holds the guest up and hears nothing but SIGCONT and SIGKILL: who forces its seat is told so.
func TestWhoIsStoppedIsNamed(t *testing.T) {
	t.Parallel()
	cmd := exec.CommandContext(t.Context(), "sleep", "600")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = cmd.Process.Kill(); _ = cmd.Wait() }()
	me := Sitter{User: "sam", PID: cmd.Process.Pid, TTY: "pts/1", Since: time.Now()}
	path := filepath.Join(t.TempDir(), "console.lock")
	l, err := lockAs(t.Context(), seatWait, path, consoleSeat, me)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Unlock() }()
	if me.Stopped() {
		t.Error("stopped before it was")
	}
	if err := cmd.Process.Signal(unix.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(time.Minute); !me.Stopped(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("it does not stop")
		}
	}
	_, err = takeSeat(t.Context(), path, consoleSeat, "frodo", Visitor{Force: true})
	var held *HeldSeatError
	since := me.Since.Local().Format("2006-01-02 15:04:05")
	want := fmt.Sprintf("the console is in use by sam (pid %d) on pts/1 since %s, whose kvmctl is stopped by a signal", me.PID, since)
	if !errors.As(err, &held) || held.Error() != want || held.Hint() != fmt.Sprintf("kill -CONT %d", me.PID) {
		t.Errorf("got %v, want %s", err, want)
	}
}
