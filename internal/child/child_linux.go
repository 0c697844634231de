package child

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Run runs a program as the leader of a session of its own and waits for its end. An error says that it could not be started, or is a
// *TimeoutError: ctx ended and the whole group was ended, by SIGTERM and then SIGKILL, before Run returned. A program that ends with another
// status than 0 is no error: see Result.Err. What it leaves in the background keeps a standard output that takes a pipe's worth of words
// and then no more, but never blocks it and never kills it by SIGPIPE.
func Run(ctx context.Context, c Command) (Result, error) {
	if len(c.Argv) == 0 {
		return Result{}, fmt.Errorf("run a program: %w", ErrNoProgram)
	}
	if ctx.Err() != nil {
		return Result{}, fmt.Errorf("run %s: %w", c.Argv[0], context.Cause(ctx))
	}
	type outcome struct {
		r   Result
		err error
	}
	// A goroutine of its own, because its thread gets an umask of its own and ends with it; the parent-death signal, too, is about the
	// thread that forked.
	done := make(chan outcome, 1)
	go func() {
		runtime.LockOSThread()
		r, err := run(ctx, c)
		done <- outcome{r, err}
	}()
	o := <-done // run ends soon after ctx does
	return o.r, o.err
}

func run(ctx context.Context, c Command) (Result, error) {
	name := c.Argv[0]
	path, err := lookPath(name)
	if err != nil {
		return Result{}, fmt.Errorf("run %s: %w", name, err)
	}
	if err := unix.Unshare(unix.CLONE_FS); err != nil {
		return Result{}, fmt.Errorf("run %s: get an umask of its own: %w", name, err)
	}
	unix.Umask(Umask)
	out, err := newOutput()
	if err != nil {
		return Result{}, fmt.Errorf("run %s: %w", name, err)
	}
	defer out.close()
	in := c.Stdin
	if in == nil {
		if in, err = os.Open(os.DevNull); err != nil {
			return Result{}, fmt.Errorf("run %s: %w", name, err)
		}
		defer in.Close()
	}
	cmd := exec.Cmd{Path: path, Args: c.Argv, Env: append(environment[:len(environment):len(environment)], c.Env...), Dir: "/",
		Stdin: in, Stdout: out.w, Stderr: out.w, SysProcAttr: &syscall.SysProcAttr{Setsid: true}}
	if !c.Leave {
		cmd.SysProcAttr.Pdeathsig = syscall.SIGKILL
	}
	pidfd := -1
	cmd.SysProcAttr.PidFD = &pidfd
	began := time.Now()
	if err := cmd.Start(); err != nil {
		return Result{}, fmt.Errorf("run %s: %w", name, err)
	}
	if pidfd < 0 {
		_ = unix.Kill(-cmd.Process.Pid, unix.SIGKILL)
		_ = cmd.Wait()
		return Result{}, fmt.Errorf("run %s: this kernel has no pidfd (Linux 5.3): %w", name, errors.ErrUnsupported)
	}
	defer unix.Close(pidfd)
	killed, err := supervise(ctx, c, cmd.Process.Pid, pidfd, out)
	var status *exec.ExitError
	if werr := cmd.Wait(); werr != nil && !errors.As(werr, &status) && err == nil {
		err = werr
	}
	out.drain()
	r := Result{Output: out.tail.kept, Exit: cmd.ProcessState.ExitCode()}
	switch {
	case err != nil:
		return r, fmt.Errorf("run %s: %w", name, err)
	case killed:
		return r, &TimeoutError{Argv0: name, After: time.Since(began), Reason: r.Reason(), Cause: context.Cause(ctx)}
	}
	if ws, ok := cmd.ProcessState.Sys().(syscall.WaitStatus); ok && ws.Signaled() {
		r.Signal = ws.Signal()
	}
	return r, nil
}

