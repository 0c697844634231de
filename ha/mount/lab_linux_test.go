package mount

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"kvmctl/internal/runner"
	"kvmctl/internal/testenv"
)

// long is longer than anything takes that works.
const long = 30 * time.Second

// lab is a file system in a file, on a loop device, and the directory where it belongs.
type lab struct {
	*Mounter
	Mount
	t     *testing.T
	image string
}

// newLab makes a file system. It is a loop device of its own, which the test's end detaches.
func newLab(t *testing.T, kind string) *lab {
	t.Helper()
	testenv.Need(t, testenv.Netns, "losetup", "mkfs."+kind, "e2fsck")
	root := t.TempDir()
	l := &lab{New(runner.Exec{}), Mount{Dir: filepath.Join(root, "srv"), Type: kind}, t, filepath.Join(root, "image")}
	l.Grace = 10 * time.Second // SIGTERM ends all of them but those that are deaf
	if err := os.Mkdir(l.Dir, 0o755); err != nil {
		t.Fatal(err)
	}
	size := "16M"
	if kind == "xfs" {
		size = "300M"
	}
	run(t, "truncate", "-s", size, l.image)
	run(t, "mkfs."+kind, "-q", l.image)
	l.Device = loop(t, l.image)
	return l
}

// loop shows a file as a block device until the test ends.
func loop(t *testing.T, file string, more ...string) string {
	t.Helper()
	dev := strings.TrimSpace(run(t, append([]string{"losetup", "-f", "--show"}, append(more, file)...)...))
	t.Cleanup(func() {
		for unix.Unmount(mountOf(dev), 0) == nil {
		}
		run(t, "losetup", "-d", dev)
	})
	return dev
}

// mountOf gives a place where a device is mounted.
func mountOf(dev string) string {
	out, _ := exec.Command("findmnt", "-nfo", "TARGET", "-S", dev).Output()
	return strings.TrimSpace(string(out))
}

func run(t *testing.T, argv ...string) string {
	t.Helper()
	out, err := exec.Command(argv[0], argv[1:]...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v\n%s", strings.Join(argv, " "), err, out)
	}
	return string(out)
}

func within(t *testing.T, d time.Duration) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), d)
	t.Cleanup(cancel)
	return ctx
}

// mounted mounts it.
func (l *lab) mounted() {
	l.t.Helper()
	if err := l.Mounter.Mount(within(l.t, long), l.Mount); err != nil {
		l.t.Fatal(err)
	}
	if ok, err := l.Mounted(l.Mount); !ok || err != nil {
		l.t.Fatalf("mounted: %v, %v", ok, err)
	}
}

// unmounted unmounts it, killing, and looks whether its device is free; it gives the report.
func (l *lab) unmounted() []Holder {
	l.t.Helper()
	got, err := l.Unmount(within(l.t, long), l.Mount, true)
	if err != nil {
		l.t.Fatal(err)
	}
	if err := exclusive(l.Device); err != nil {
		l.t.Error(err)
	}
	return got
}

// busy unmounts it, killing nobody, which must fail within d; it gives the holders.
func (l *lab) busy(d time.Duration) []Holder {
	l.t.Helper()
	_, err := l.Unmount(within(l.t, d), l.Mount, false)
	return busyError(l.t, err).Holders
}

// says compares holders with what they are to say: "KIND process (COMM) WHAT (FATE)", numbers and the lab's directory replaced.
func (l *lab) says(what string, got []Holder, want ...string) {
	l.t.Helper()
	var lines []string
	for _, h := range got {
		s := h.String()
		if h.PID != 0 {
			s = strings.Replace(s, fmt.Sprintf("process %d", h.PID), "process", 1)
		}
		lines = append(lines, h.Kind.String()+": "+strings.NewReplacer(l.Dir, "DIR", l.Device, "DEV", filepath.Dir(l.Dir), "ROOT").Replace(s))
	}
	if g, w := strings.Join(lines, "\n"), strings.Join(want, "\n"); g != w {
		l.t.Errorf("%s:\n%s\nwant:\n%s", what, g, w)
	}
}

// actEnv, in the environment, makes this program a holder.
const actEnv = "KVM_TEST_MOUNT_ACT"

// act is a holder: it takes hold of something, says so, and waits until it is killed or its standard input ends.
func act(role string, args []string) {
	_ = os.WriteFile("/proc/self/comm", []byte(role), 0o600)
	hold := map[string]func() error{
		"file": func() error { _, err := unix.Open(args[0], unix.O_RDWR|unix.O_CREAT, 0o600); return err },
		"keep": func() error { _, err := unix.Open(args[0], unix.O_RDONLY, 0); return err },
		"flight": func() error { // a descriptor that nobody has: it is on its way to somebody
			fd, err := unix.Open(args[0], unix.O_RDWR|unix.O_CREAT, 0o600)
			pair, perr := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM, 0)
			if err := errors.Join(err, perr); err != nil {
				return err
			}
			return errors.Join(unix.Sendmsg(pair[0], []byte("x"), unix.UnixRights(fd), nil, 0), unix.Close(fd))
		},
		"cwd":  func() error { return os.Chdir(args[0]) },
		"root": func() error { return unix.Chroot(args[0]) },
		"map": func() error {
			f, err := os.OpenFile(args[0], os.O_RDWR|os.O_CREATE, 0o600)
			if err != nil {
				return err
			}
			defer f.Close()
			if err := f.Truncate(4096); err != nil {
				return err
			}
			_, err = unix.Mmap(int(f.Fd()), 0, 4096, unix.PROT_READ, unix.MAP_SHARED)
			return err
		},
		"deaf": func() error {
			signal.Ignore(unix.SIGTERM)
			return os.Chdir(args[0])
		},
		"space":    func() error { return space(unix.MS_PRIVATE) }, // as of a container
		"slave":    func() error { return space(unix.MS_SLAVE) },   // as of a unit with ProtectSystem=strict
		"procless": func() error { return errors.Join(space(unix.MS_PRIVATE), unix.Unmount("/proc", unix.MNT_DETACH)) },
		"chrooted": func() error { return errors.Join(space(unix.MS_PRIVATE), unix.Chroot(args[0]), os.Chdir("/")) },
		"thread": func() error {
			done := make(chan error)
			go func() {
				done <- space(unix.MS_PRIVATE)
				select {}
			}()
			return <-done
		},
		"socket": func() error { _, err := net.Listen("unix", args[0]); return err },
		"netsocket": func() error {
			runtime.LockOSThread()
			_, err := net.Listen("unix", args[0])
			return errors.Join(unix.Unshare(unix.CLONE_NEWNET), err)
		},
		"doomed": func() error { return doomed(args) },
	}
	if err := hold[role](); err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	fmt.Println("holds")
	_, _ = io.Copy(io.Discard, os.Stdin)
	os.Exit(0)
}

// space gives the calling thread a mount namespace of its own.
func space(propagation uintptr) error {
	runtime.LockOSThread()
	return errors.Join(unix.Unshare(unix.CLONE_NEWNS), unix.Mount("", "/", "", unix.MS_REC|propagation, ""))
}

// holder starts one.
func holder(t *testing.T, role string, args ...string) *exec.Cmd {
	t.Helper()
	cmd := exec.Command("/proc/self/exe", args...)
	cmd.Env = append(os.Environ(), actEnv+"="+role)
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		stdin.Close()
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	if line, _ := bufio.NewReader(out).ReadString('\n'); line != "holds\n" {
		t.Fatalf("%s: %q", role, line)
	}
	return cmd
}
