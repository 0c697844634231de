package vm_test

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"kvmctl/vm"
)

// However many guests are wedged, a table waits for them once and not in turns, and calls no healthy one wedged for it. The wedged ones
// are made of what status looks at: a locked pidfile, and a monitor that takes connections and says nothing.
func TestATableWaitsForAllWedgedGuestsAtOnce(t *testing.T) {
	h := newSite(t) // alone: it measures
	const wedged = 150
	var names, pidfiles []string
	for i := range wedged {
		name := fmt.Sprintf("w%d", i)
		if err := vm.MakeDirs(h.RunDir(name), 0o711); err != nil {
			t.Fatal(err)
		}
		for file, content := range map[string]string{"qemu.pid": "", "state.json": `{"version":1,"run":"r","uid":0}`} {
			if err := os.WriteFile(filepath.Join(h.RunDir(name), file), []byte(content), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		l, err := net.Listen("unix", h.QMPSocket(name))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { l.Close() })
		names, pidfiles = append(names, name), append(pidfiles, h.Pidfile(name))
	}
	s := h.bare("vm-olorin")
	h.start(s)
	h.until("it greets", func() bool { return h.status(s.Name).State == vm.StateRunning })
	victim := holdLock(t, strings.Join(pidfiles, ":"))
	t.Cleanup(func() { _ = victim.Process.Kill() }) // its locks are what keeps the clean-up from burying
	began := time.Now()
	all := h.Overview(h.within(), append(names, s.Name))
	took := time.Since(began)
	t.Logf("%d wedged guests: %v", wedged, took.Round(time.Millisecond))
	if took > late*statusPromise { // in turns of 16 it would be 2 s
		t.Errorf("it took %v", took)
	}
	for _, st := range all[:wedged] {
		if st.State != vm.StateWedged || st.Note != "QEMU does not answer" {
			t.Fatalf("%s is %s %q", st.Name, st.State, st.Note)
		}
	}
	// On a busy machine it may be late once.
	h.until("the healthy one is running", func() bool { return h.Status(h.within(), append(names, s.Name))[wedged].State == vm.StateRunning })
	h.stop(s, byForce)
}
