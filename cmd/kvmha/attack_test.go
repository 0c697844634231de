package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

// Whoever reads the agent's log may hang: a stopped pager, a journal that waits for its disk. Adverts and leases wait for nobody.
func TestNobodyReadsTheLog(t *testing.T) {
	s := start(t)
	path := filepath.Join(t.TempDir(), "log")
	s.must(unix.Mkfifo(path, 0o600))
	pipe, err := os.OpenFile(path, os.O_RDWR, 0)
	s.must(err)
	defer pipe.Close()
	if _, err := unix.FcntlInt(pipe.Fd(), unix.F_SETPIPE_SZ, 4096); err != nil {
		t.Fatal(err)
	}
	root, err := os.MkdirTemp("", "ha")
	s.must(err)
	t.Cleanup(func() { os.RemoveAll(root) })
	a := &agent{s: s, node: s.lab.Node("a"), root: root}
	a.write(group("web", s.vip, 0, ""))
	self, err := os.Executable()
	s.must(err)
	c := a.node.Command(context.Background(), "/bin/sh", "-c", fmt.Sprintf("exec %q --root %q run --debug 2>%q", self, root, path))
	c.Env = append(os.Environ(), asAgent+"=1")
	a.Process, err = a.node.StartCmd("kvmha", c)
	s.must(err)
	a.role("active")
	for range 40 { // each is a line of the log
		if out, err := a.ask("maintenance", "off"); err != nil {
			t.Fatal(out, err)
		}
	}
	a.role("active")
	s.held("a")
}