// supervise returns when the leader has ended, and reports whether ctx was why. The leader stays unreaped until then, so that the number of
// its group can be nobody else's while it is signalled.
func supervise(ctx context.Context, c Command, pid, pidfd int, out *output) (killed bool, err error) {
	wake, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	if err != nil {
		_ = unix.Kill(-pid, unix.SIGKILL)
		return false, fmt.Errorf("watch it: %w", err)
	}
	gone := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(gone)
		_, _ = unix.Write(wake, []byte{1, 0, 0, 0, 0, 0, 0, 0})
	})
	defer func() {
		if !stop() {
			<-gone // it writes to the descriptor that is closed here
		}
		unix.Close(wake)
	}()
	var kill time.Time // when SIGKILL is due; zero: not yet decided
	term := func() {
		killed = true
		if c.Grace <= 0 {
			_ = unix.Kill(-pid, unix.SIGKILL)
			return
		}
		kill = time.Now().Add(c.Grace)
		_ = unix.Kill(-pid, unix.SIGTERM)
		_ = unix.Kill(-pid, unix.SIGCONT) // a stopped process hears SIGTERM only then
	}
	for {
		fds := []unix.PollFd{{Fd: int32(pidfd), Events: unix.POLLIN}, {Fd: int32(out.r), Events: unix.POLLIN}, {Fd: int32(wake), Events: unix.POLLIN}}
		wait := -1
		if killed {
			fds = fds[:2]
			if !kill.IsZero() {
				wait = max(0, int(time.Until(kill).Milliseconds())+1)
			}
		}
		n, err := unix.Poll(fds, wait)
		if err != nil && !errors.Is(err, unix.EINTR) {
			_ = unix.Kill(-pid, unix.SIGKILL)
			return killed, fmt.Errorf("wait for its end: %w", err)
		}
		switch {
		case n > 0 && fds[0].Revents != 0:
			if killed || !c.Leave {
				_ = unix.Kill(-pid, unix.SIGKILL) // what is left of the group
			}
			return killed, nil
		case n > 0 && !killed && fds[2].Revents != 0:
			term()
		case !kill.IsZero() && !time.Now().Before(kill):
			_ = unix.Kill(-pid, unix.SIGKILL)
			kill = time.Time{}
		}
		if n > 0 && fds[1].Revents != 0 {
			out.read()
		}
	}
}

// output is a pipe of which this process holds both ends. The end that the program gets is open for reading, too: whoever keeps it never
// sees a pipe without reader, which would be SIGPIPE at a daemon's first word after its start script.
type output struct {
	r    int
	w    *os.File
	tail tail
	buf  [4096]byte
}

func newOutput() (*output, error) {
	var p [2]int
	if err := unix.Pipe2(p[:], unix.O_CLOEXEC); err != nil {
		return nil, fmt.Errorf("make a pipe for its output: %w", err)
	}
	defer unix.Close(p[1])
	both, err := unix.Open("/proc/self/fd/"+strconv.Itoa(p[1]), unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		unix.Close(p[0])
		return nil, fmt.Errorf("open the pipe for its output: %w", err)
	}
	if err := unix.SetNonblock(p[0], true); err != nil {
		unix.Close(p[0])
		unix.Close(both)
		return nil, fmt.Errorf("make a pipe for its output: %w", err)
	}
	return &output{r: p[0], w: os.NewFile(uintptr(both), "output")}, nil
}

// read takes what is there, at most a buffer.
func (o *output) read() bool {
	n, err := unix.Read(o.r, o.buf[:])
	if n > 0 {
		o.tail.add(o.buf[:n])
	}
	return n > 0 || errors.Is(err, unix.EINTR)
}

// drain takes what is left in the pipe, whoever may go on writing: at most what a pipe holds.
func (o *output) drain() {
	for range 64<<10/len(o.buf) + 1 {
		if !o.read() {
			return
		}
	}
}

// close leaves the pipe to whom the program left in the background: nobody reads it any more, so a write to it when it is full must not
// block. The flag belongs to the open file that they share with us.
func (o *output) close() {
	_ = unix.SetNonblock(int(o.w.Fd()), true)
	_ = o.w.Close()
	_ = unix.Close(o.r)
}

// CloseInherited keeps every descriptor that this process was given from its programs. To be called once, before any other goroutine, by a
// program that may have been started with more than its three.
func CloseInherited() error {
	if err := unix.CloseRange(3, ^uint(0), unix.CLOSE_RANGE_CLOEXEC); err != nil {
		return fmt.Errorf("keep inherited descriptors to ourselves: %w", err)
	}
	return nil
}
