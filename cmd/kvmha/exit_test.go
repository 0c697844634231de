package main

import (
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// exits runs a command of kvmha's and wants this exit code and these words.
func (a *agent) exits(code int, words string, args ...string) {
	a.s.t.Helper()
	out, err := a.ask(args...)
	a.exited(code, words, args, out, err)
}

func (a *agent) exited(code int, words string, args []string, out string, err error) {
	a.s.t.Helper()
	got := 0
	if exit := (*exec.ExitError)(nil); errors.As(err, &exit) {
		got, out = exit.ExitCode(), out+err.Error()
	} else if err != nil {
		a.s.t.Fatal(args, err)
	}
	if got != code || !strings.Contains(out, words) {
		a.s.t.Errorf("kvmha %s: exit %d, want %d with %q:\n%s", strings.Join(args, " "), got, code, words, out)
	}
}

// What the agent refuses for safety is 3, a bad file 2; it goes on all the same.
func TestExitCodesOfWhatTheAgentRefuses(t *testing.T) {
	s := start(t)
	a := s.agent("a", group("web", s.vip, 0, command("slow", "sleep 300", "true")))
	a.role("promoting")
	a.exits(3, "another kvmha runs here already", "run")
	a.exits(3, "kvmha: hint:", "restart") // a step is under way
	a.exits(3, "kvmha: hint:", "switch", "web")
	a.write("[group.web]\nnonsense = 1\n")
	a.exits(2, "kvmha.toml:2:1", "reload")
	a.exits(2, "kvmha.toml:2:1", "run")
	a.exits(2, "kvmha.toml:2:1", "check")
	a.role("promoting")
}

// TestWhoIsNotRoot is told so at once by each command that needs the agent or its files; the others serve him.
func TestWhoIsNotRoot(t *testing.T) {
	s := start(t)
	a := s.agent("a", group("web", s.vip, 0, ""))
	a.role("active")
	program := filepath.Join(a.root, "kvmha")
	s.must(clone("/proc/self/exe", program))
	s.must(os.Chmod(a.root, 0o755)) // so that the modes of what the agent made itself decide
	for _, c := range []struct {
		line, words string
		code        int
	}{
		{"run", "cannot run the agent: only root may", 1},
		{"tick", "only root may", 1},
		{"status", "permission denied\nkvmha: hint: sudo kvmha", 1},
		{"status --json", "permission denied\nkvmha: hint: sudo kvmha", 1},
		{"switch web", "permission denied\nkvmha: hint: sudo kvmha", 1},
		{"maintenance on", "permission denied\nkvmha: hint: sudo kvmha", 1},
		{"reload", "permission denied\nkvmha: hint: sudo kvmha", 1},
		{"restart", "permission denied\nkvmha: hint: sudo kvmha", 1},
		{"log", "permission denied\nkvmha: hint: sudo kvmha", 1},
		{"log -f", "permission denied\nkvmha: hint: sudo kvmha", 1},
		{"log --json", "permission denied\nkvmha: hint: sudo kvmha", 1},
		{"check", "kvmha.toml: permission denied\nkvmha: hint: sudo kvmha", 1},
		{"probe", "kvmha.toml: permission denied\nkvmha: hint: sudo kvmha", 1},
		{"sync list", "kvmha.toml: permission denied\nkvmha: hint: sudo kvmha", 1},
		{"version", "kvmha ", 0},
		{"help status", "kvmha status", 0},
	} {
		args := strings.Fields(c.line)
		cmd := exec.CommandContext(s.ctx, program, append([]string{"--root", a.root}, args...)...)
		cmd.Env = []string{asAgent + "=1", "PATH=" + os.Getenv("PATH")}
		cmd.Dir = "/"
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
		out, err := cmd.CombinedOutput()
		a.exited(c.code, c.words, args, string(out), err)
	}
	a.role("active")
}

// clone copies a program for everybody to run.
func clone(from, to string) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o755)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	return errors.Join(err, out.Chmod(0o755), out.Close())
}

// TestAStopThatIsNotClean is 4: a unit's stop fails, and nothing tells its processes, so they may run on. The address goes all the same.
func TestAStopThatIsNotClean(t *testing.T) {
	s := start(t)
	a := s.agent("a", group("web", s.vip, 0, command("stays", "true", "exit 1")))
	a.role("active")
	s.held("a")
	s.must(a.Signal(syscall.SIGTERM))
	err := a.Wait(s.ctx)
	if exit := (*exec.ExitError)(nil); !errors.As(err, &exit) || exit.ExitCode() != 4 || !strings.Contains(a.Output(), "group web: not everything was let go of") {
		t.Errorf("%v, want exit code 4", err)
	}
	if has, err := a.node.Holds(s.vip); err != nil || has {
		t.Errorf("the address is still there: %v, %v", has, err)
	}
}
