package proc

import (
	"errors"
	"os/exec"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestState is a process that sleeps, is stopped, is killed and is reaped: State tells each, and of one that is gone nothing, whoever has its number.
func TestState(t *testing.T) {
	cmd := exec.Command("sleep", "1000")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	reaped := false
	defer func() {
		if !reaped {
			_ = cmd.Process.Kill()
			_ = cmd.Wait()
		}
	}()
	p, err := Open(cmd.Process.Pid)
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	late, err := Open(cmd.Process.Pid) // is asked only when it is gone
	if err != nil {
		t.Fatal(err)
	}
	defer late.Close()
	until := func(want byte) {
		t.Helper()
		var got byte
		for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); time.Sleep(time.Millisecond) {
			var err error
			if got, err = p.State(); err != nil {
				t.Fatal(err)
			}
			if got == want {
				return
			}
		}
		t.Fatalf("its state stays %c, want %c", got, want)
	}
	until('S')
	if err := p.Signal(unix.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	until('T')
	if err := p.Signal(unix.SIGKILL); err != nil {
		t.Fatal(err)
	}
	until('Z')
	_ = cmd.Wait()
	reaped = true
	for _, p := range []*Process{p, late} {
		if got, err := p.State(); !errors.Is(err, unix.ESRCH) && !errors.Is(err, unix.ENOENT) {
			t.Errorf("of one that is gone: %c, %v", got, err)
		}
	}
}
