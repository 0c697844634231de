package vm_test

import (
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"kvmctl/internal/flock"
	"kvmctl/vm/vmtest"
)

func TestAnOverviewAsksOnlyWhoNeedsAsking(t *testing.T) {
	t.Parallel()
	h := newSite(t)
	names := []string{"vm-olorin", "vm-ulmo", "vm-varda"}
	for _, n := range names {
		vmtest.Start(t, h.Host, h.idle(n))
	}
	overview := func() (words []string) {
		for _, s := range h.Overview(t.Context(), names) {
			words = append(words, string(s.State)+" "+s.Note)
		}
		return words
	}
	shows := func(want ...string) {
		t.Helper()
		h.until("the overview shows it", func() bool { return cmp.Equal(want, overview()) })
	}
	shows("running ", "running ", "running ")

	// While somebody has the monitor it cannot be asked, and a guest that does not need it still shows as running, plainly.
	l, err := flock.TryLock(filepath.Join(h.RunDir(names[0]), "qmp.lock"))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Unlock()
	if s := h.Status(t.Context(), names[:1])[0]; s.Note == "" {
		t.Errorf("asked by name: %q, want that the monitor is in use", s.Note)
	}
	h.execute(names[1], "stop")
	h.signal(names[2], unix.SIGSTOP)
	shows("running ", "paused ", "wedged QEMU does not answer")
	h.execute(names[1], "cont")
	h.signal(names[2], unix.SIGCONT)
	shows("running ", "running ", "running ")
}
