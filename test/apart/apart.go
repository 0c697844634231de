// Package apart runs a program in namespaces of its own, where it meets nobody else's guests, bridges, mounts and processes.
package apart

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"syscall"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// initName is argv[0] of the first process in the namespaces.
const initName = "kvmctl-apart-init"

// Run runs this program again, with args behind its name, in pid, mount, network, ipc and uts namespaces of its own, and gives its exit code.
// What it starts and mounts there ends with it, however it ends: nothing has to be found and killed. Its main calls Init first.
func Run(ctx context.Context, args ...string) (int, error) {
	runtime.LockOSThread() // Pdeathsig is about the thread that made the child
	defer runtime.UnlockOSThread()
	cmd := &exec.Cmd{Path: "/proc/self/exe", Args: append([]string{initName}, args...), Stdout: os.Stdout, Stderr: os.Stderr}
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags: unix.CLONE_NEWPID | unix.CLONE_NEWNS | unix.CLONE_NEWNET | unix.CLONE_NEWIPC | unix.CLONE_NEWUTS,
		Pdeathsig:  unix.SIGKILL,
		Setpgid:    true, // ^C is for us to hear
	}
	if err := cmd.Start(); err != nil {
		return 1, fmt.Errorf("enter new namespaces: %w", err)
	}
	done := make(chan error, 1)
	go func() { done <- cmd.Wait() }()
	select {
	case err := <-done:
		return exitCode(err)
	case <-ctx.Done():
	}
	_ = cmd.Process.Kill() // the kernel ends every process of its namespace before Wait returns
	<-done
	return 1, errors.New("interrupted; everything that was started has ended")
}

func exitCode(err error) (int, error) {
	var exit *exec.ExitError
	if errors.As(err, &exit) && exit.Exited() {
		return exit.ExitCode(), nil
	}
	if err != nil {
		return 1, err
	}
	return 0, nil
}

// Init does not return in the first process of Run's namespaces: it sets them up, with what more may do there (or nil), runs the program and buries
// what is orphaned. In every other process it does nothing.
func Init(more func() error) {
	if os.Args[0] == initName {
		os.Exit(beInit(more))
	}
}

func beInit(more func() error) int {
	err := setUp()
	if err == nil && more != nil {
		err = more()
	}
	cmd := &exec.Cmd{Path: "/proc/self/exe", Args: append([]string{"inside"}, os.Args[1:]...), Stdout: os.Stdout, Stderr: os.Stderr}
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		fmt.Fprintf(os.Stderr, "error: cannot run apart: %v\n", err)
		return 1
	}
	for {
		var status unix.WaitStatus
		pid, err := unix.Wait4(-1, &status, 0, nil)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			fmt.Fprintf(os.Stderr, "error: cannot wait for children: %v\n", err)
			return 1
		}
		if pid == cmd.Process.Pid {
			return status.ExitStatus()
		}
	}
}

// setUp gives the namespaces what programs expect to find: a /proc and a /sys that show them, an empty /run, lo.
func setUp() error {
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("make the mounts private: %w", err)
	}
	for _, m := range []struct{ kind, path string }{{"proc", "/proc"}, {"sysfs", "/sys"}, {"tmpfs", "/run"}} {
		if err := unix.Mount(m.kind, m.path, m.kind, unix.MS_NOSUID|unix.MS_NOEXEC, ""); err != nil {
			return fmt.Errorf("mount %s on %s: %w", m.kind, m.path, err)
		}
	}
	lo, err := netlink.LinkByName("lo")
	if err != nil {
		return fmt.Errorf("find lo: %w", err)
	}
	if err := netlink.LinkSetUp(lo); err != nil {
		return fmt.Errorf("set lo up: %w", err)
	}
	return nil
}
