package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"kvmctl/ha/hatest"
)

// Between two programs of one agent nobody reads: what the master says then, once and for all, waits in the socket that is handed over.
func TestABowOutDuringAnUpgradeIsHeard(t *testing.T) {
	const begins = 700 * time.Millisecond // what the new program takes until it is there
	s := start(t)
	b := s.agent("b", group("web", s.vip, 0, ""))
	s.held("b")
	dir := t.TempDir()
	a := &agent{s: s, node: s.lab.Node("a"), root: t.TempDir(), exe: filepath.Join(dir, "kvmha")}
	self, err := os.Executable()
	s.must(err)
	for _, name := range []string{"kvmha", "kvmha.new"} {
		s.must(exec.CommandContext(s.ctx, "cp", self, filepath.Join(dir, name)).Run())
	}
	a.write(group("web", s.vip, 100, ""))
	a.start()
	a.role("standby")
	mark := filepath.Join(dir, "mark")
	slow := fmt.Sprintf("#!/bin/sh\ntouch %s\nsleep %g\nexec %s/kvmha.new \"$@\"\n", mark, begins.Seconds(), dir)
	s.must(os.WriteFile(filepath.Join(dir, "slow"), []byte(slow), 0o755))
	s.must(os.Rename(filepath.Join(dir, "slow"), a.exe))
	s.must(a.Signal(unix.SIGUSR2))
	s.must(hatest.Until(s.ctx, func() bool { _, err := os.Stat(mark); return err == nil }))
	stop := time.Now()
	s.must(b.Signal(unix.SIGTERM))
	s.held("a")
	spans := s.holders.Spans()
	took := spans[len(spans)-1].From.Sub(stop)
	t.Logf("the new program has the address %s after the master's stop", took)
	if took > 2200*time.Millisecond { // by silence it is 2.4 s at least
		t.Errorf("it has the address %s after the master's stop", took)
	}
	if st, err := a.status(); err != nil || st.Loop.Restart != 1 {
		t.Errorf("%+v, %v", st.Loop, err)
	}
}
