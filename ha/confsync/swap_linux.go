package confsync

import (
	"fmt"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// exchange makes two paths of one file system change places, at once for whoever looks (renameat2(2), RENAME_EXCHANGE).
func exchange(a, b string) error {
	if err := unix.Renameat2(unix.AT_FDCWD, a, unix.AT_FDCWD, b, unix.RENAME_EXCHANGE); err != nil {
		return fmt.Errorf("exchange %s and %s: %w", a, b, err)
	}
	return nil
}

// flush writes all of a file system to its disk.
func flush(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := unix.Syncfs(int(f.Fd())); err != nil {
		return fmt.Errorf("sync the file system of %s: %w", path, err)
	}
	return nil
}

// apart makes a program see mounts of its own, and die with its parent.
func apart(mounts bool) *syscall.SysProcAttr {
	a := &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	if mounts {
		a.Unshareflags = syscall.CLONE_NEWNS
	}
	return a
}
