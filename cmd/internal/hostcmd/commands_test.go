package hostcmd

import (
	"testing"

	"kvmctl/cmd/internal/cli"
)

func TestEachCommandIsUnderItsName(t *testing.T) {
	for _, c := range commands {
		if got := c.make(&app{env: &cli.Env{}}).Name(); got != c.name {
			t.Errorf("%q is under %q", got, c.name)
		}
		root := New(&cli.Env{Prog: "kvmctl", Args: []string{"--root", "/x", c.name}})
		if found, _, err := root.Find([]string{c.name}); err != nil || found.Name() != c.name {
			t.Errorf("%s is not found: %v", c.name, err)
		}
	}
}

// A word that is no command meets all of them: the hint knows what was meant.
func TestWhichCommandIsCalled(t *testing.T) {
	for _, c := range []struct {
		want  int
		words []string
	}{
		{1, []string{"status"}},
		{1, []string{"--root", "status", "list"}},
		{1, []string{"--root=/x", "-v", "status", "start"}},
		{len(commands), nil},
		{len(commands), []string{"statsu", "status"}},
		{len(commands), []string{"help", "status"}},
		{len(commands), []string{"__complete", "status", ""}},
		{len(commands), []string{"completion", "bash"}},
		{len(commands), []string{"--help"}},
		{len(commands), []string{"-x", "status"}},
	} {
		root := New(&cli.Env{Prog: "kvmctl", Args: c.words})
		got := 0
		for _, sub := range root.Commands() {
			if isCommand(sub.Name()) {
				got++
			}
		}
		if got != c.want {
			t.Errorf("%q: %d commands, want %d", c.words, got, c.want)
		}
	}
}
