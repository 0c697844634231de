package vm

import (
	"encoding/json"
	"fmt"
	"math"
	"os"
	"os/exec"
	"slices"

	"golang.org/x/sys/unix"
)

// LauncherName is argv[0] under which this program is started again as the launcher of a guest.
const LauncherName = "kvmctl-launch"

// orderFD is where a launcher finds the socket over which its order comes.
const orderFD = 3

// launchPlan is all that the launcher does.
type launchPlan struct {
	UID    int      `json:"uid"`
	Groups []int    `json:"groups"`
	Argv   []string `json:"argv"`
	Env    []string `json:"env"`
	Cage   *cage    `json:"cage,omitempty"` // of a helper; nil: the host's own file systems
}

// launcher is this program, started again, that waits to be told what to become. A start begins one before it knows that: getting a
// process to run takes 3 ms, in which the start does other work.
type launcher struct {
	cmd  *exec.Cmd
	sock *os.File // our end of the order's socket
}

func newLauncher() (*launcher, error) {
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("make the launcher's socket: %w", err)
	}
	ours, theirs := os.NewFile(uintptr(pair[0]), "order"), os.NewFile(uintptr(pair[1]), "order")
	defer theirs.Close()
	cmd := exec.Command("/proc/self/exe")
	cmd.Args = []string{LauncherName}
	cmd.Env = []string{"GOMAXPROCS=1"}
	cmd.Dir = "/"
	cmd.ExtraFiles = []*os.File{theirs}
	if err := cmd.Start(); err != nil {
		ours.Close()
		return nil, fmt.Errorf("start the launcher: %w", err)
	}
	return &launcher{cmd, ours}, nil
}

// dismiss ends a launcher that is not needed.
func (l *launcher) dismiss() {
	l.sock.Close()
	_ = l.cmd.Wait() // it has ended, whatever it says
}

// become makes the launcher a program: files are its descriptors FirstFD, FirstFD+1, …, and stderr is where its errors go; nil: nowhere. The
// launcher holds lock until it becomes the program.
func (l *launcher) become(plan launchPlan, files []*os.File, lock, stderr *os.File) (*exec.Cmd, error) {
	if err := l.send(plan, files, lock, stderr); err != nil {
		l.dismiss()
		return nil, fmt.Errorf("tell the launcher what to start: %w", err)
	}
	l.sock.Close()
	return l.cmd, nil
}

// comingLauncher is a launcher while it is being started.
type comingLauncher struct {
	made  chan struct{} // closed when l and err are set: a fork and an exec, which block for nobody
	l     *launcher
	err   error
	taken bool
}

func beginLauncher() *comingLauncher {
	c := &comingLauncher{made: make(chan struct{})}
	go func() { defer close(c.made); c.l, c.err = newLauncher() }()
	return c
}

// take gives the launcher to the caller.
func (c *comingLauncher) take() (*launcher, error) {
	<-c.made
	c.taken = c.err == nil
	return c.l, c.err
}

// drop ends a launcher that nobody took.
func (c *comingLauncher) drop() {
	if <-c.made; c.err == nil && !c.taken {
		c.l.dismiss()
	}
}

// maxPassed is how many descriptors the kernel passes in one message (SCM_MAX_FD, unix(7)).
const maxPassed = 253

// send passes the plan in a file of memory, because there is no bound to its length, then stderr, the lock and the files. The first byte of
// each message tells whether another one follows.
func (l *launcher) send(plan launchPlan, files []*os.File, lock, stderr *os.File) error {
	b, err := json.Marshal(plan)
	if err != nil {
		return err
	}
	pf, err := memfd("kvmctl-plan", b)
	if err != nil {
		return err
	}
	defer pf.Close()
	if stderr == nil {
		if stderr, err = os.OpenFile(os.DevNull, os.O_WRONLY, 0); err != nil {
			return err
		}
		defer stderr.Close()
	}
	var fds []int
	for _, f := range append([]*os.File{pf, stderr, lock}, files...) {
		fds = append(fds, int(f.Fd()))
	}
	sock := int(l.sock.Fd())
	for part := range slices.Chunk(fds, maxPassed) {
		last := &part[len(part)-1] == &fds[len(fds)-1]
		more := []byte{1}
		if last {
			more[0] = 0
		}
		if err := unix.Sendmsg(sock, more, unix.UnixRights(part...), nil, unix.MSG_NOSIGNAL); err != nil {
			return err
		}
	}
	return nil
}

// launch is newLauncher and become.
func launch(plan launchPlan, files []*os.File, lock, stderr *os.File) (*exec.Cmd, error) {
	l, err := newLauncher()
	if err != nil {
		return nil, err
	}
	return l.become(plan, files, lock, stderr)
}

// memfd gives an anonymous file with the given content, positioned at its start.
func memfd(name string, content []byte) (*os.File, error) {
	fd, err := unix.MemfdCreate(name, unix.MFD_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("make a memfd: %w", err)
	}
	f := os.NewFile(uintptr(fd), name)
	if _, err := f.WriteAt(content, 0); err != nil {
		f.Close()
		return nil, fmt.Errorf("fill a memfd: %w", err)
	}
	return f, nil
}

// SealInheritance keeps descriptors that kvmctl was started with from its children: a caller's `flock 9` must not live as long as a guest.
// Call it first thing in main. stdin, stdout and stderr stay.
func SealInheritance() error {
	if err := unix.CloseRange(3, math.MaxInt32, unix.CLOSE_RANGE_CLOEXEC); err != nil {
		return fmt.Errorf("mark inherited descriptors close-on-exec: %w", err)
	}
	return nil
}
