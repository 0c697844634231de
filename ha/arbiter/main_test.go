//go:build linux

package arbiter

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"syscall"
	"testing"

	"github.com/vishvananda/netlink"
	"go.uber.org/goleak"
	"golang.org/x/sys/unix"
)

// The first thread stays with TestMain, and is the one on which the process that is killed does its system calls.
func init() { runtime.LockOSThread() }

// What the environment makes of the test binary.
const (
	apart  = "ARBITER_TEST_APART"  // it runs in a network of its own, with mounts of its own
	repeat = "ARBITER_TEST_REPEAT" // then the victim asks at first what the record's winner asked
	victim = "ARBITER_TEST_VICTIM" // it wins one number after the other in this directory, until it is killed
)

func TestMain(m *testing.M) {
	if dir := os.Getenv(victim); dir != "" {
		win(dir)
	}
	if os.Getenv("KVM_TEST_TIERS") == "all" && os.Getuid() == 0 {
		if os.Getenv(apart) == "" {
			os.Exit(rerun())
		}
		lo, err := netlink.LinkByName("lo")
		if err == nil {
			err = netlink.LinkSetUp(lo)
		}
		if err == nil {
			err = unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, "")
		}
		if err != nil {
			panic(err)
		}
	}
	goleak.VerifyTestMain(m)
}

// rerun does the whole run in a network of its own, and with mounts of its own.
func rerun() int {
	cmd := exec.Command("/proc/self/exe", os.Args[1:]...)
	cmd.Env = append(os.Environ(), apart+"=1")
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWNET | unix.CLONE_NEWNS, Pdeathsig: unix.SIGKILL} // it is about the thread, which is the first
	if err := cmd.Run(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

// win is a process that says each number that it has won.
func win(dir string) {
	ctx := context.Background()
	s, err := Open(ctx, dir, []Group{pair})
	if err != nil {
		panic(err)
	}
	have, err := s.Look(ctx, pair.Name)
	if err == nil && os.Getenv(repeat) != "" {
		have, err = s.AskFrom(ctx, have.Holder, Request{pair.Name, have.Holder, have.N, have.ID})
		fmt.Println(have.N)
	}
	for err == nil {
		have, err = s.AskFrom(ctx, "a", Request{pair.Name, "a", have.N + 1, NewID()})
		fmt.Println(have.N)
	}
	panic(err)
}

var pair = Group{"web", []string{"a", "b"}}
