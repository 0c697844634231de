// Package runner executes other programs: bounded in output, never outliving their caller, gone as a group when their context ends.
package runner

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"runtime"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Bounds of what is kept of a program's output, in bytes; the rest is read and dropped.
const (
	MaxStdout = 1 << 20  // the beginning
	MaxStderr = 16 << 10 // the end: that is where programs say why they gave up
)

// Command is one program to execute.
type Command struct {
	Argv   []string  // Argv[0] is a path, or a name looked up in PATH
	Stdout io.Writer // gets standard output as it comes, unbounded; nil: nobody
}

// String is the command as one line for people.
func (c Command) String() string { return strings.Join(c.Argv, " ") }

// Result is what a program left when it ended by itself or by a signal.
type Result struct {
	Stdout, Stderr []byte
	Truncated      bool           // of Stdout: there was more than MaxStdout
	Exit           int            // exit status; -1 when a signal ended it
	Signal         syscall.Signal // that signal; 0: none
}

// Runner executes a command and waits for its end. An error says that it could not be started, or that ctx ended it
// (then errors.Is finds ctx's cause); a program that ends with a non-zero status is no error of the runner's.
type Runner interface {
	Run(ctx context.Context, c Command) (Result, error)
}

// Exec is the Runner that executes. The zero value is ready.
type Exec struct{}

// environment is all that programs get: the same messages whoever calls.
var environment = []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL=C"}

// pipeGrace is how long a program's own children may keep its output open after its end.
const pipeGrace = 2 * time.Second

// Run implements Runner. The program is the leader of a process group of its own, which SIGKILL ends as a whole when ctx
// does; and it is killed when this process dies, however it dies.
func (Exec) Run(ctx context.Context, c Command) (Result, error) {
	if len(c.Argv) == 0 {
		return Result{}, errors.New("execute: no program named")
	}
	if ctx.Err() != nil {
		return Result{}, fmt.Errorf("execute %s: %w", c.Argv[0], context.Cause(ctx))
	}
	// The kernel sends the parent-death signal when the *thread* that forked ends: keep it until the child is reaped.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	stdout, stderr := &head{max: MaxStdout, tee: c.Stdout}, &tail{max: MaxStderr}
	cmd := exec.Command(c.Argv[0], c.Argv[1:]...)
	cmd.Env = environment
	cmd.Stdout, cmd.Stderr = stdout, stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	cmd.WaitDelay = pipeGrace
	if err := cmd.Start(); err != nil {
		return Result{}, fmt.Errorf("execute %s: %w", c.Argv[0], err)
	}
	killed := superviseGroup(ctx, cmd.Process.Pid)
	err := cmd.Wait()
	if killed {
		return Result{}, fmt.Errorf("execute %s: %w", c.Argv[0], context.Cause(ctx))
	}
	var status *exec.ExitError
	if err != nil && !errors.As(err, &status) {
		return Result{}, fmt.Errorf("execute %s: %w", c.Argv[0], err)
	}
	r := Result{Stdout: stdout.kept, Stderr: stderr.kept, Truncated: stdout.truncated, Exit: cmd.ProcessState.ExitCode()}
	if ws, ok := cmd.ProcessState.Sys().(syscall.WaitStatus); ok && ws.Signaled() {
		r.Signal = ws.Signal()
	}
	return r, nil
}

// superviseGroup returns when the leader has ended, and reports whether ctx was why. The leader is left unreaped, so
// that its number cannot be anyone else's while the group is signalled.
func superviseGroup(ctx context.Context, pid int) (killed bool) {
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for unix.Waitid(unix.P_PID, pid, nil, unix.WEXITED|unix.WNOWAIT, nil) == unix.EINTR {
		}
	}()
	select {
	case <-ended:
		return false
	case <-ctx.Done():
		unix.Kill(-pid, unix.SIGKILL) // the group exists as long as its leader is unreaped
		<-ended
		return true
	}
}

// head keeps the first max bytes.
type head struct {
	max       int
	kept      []byte
	truncated bool
	tee       io.Writer
}

func (h *head) Write(p []byte) (int, error) {
	n := min(len(p), h.max-len(h.kept))
	h.kept = append(h.kept, p[:n]...)
	h.truncated = h.truncated || n < len(p)
	if h.tee != nil {
		return h.tee.Write(p)
	}
	return len(p), nil
}

// tail keeps the last max bytes.
type tail struct {
	max  int
	kept []byte
}

func (t *tail) Write(p []byte) (int, error) {
	t.kept = append(t.kept, p...)
	if over := len(t.kept) - t.max; over > 0 {
		t.kept = append(t.kept[:0], t.kept[over:]...)
	}
	return len(p), nil
}
