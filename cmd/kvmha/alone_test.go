package main

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"kvmctl/ha/hatest"
)

// Two agents on a node would both hold its addresses. The socket's name says nothing: it can be gone, or not there yet.
func TestASecondAgentIsRefusedThoughTheSocketIsGone(t *testing.T) {
	s := start(t)
	a := s.agent("a", group("web", s.vip, 0, ""))
	a.role("standby")
	s.must(os.Remove(filepath.Join(a.root, "run/kvmha/kvmha.sock")))
	_, err := a.ask("run")
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.ExitCode() != 3 || !strings.Contains(err.Error(), "another kvmha runs here already") {
		t.Errorf("%v, want exit code 3", err)
	}
}

// What the starter left open stays with the agent: a lock of its own, say, which every daemon of the group's would keep.
func TestUnitsInheritNoDescriptor(t *testing.T) {
	s := start(t)
	open, err := os.CreateTemp(t.TempDir(), "lock")
	s.must(err)
	defer open.Close()
	a := &agent{s: s, node: s.lab.Node("a"), root: t.TempDir()}
	list := filepath.Join(a.root, "fds")
	a.write(group("web", s.vip, 0, `[[group.web.unit]]
type = "command"
name = "look"
start = ["/bin/sh", "-c", "ls -l /proc/self/fd >`+list+`.new; mv `+list+`.new `+list+`"]
stop = ["/bin/true"]
`))
	c := a.node.Command(context.Background(), "/proc/self/exe", "--root", a.root, "run")
	c.Env = append(os.Environ(), asAgent+"=1")
	c.ExtraFiles = []*os.File{open, open, open}
	_, err = a.node.StartCmd("kvmha", c)
	s.must(err)
	var text []byte
	s.must(hatest.Until(s.ctx, func() bool { text, err = os.ReadFile(list); return err == nil }))
	if strings.Contains(string(text), open.Name()) {
		t.Errorf("a unit's program has\n%s", text)
	}
}
