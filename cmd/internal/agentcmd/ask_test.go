package agentcmd

import (
	"bytes"
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"kvmctl/cmd/internal/cli"
	"kvmctl/ha"
)

func TestWhatTheAgentAnswersIsAnErrorPerLineAndAnExitCode(t *testing.T) {
	for _, c := range []struct {
		name   string
		reply  ha.Reply
		code   int
		stderr string
	}{
		{"unknown group", ha.Reply{Usage: true, Error: `there is no group "x"`, Hint: "kvmha status"}, 2,
			"kvmha: error: cannot act: there is no group \"x\"\nkvmha: hint: kvmha status\n"},
		{"refused", ha.Reply{Refused: true, Error: "web is not active here", Hint: "kvmha status"}, 3,
			"kvmha: error: cannot act: web is not active here\nkvmha: hint: kvmha status\n"},
		{"failed", ha.Reply{Error: "let go, and nobody was heard to take it"}, 1, "kvmha: error: cannot act: let go, and nobody was heard to take it\n"},
		{"a file with two mistakes", ha.Reply{Usage: true, Error: "f:1:1: a\nf:2:1: b", Hint: "kvmha check"}, 2,
			"kvmha: error: cannot act: f:1:1: a\nkvmha: error: cannot act: f:2:1: b\nkvmha: hint: kvmha check\n"},
	} {
		t.Run(c.name, func(t *testing.T) {
			var errs bytes.Buffer
			code := (&cli.Env{Prog: "kvmha", Err: &errs}).Report(answered("act", c.reply))
			if d := cmp.Diff([]any{c.code, c.stderr}, []any{code, errs.String()}); d != "" {
				t.Errorf("(-want +got)\n%s", d)
			}
		})
	}
}

// TestExitCodes calls every command where no agent runs: what is wrong with the call or the file is 2, what lacks is 1.
func TestExitCodes(t *testing.T) {
	root, bad := etc(t, map[string]string{"kvmha.toml": webFile}), etc(t, map[string]string{"kvmha.toml": "x = 1\n"})
	tests := []struct {
		line string
		code int
	}{
		{"notify", 0}, {"version", 0}, {"help", 0}, {"help status", 0}, {"completion bash", 0}, {"check", 0}, {"log", 0}, {"log --explain --json", 0},
		{"nonsense", 2}, {"help nonsense", 2}, {"status --nonsense", 2}, {"status --watch --json", 2}, {"log -n 0", 2}, {"log a b", 2},
		{"switch", 2}, {"switch a b", 2}, {"maintenance", 2}, {"maintenance maybe", 2}, {"reload x", 2}, {"restart x", 2}, {"notify nonsense", 2},
		{"notify test", 2}, {"completion csh", 2}, {"tick x", 2}, {"run x", 2}, {"import-ucarp x", 2}, {"check a b", 2},
		{"pair a b", 2}, {"pair x", 2}, {"pair --list --rotate", 2}, {"pair 10.2.0.1 --list", 2}, {"pair --json", 2}, {"pair --forget ../x", 2},
		{"pair --list", 0}, {"pair --forget b", 0}, {"pair --yes x", 1}, {"pair --rotate", 1}, {"pair 127.0.0.1:1", 1}, {"pair --listen 127.0.0.1:0 --timeout 1ms", 5},
		{"status", 1}, {"switch web", 1}, {"maintenance on", 1}, {"maintenance off web", 1}, {"reload", 1}, {"restart", 1},
		{"import-ucarp", 1}, {"import-ucarp --default " + root + "/missing", 1},
	}
	for _, c := range tests {
		if code, _, stderr := said(t, append([]string{"--root", root}, strings.Fields(c.line)...)...); code != c.code {
			t.Errorf("%s: exit %d, want %d\n%s", c.line, code, c.code, stderr)
		}
	}
	for _, line := range []string{"check", "notify test"} {
		if code, _, stderr := said(t, append([]string{"--root", bad}, strings.Fields(line)...)...); code != 2 {
			t.Errorf("%s with a bad file: exit %d, want 2\n%s", line, code, stderr)
		}
	}
}

// TestAnAgentThatHangs has exit code 5: somebody listens, and nobody answers.
func TestAnAgentThatHangs(t *testing.T) {
	root := t.TempDir()
	dir := filepath.Join(root, "run/kvmha")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	t.Chdir(dir) // a socket's path has little room
	l, err := net.Listen("unix", socketName)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if code, _, stderr := said(t, "--root", root, "status"); code != 5 || !strings.Contains(stderr, "the agent did not answer within 5s") {
		t.Errorf("exit %d: %s", code, stderr)
	}
}

// TestWhoIsTiredOfWaitingIsFree ends a command by its signal while the agent does not answer.
func TestWhoIsTiredOfWaitingIsFree(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { _, err := ha.Ask(ctx, path, ha.Request{Verb: ha.VerbSwitch}); ended <- err }()
	c, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	cancel()
	select {
	case err := <-ended:
		if !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
	case <-time.After(20 * time.Second):
		t.Error("it waits for the agent's answer")
	}
}
