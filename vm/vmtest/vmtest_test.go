package vmtest_test

import (
	"os"
	"syscall"
	"testing"

	"kvmctl/vm/vmtest"
)

func TestAGuestAndItsHostAreGoneAfterTheTest(t *testing.T) {
	var root string
	var pid int
	if !t.Run("start", func(t *testing.T) {
		h := vmtest.Host(t)
		root = h.Root
		pid = vmtest.Start(t, h, vmtest.Spec(t, h, "vm-olorin")).PID
		p := vmtest.Owner(t, h, "vm-olorin")
		if p == nil {
			t.Fatal("no QEMU owns the guest that was started")
		}
		p.Close()
		if p.PID != pid {
			t.Errorf("owned by pid %d, started as %d", p.PID, pid)
		}
	}) || root == "" {
		return
	}
	if _, err := os.Stat(root); !os.IsNotExist(err) {
		t.Errorf("root %s is still there: %v", root, err)
	}
	if alive, err := os.FindProcess(pid); err == nil && alive.Signal(syscall.Signal(0)) == nil {
		t.Errorf("QEMU, pid %d, is still there", pid)
	}
}
