package runner

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os/exec"
	"runtime"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

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
	if c.Stdin != nil {
		cmd.Stdin = bytes.NewReader(c.Stdin)
	}
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
