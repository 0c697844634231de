package vm

import (
	"bytes"
	"fmt"
	"os/exec"
	"testing"

	"golang.org/x/sys/unix"

	"kvmctl/internal/testenv"
)

// A QEMU that is stopped stands in the same system call as one that waits for work: /proc/PID/syscall alone does not tell them apart.
func TestAStoppedQEMUDoesNotWaitForWork(t *testing.T) {
	testenv.Need(t, testenv.QEMU)
	cmd := exec.Command("qemu-system-x86_64", "-machine", "none", "-nodefaults", "-display", "none")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	until(t, "it waits for work", func() bool { return waitsForWork(cmd.Process.Pid) })
	if err := cmd.Process.Signal(unix.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	until(t, "it stands still", func() bool {
		return bytes.Contains(mustRead(t, fmt.Sprintf("/proc/%d/stat", cmd.Process.Pid)), []byte(") T "))
	})
	if waitsForWork(cmd.Process.Pid) {
		t.Error("it is stopped and waits for work")
	}
	if err := cmd.Process.Signal(unix.SIGCONT); err != nil {
		t.Fatal(err)
	}
	until(t, "it waits for work again", func() bool { return waitsForWork(cmd.Process.Pid) })
	if waitsForWork(1 << 30) {
		t.Error("a process that is not there waits for work")
	}
}
