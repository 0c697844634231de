package check

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"runtime"
	"syscall"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"go.uber.org/goleak"
	"golang.org/x/sys/unix"
)

// The first thread stays with TestMain: a program's umask is set on a thread that ends with it, which the first one cannot.
func init() { runtime.LockOSThread() }

// What the environment makes of the test binary.
const (
	apart  = "CHECK_TEST_APART"  // it runs in a network of its own
	server = "CHECK_TEST_SERVER" // it is a server of this kind, on descriptor 3
)

func TestMain(m *testing.M) {
	if kind := os.Getenv(server); kind != "" {
		serve(kind)
	}
	if os.Getenv("KVM_TEST_TIERS") == "all" && os.Getuid() == 0 {
		if os.Getenv(apart) == "" {
			os.Exit(rerun())
		}
		lo, err := netlink.LinkByName("lo")
		if err == nil {
			err = netlink.LinkSetUp(lo)
		}
		if err == nil { // what the tests mount is theirs
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

// serve is a server in a process of its own, which can be stopped and killed.
func serve(kind string) {
	l, err := net.FileListener(os.NewFile(3, "listener"))
	if err != nil {
		panic(err)
	}
	for {
		c, err := l.Accept()
		if err != nil {
			panic(err)
		}
		go func() {
			defer c.Close()
			_ = c.SetDeadline(time.Now().Add(10 * time.Second))
			switch kind {
			case "banner":
				fmt.Fprint(c, "220 mail.example.org ESMTP\r\n")
			case "echo":
				b := make([]byte, 1024)
				n, _ := c.Read(b)
				_, _ = c.Write(b[:n])
			case "slow":
				for _, b := range []byte("220 slow\r\n") {
					time.Sleep(20 * time.Millisecond)
					_, _ = c.Write([]byte{b})
				}
			case "garbage":
				for range 100 {
					_, _ = c.Write([]byte("\x00\xff\x1b[31mgarbage\r\n\x80 and more of it, on and on, without an end: 0123456789\n"))
				}
			case "mute":
				_, _ = c.Read(make([]byte, 1))
			case "close":
			}
		}()
	}
}
