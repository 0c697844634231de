package confsync

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

// What a validator says first may be its name and licence (dhcpd's five lines): what counts comes last.
func TestALongTalkKeepsItsEnd(t *testing.T) {
	var out tail
	for i := range 200 {
		if _, err := out.Write([]byte("line " + strconv.Itoa(i) + " of many\n\n")); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := out.Write([]byte("the reason\x1b[2J\nexiting")); err != nil {
		t.Fatal(err)
	}
	if s := out.String(); len(s) > maxSaid+maxSaid/2 || !strings.HasSuffix(s, "; line 199 of many; the reason [2J; exiting") {
		t.Errorf("%d bytes: …%s", len(s), s[max(0, len(s)-100):])
	}
}

// A reload may start a daemon that keeps the output it was given: it has ended well all the same.
func TestAReloadMayLeaveADaemon(t *testing.T) {
	t.Parallel()
	dir, e, job := site(t)
	pidfile := filepath.Join(dir, "pid")
	job.Reload = []string{"/bin/sh", "-c", "sleep 1000 & echo $! >" + pidfile}
	t.Cleanup(func() {
		text, _ := os.ReadFile(pidfile)
		if pid, err := strconv.Atoi(strings.TrimSpace(string(text))); err == nil && pid > 1 {
			_ = syscall.Kill(pid, syscall.SIGKILL)
		}
	})
	if c, err := e.Run(t.Context(), job, false); err != nil || c.None() {
		t.Errorf("%+v, %v", c, err)
	}
}
