package netbridge_test

import (
	"bytes"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"kvmctl/internal/testenv"
)

// QEMU as another user, without any capability, has to be content with TAPs that it does not own.
func TestQEMUOfAnotherUserRunsOnTheFilesAndTheTAPEndsWithIt(t *testing.T) {
	testenv.Need(t, testenv.QEMU)
	w := withBridge(t, 1500)
	files := w.open(t, olorin(2))
	qemu := exec.CommandContext(t.Context(), "qemu-system-x86_64", "-accel", "tcg", "-S", "-nodefaults", "-display", "none", "-m", "32",
		"-monitor", "stdio", "-netdev", "tap,id=n0,fds=3:4", "-device", "virtio-net-pci,netdev=n0,mq=on,vectors=6")
	qemu.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	qemu.ExtraFiles = files
	var out bytes.Buffer
	qemu.Stdout, qemu.Stderr = &out, &out
	stdin, err := qemu.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := qemu.Start(); err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		f.Close()
	}
	if got := w.get(t, "kv1.0"); got.Master != "br0" || !got.Up {
		t.Errorf("under QEMU: %+v", got)
	}
	if _, err := stdin.Write([]byte("info network\nquit\n")); err != nil {
		t.Error(err)
	}
	if err := qemu.Wait(); err != nil {
		t.Errorf("QEMU: %v", err)
	}
	for _, want := range []string{"index=0,type=tap,fd=3", "index=1,type=tap,fd=4"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("QEMU does not say %q", want)
		}
	}
	if t.Failed() {
		t.Logf("QEMU: %s", out.String())
	}
	eventually(t, "the TAP is gone", func() bool { return w.names(t) == "lo br0" })
}
