package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"kvmctl/ha"
	"kvmctl/ha/hatest"
)

// A restart in place with a file that has a mistake is refused with the mistake, by the command and by the signal; nobody feels it.
func TestRestartWithABrokenFileIsRefused(t *testing.T) {
	s, a := master(t, "")
	good := group("web", s.vip, 0, "preempt = true\npreempt_delay = \"0s\"\n")
	a.write("[group.web]\nnonsense = 1\n")
	_, err := a.ask("restart")
	if err == nil || !strings.Contains(err.Error(), "exit status 2") || !strings.Contains(err.Error(), `unknown key "nonsense"`) {
		t.Errorf("restart: %v", err)
	}
	s.must(a.Signal(unix.SIGUSR2))
	if err := hatest.Until(s.ctx, func() bool { return strings.Count(a.Output(), "no restart in place") == 2 }); err != nil {
		t.Error("the signal is not refused")
	}
	if st, err := a.status(); err != nil || st.Loop.Restart != 0 || st.Groups[0].Role != "active" || len(st.Degraded) != 1 {
		t.Errorf("after it: %+v, %v", st, err)
	}
	a.write(good)
	if out, err := a.ask("restart"); err != nil {
		t.Fatal(out, err)
	}
	if err := hatest.Until(s.ctx, func() bool {
		st, err := a.status()
		return err == nil && st.Loop.Restart == 1 && st.Groups[0].Role == "active" && len(st.Degraded) == 0
	}); err != nil {
		t.Error("it does not restart with a good file")
	}
	s.undisturbed()
}

// The file breaks between the look and the new program: that goes on with what it was handed, says so, and takes the file when it is good again.
func TestAFileThatBreaksDuringTheRestart(t *testing.T) {
	s, a := master(t, "")
	good := group("web", s.vip, 0, "preempt = true\npreempt_delay = \"0s\"\n")
	for n := 1; ; n++ {
		a.write(good)
		read := s.whenRead(filepath.Join(a.root, "etc/kvmha.toml"))
		s.must(a.Signal(unix.SIGUSR2))
		read()
		a.write("[group.web]\nnonsense = 1\n")
		var last ha.Status
		if err := hatest.Until(s.ctx, func() bool {
			st, err := a.status()
			last = st
			return err == nil && st.Loop.Restart == n
		}); err != nil {
			t.Fatalf("restart %d: %+v, %v", n, last, err)
		}
		if last.Groups[0].Role != "active" {
			t.Errorf("restart %d: it is %s", n, last.Groups[0].Role)
		}
		if strings.Contains(strings.Join(last.Degraded, " "), "nonsense") {
			break
		}
		t.Log("the new program was faster than the typing error")
	}
	a.write(good)
	if out, err := a.ask("reload"); err != nil {
		t.Error(out, err)
	}
	if st, err := a.status(); err != nil || len(st.Degraded) != 0 {
		t.Errorf("with a good file: %+v, %v", st, err)
	}
	s.undisturbed()
}

// whenRead watches a file; what it gives waits until somebody has read it and closed it again.
func (s *site) whenRead(path string) (wait func()) {
	s.t.Helper()
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	s.must(err)
	f := os.NewFile(uintptr(fd), "inotify")
	s.t.Cleanup(func() { f.Close() })
	_, err = unix.InotifyAddWatch(fd, path, unix.IN_CLOSE_NOWRITE)
	s.must(err)
	return func() {
		s.t.Helper()
		s.must(f.SetReadDeadline(time.Now().Add(30 * time.Second)))
		_, err := f.Read(make([]byte, 4096))
		s.must(err)
	}
}

// undisturbed checks that one node has had the address all the time.
func (s *site) undisturbed() {
	s.t.Helper()
	if spans := s.holders.Spans(); len(spans) != 1 || strings.Join(s.holders.Now(), " ") != "a" {
		s.t.Errorf("it was felt: %+v", spans)
	}
}
