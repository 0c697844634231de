package main

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"kvmctl/internal/testenv"
)

// script is contrib/kvmha.init with a program that only sleeps in place of the agent.
type script struct {
	t       *testing.T
	run     string // its RUN directory
	program string
}

func initScript(t *testing.T) *script {
	t.Helper()
	testenv.Need(t, testenv.Netns, "flock", "setsid")
	dir := t.TempDir()
	s := &script{t, filepath.Join(dir, "run"), filepath.Join(dir, "kvmha")}
	text := "#!/bin/sh\ncase $1 in run | tick) exec sleep 1000 ;; esac\necho \"$1\"\n"
	if err := os.WriteFile(s.program, []byte(text), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.does("stop", 0) })
	return s
}

// does runs an action and gives what it printed.
func (s *script) does(action string, code int) string {
	s.t.Helper()
	cmd := exec.Command("../../contrib/kvmha.init", action)
	cmd.Env = append(os.Environ(), "RUN="+s.run, "KVMHA="+s.program, "STOP_TIME=10")
	out, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) || cmd.ProcessState.ExitCode() != code {
		s.t.Errorf("%s: %v, want exit %d: %s", action, err, code, out)
	}
	return string(out)
}

// pid reads the first number of a file in the run directory; 0: it has none.
func (s *script) pid(name string) int {
	b, err := os.ReadFile(filepath.Join(s.run, name))
	if err != nil {
		return 0
	}
	word, _, _ := strings.Cut(strings.TrimSpace(string(b)), " ")
	n, _ := strconv.Atoi(word) // a file that is just being written
	return n
}

func (s *script) until(what string, ok func() bool) {
	s.t.Helper()
	for end := time.Now().Add(10 * time.Second); !ok(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			s.t.Fatalf("never: %s", what)
		}
	}
}

// agent waits for the agent's number.
func (s *script) agent() (pid int) {
	s.t.Helper()
	s.until("an agent runs", func() bool { pid = s.pid("agent.child"); return pid > 1 && unix.Kill(pid, 0) == nil })
	return pid
}

// killLoop takes the loop away from behind the agent.
func (s *script) killLoop() {
	s.t.Helper()
	if loop := s.pid("agent.pid"); loop < 2 || unix.Kill(loop, unix.SIGKILL) != nil {
		s.t.Fatalf("there is no loop: %d", loop)
	}
	s.until("the loop has ended, and its lock with it", func() bool {
		f, err := os.Open(filepath.Join(s.run, "agent.pid"))
		if err != nil {
			s.t.Fatal(err)
		}
		defer f.Close()
		return unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB) == nil
	})
}

func gone(pid int) func() bool { return func() bool { return unix.Kill(pid, 0) != nil } }

func TestInitScriptFindsAnAgentWhoseLoopWasKilled(t *testing.T) {
	t.Parallel()
	s := initScript(t)
	s.does("status", 3)
	s.does("start", 0)
	agent := s.agent()
	s.killLoop()
	if out := s.does("status", 0); !strings.Contains(out, "without the loop") {
		t.Errorf("status: %s", out)
	}
	s.does("reload", 0)
	s.does("stop", 0)
	s.until("the agent has ended", gone(agent))
	s.does("status", 3)
}

func TestInitScriptPutsALoopBehindAnAgentThatHasNone(t *testing.T) {
	t.Parallel()
	s := initScript(t)
	s.does("start", 0)
	agent := s.agent()
	s.killLoop()
	s.does("start", 0)
	if now := s.agent(); now != agent {
		t.Errorf("start began another agent: %d, %d", agent, now)
	}
	if err := unix.Kill(agent, unix.SIGKILL); err != nil {
		t.Fatal(err)
	}
	s.until("another agent", func() bool { now := s.agent(); return now != agent })
	if out := s.does("start", 0); !strings.Contains(out, "runs already") {
		t.Errorf("start: %s", out)
	}
	agent = s.agent()
	if err := unix.Kill(agent, unix.SIGSTOP); err != nil { // one that hangs hears of the stop, too
		t.Fatal(err)
	}
	s.does("stop", 0)
	s.until("the agent has ended", gone(agent))
}

// Each action once in one life: restart and reload keep the agent's process, and what is asked of nobody says so by LSB's codes.
func TestInitScriptDoesEachAction(t *testing.T) {
	t.Parallel()
	s := initScript(t)
	s.does("nonsense", 2)
	s.does("stop", 0)
	s.does("reload", 7)
	s.does("start", 0)
	agent := s.agent()
	if out := s.does("status", 0); strings.Contains(out, "without the loop") {
		t.Errorf("status: %s", out)
	}
	for _, action := range []string{"reload", "force-reload", "restart", "reload"} {
		s.does(action, 0)
		if now := s.agent(); now != agent {
			t.Errorf("%s began another agent: %d, %d", action, now, agent)
		}
	}
	s.does("stop", 0)
	s.until("the agent has ended", gone(agent))
	s.does("status", 3)
	s.does("restart", 0)
	if now := s.agent(); now == agent {
		t.Errorf("restart of nobody found the old agent, %d", now)
	}
	s.does("status", 0)
}
