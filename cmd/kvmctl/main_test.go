package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"kvmctl/cmd/internal/cli"
	"kvmctl/test/guest"
)

// apart, in the environment, marks the process that has namespaces of its own.
const apart = "KVMCTL_TEST_APART"

// The first thread stays with TestMain: /proc/self is that thread's, and ownNetwork must not change what everybody sees there.
func init() { runtime.LockOSThread() }

// TestMain lets the test binary be kvmctl itself. The tests that make
// bridges and mounts run in a network and a mount namespace that end with them, whatever a failed test leaves.
func TestMain(m *testing.M) {
	as := filepath.Base(os.Args[0])
	if as != "kvmctl" && os.Getenv("KVM_TEST_TIERS") == "all" && os.Getuid() == 0 {
		if os.Getenv(apart) == "" {
			os.Exit(rerun())
		}
		if err := settleIn(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	}
	testscript.Main(m, map[string]func(){"kvmctl": mortal})
}

// dieAfter, in the environment, names the step of a command after which kvmctl gets SIGKILL.
const dieAfter = "KVMCTL_TEST_DIE_AFTER"

// mortal is kvmctl, which dies where a script wants it to.
func mortal() {
	env := cli.OSEnv("kvmctl")
	if last := os.Getenv(dieAfter); last != "" {
		env.Step = func(step string) {
			if step == last {
				_ = unix.Kill(os.Getpid(), unix.SIGKILL)
				select {}
			}
		}
	}
	os.Exit(run(env))
}

// rerun does the whole run in namespaces of its own.
func rerun() int {
	if _, err := guest.Build(context.Background(), guest.DefaultDir()); err != nil { // it may need the network, which is not in there
		fmt.Fprintln(os.Stderr, err)
	}
	cmd := exec.Command("/proc/self/exe", os.Args[1:]...)
	cmd.Env = append(os.Environ(), apart+"=1")
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.SysProcAttr = &unix.SysProcAttr{Cloneflags: unix.CLONE_NEWNET | unix.CLONE_NEWNS, Pdeathsig: unix.SIGKILL} // it is about the thread, which is the first
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		fmt.Fprintln(os.Stderr, "run the tests in namespaces of their own:", err)
		return 1
	}
	return cmd.ProcessState.ExitCode()
}

// settleIn brings up the new namespaces' loopback, where VNC listens, and keeps mounts from getting out.
func settleIn() error {
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("make mounts private: %w", err)
	}
	return loopbackUp()
}

// ownNetwork gives the calling goroutine, and what it starts, a network namespace that ends with them.
func ownNetwork() error {
	runtime.LockOSThread() // for good: the thread ends with the goroutine
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		return fmt.Errorf("make a network namespace: %w", err)
	}
	return loopbackUp()
}

func loopbackUp() error {
	lo, err := netlink.LinkByName("lo")
	if err != nil {
		return fmt.Errorf("find lo: %w", err)
	}
	if err := netlink.LinkSetUp(lo); err != nil {
		return fmt.Errorf("bring lo up: %w", err)
	}
	return nil
}
