package vm

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestAKernelThatEverybodyMayReadIsNotCopied(t *testing.T) {
	for _, tt := range []struct {
		name   string
		mode   os.FileMode
		copied bool
	}{
		{"everybody's", 0o644, false},
		{"root's alone", 0o600, true},
		{"root's and its group's", 0o640, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "vmlinuz")
			if err := os.WriteFile(path, []byte("kernel"), tt.mode); err != nil {
				t.Fatal(err)
			}
			if err := os.Chmod(path, tt.mode); err != nil { // whatever the umask
				t.Fatal(err)
			}
			f, err := openKernel(fdKernel, path)
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			target, err := os.Readlink(fmt.Sprintf("/proc/self/fd/%d", f.Fd()))
			if err != nil {
				t.Fatal(err)
			}
			if copied := strings.HasPrefix(target, "/memfd:"); copied != tt.copied {
				t.Errorf("the descriptor leads to %s; copied: want %v", target, tt.copied)
			}
			// QEMU opens it by path, from the start.
			content, err := os.ReadFile(fmt.Sprintf("/proc/self/fd/%d", f.Fd()))
			if err != nil || string(content) != "kernel" {
				t.Errorf("read through the descriptor: %q, %v", content, err)
			}
		})
	}
}

func TestAKernelIsARegularFile(t *testing.T) {
	dir := t.TempDir()
	if _, err := openKernel(fdKernel, dir); err == nil || !strings.Contains(err.Error(), "is not a regular file") {
		t.Errorf("open a directory as kernel: %v", err)
	}
}
