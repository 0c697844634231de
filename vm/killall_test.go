package vm

import (
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"

	"kvmctl/internal/testenv"
)

func TestAnUnfinishedStartKillsOnlyWhatWritesToTheGuestsLog(t *testing.T) {
	testenv.Need(t, testenv.Netns) // root, to become another user
	const uid = 987_654
	log := filepath.Join(t.TempDir(), "stderr")
	run := func(stderr io.Writer) *exec.Cmd {
		cmd := exec.Command("sleep", "300")
		cmd.Stderr = stderr
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uid, Gid: uid}, Pdeathsig: syscall.SIGKILL}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		return cmd
	}
	foreign := run(nil)
	defer foreign.Wait()
	defer foreign.Process.Kill()

	// Nothing was executed yet: there is no log, and nothing is ours.
	if err := killAll(uid, log); err != nil {
		t.Fatal(err)
	}
	f, err := os.Create(log)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	ours := run(f)
	defer ours.Wait()
	defer ours.Process.Kill()

	if err := killAll(uid, log); err != nil {
		t.Fatal(err)
	}
	if err := ours.Wait(); err == nil || ours.ProcessState.Sys().(syscall.WaitStatus).Signal() != syscall.SIGKILL {
		t.Errorf("the guest's own process: %v, %v; want it killed", err, ours.ProcessState)
	}
	p, err := openProcess(foreign.Process.Pid)
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	if p.waitPlain(0) { // a zombie has ended too
		t.Error("a foreign process of the same uid was ended")
	}
}
