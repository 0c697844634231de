package vm_test

import (
	"errors"
	"path/filepath"
	"regexp"
	"testing"
	"time"

	"kvmctl/internal/flock"
	"kvmctl/test/guest"
	"kvmctl/vm"
	"kvmctl/vm/vmtest"
)

// awaitReady waits until the guest hears its power button.
func awaitReady(t *testing.T, h *vm.Host, name string) {
	t.Helper()
	w := h.WatchConsole(name, regexp.MustCompile(guest.Ready))
	defer w.Close()
	if err := h.Await(t.Context(), name, w.Check); err != nil {
		t.Fatal(err)
	}
}

func TestAMonitorInUseDoesNotCutTheGuestsPower(t *testing.T) {
	t.Parallel()
	h := vmtest.Host(t)
	s := vmtest.Spec(t, h, "vm-olorin")
	vmtest.Start(t, h, s)
	awaitReady(t, h, s.Name)
	hold := func() *flock.Lock {
		l, err := flock.TryLock(filepath.Join(h.RunDir(s.Name), "qmp.lock"))
		if err != nil {
			t.Fatal(err)
		}
		return l
	}

	// Held for all of the guest's time: nothing is done to the guest.
	l := hold()
	var held *vm.MonitorHeldError
	if st, err := h.Stop(t.Context(), s, vm.StopOptions{Timeout: 3 * time.Second}); !errors.As(err, &held) {
		t.Errorf("stop with the monitor held: %+v, %v; want a MonitorHeldError", st, err)
	}
	if got := vmtest.Owner(t, h, s.Name); got == nil {
		t.Fatal("the guest was ended")
	} else {
		got.Close()
	}

	// Held for longer than any one try, then free: the guest is asked, and goes down by itself.
	time.AfterFunc(5*time.Second, func() { l.Unlock() })
	st, err := h.Stop(t.Context(), s, vm.StopOptions{Timeout: vmtest.Patience})
	if err != nil || !st.Clean || st.Rung != vm.RungACPI {
		t.Errorf("stop after the monitor was free: %+v, %v; want acpi, clean", st, err)
	}
}
