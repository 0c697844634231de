package agentcmd

import (
	"bytes"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/cobra"

	"kvmctl/cmd/internal/cli"
	"kvmctl/internal/version"
)

// said runs kvmha in this process.
func said(t *testing.T, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	var out, errs bytes.Buffer
	env := &cli.Env{Prog: "kvmha", Args: args, In: strings.NewReader(""), Out: &out, Err: &errs, Get: func(string) string { return "" }}
	code = Main(t.Context(), env)
	return code, out.String(), errs.String()
}

func TestRootCommand(t *testing.T) {
	missing := t.TempDir() + "/missing"
	for _, c := range []struct {
		args           []string
		code           int
		stdout, stderr string
	}{
		{[]string{"version"}, 0, "kvmha " + version.Version + "\n", ""},
		{[]string{"--version"}, 0, "kvmha " + version.Version + "\n", ""},
		{[]string{"verison"}, 2, "", "kvmha: error: cannot run \"verison\": no such command of kvmha\nkvmha: hint: did you mean `kvmha version`?\n"},
		{[]string{"version", "x"}, 2, "", "kvmha: error: cannot run kvmha version with 1 argument\nkvmha: hint: kvmha version\n"},
		{[]string{"--root", missing, "version"}, 2, "", "kvmha: error: cannot use --root: stat " + missing + ": no such file or directory\nkvmha: hint: mkdir " + missing + "\n"},
		{[]string{"--config", "", "version"}, 2, "", "kvmha: error: cannot use --config: it is empty\nkvmha: hint: kvmha version --help\n"},
		{[]string{"completion", "csh"}, 2, "", "kvmha: error: cannot complete for \"csh\": no such shell here\nkvmha: hint: kvmha completion bash|zsh|fish\n"},
	} {
		t.Run(strings.Join(c.args, " "), func(t *testing.T) {
			code, stdout, stderr := said(t, c.args...)
			if d := cmp.Diff([]any{c.code, c.stdout, c.stderr}, []any{code, stdout, stderr}); d != "" {
				t.Errorf("(-want +got)\n%s", d)
			}
		})
	}
}

func TestEveryCommandHasAHelpAndAnExampleThatParses(t *testing.T) {
	for _, shell := range []string{"bash", "zsh", "fish"} {
		if code, out, _ := said(t, "completion", shell); code != 0 || !strings.Contains(out, "kvmha") {
			t.Errorf("completion %s: exit %d, %d bytes", shell, code, len(out))
		}
	}
	env := &cli.Env{Prog: "kvmha"}
	var visit func(c *cobra.Command)
	visit = func(c *cobra.Command) {
		for _, sub := range c.Commands() {
			visit(sub)
		}
		if c.HasParent() && (c.Short == "" || c.Long == "" || c.Example == "") {
			t.Errorf("%s lacks a text", c.CommandPath())
		}
		for line := range strings.Lines(c.Example) {
			words := strings.Fields(line)
			if i := strings.IndexAny(strings.Join(words, " "), ">|"); i >= 0 {
				words = strings.Fields(strings.Join(words, " ")[:i])
			}
			if len(words) < 2 || words[0] != "kvmha" {
				t.Errorf("%s: the example %q calls something else", c.CommandPath(), line)
				continue
			}
			found, rest, err := New(env).Find(words[1:])
			if err != nil || !found.HasParent() {
				t.Errorf("%s: %q: %v", c.CommandPath(), line, err)
				continue
			}
			found.InitDefaultHelpFlag()
			if err := found.ParseFlags(rest); err != nil {
				t.Errorf("%s: %q: %v", c.CommandPath(), line, err)
			} else if err := found.ValidateArgs(found.Flags().Args()); err != nil {
				t.Errorf("%s: %q: %v", c.CommandPath(), line, err)
			}
		}
	}
	visit(New(env))
}

func TestGroupsComplete(t *testing.T) {
	for _, line := range []string{"status", "switch", "log", "maintenance on"} {
		_, out, _ := said(t, append(append([]string{"__complete"}, strings.Fields(line)...), "")...)
		if out != ":4\n" { // no files, where no agent answers
			t.Errorf("%s: completes %q", line, out)
		}
	}
}
