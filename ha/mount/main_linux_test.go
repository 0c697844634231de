package mount

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// alone, in the environment, says that this program has a mount namespace of its own.
const alone = "KVM_TEST_MOUNT_ALONE"

// The first thread stays with the main goroutine: the namespace that /proc/PID/ns tells of a holder is that thread's.
func init() { runtime.LockOSThread() }

// TestMain runs the tests in a mount namespace of their own: whatever else this machine starts in a namespace meanwhile would have a copy of
// their mounts, hold them for as long as it lives, and be killed for it.
func TestMain(m *testing.M) {
	if role := os.Getenv(actEnv); role != "" {
		act(role, os.Args[1:])
	}
	if os.Getuid() != 0 || os.Getenv("KVM_TEST_TIERS") != "all" || os.Getenv(alone) != "" {
		os.Exit(m.Run())
	}
	cmd := exec.Command("/proc/self/exe", os.Args[1:]...)
	cmd.Env = append(os.Environ(), alone+"=1")
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Unshareflags: unix.CLONE_NEWNS, Pdeathsig: syscall.SIGKILL} // Go makes it private
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(cmd.ProcessState.ExitCode())
}
