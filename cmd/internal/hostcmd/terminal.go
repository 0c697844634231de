package hostcmd

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"time"

	"golang.org/x/sys/unix"
	"golang.org/x/term"

	"kvmctl/cmd/internal/cli"
)

// rawTerminal gives every key to us, ^C included, until restore is called. Below it, no key and no broken pipe ends the process
// behind our back and leaves the terminal raw.
func rawTerminal(fd int) (restore func(), err error) {
	pipe := make(chan os.Signal, 1)
	signal.Notify(pipe, unix.SIGPIPE) // a closed stdout becomes an error of the write
	old, err := term.MakeRaw(fd)
	if err != nil {
		signal.Stop(pipe)
		return nil, fmt.Errorf("make the terminal raw: %w", err)
	}
	return func() {
		// A terminal that was asked something on our screen may answer late: the shell must not take that for typing.
		_ = unix.IoctlSetInt(fd, unix.TCFLSH, unix.TCIFLUSH)
		_ = term.Restore(fd, old) // if the terminal is gone, so is its state
		signal.Stop(pipe)
	}, nil
}

// bell is readable once its context has ended, for poll(2).
type bell struct {
	r    *os.File
	stop func()
}

func newBell(ctx context.Context) (*bell, error) {
	r, w, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	cancel := context.AfterFunc(ctx, func() { w.Close() })
	return &bell{r, func() { cancel(); w.Close(); r.Close() }}, nil
}

func (b *bell) fd() int32 { return int32(b.r.Fd()) }

// keys reads a descriptor and gives up when its context ends: a read of a terminal cannot be interrupted otherwise.
type keys struct {
	ctx  context.Context
	fd   int
	bell *bell
}

// newKeys reads env.In; what is no file is read as it is.
func newKeys(ctx context.Context, env *cli.Env) (r io.Reader, stop func(), err error) {
	f, ok := env.In.(*os.File)
	if !ok {
		return env.In, func() {}, nil
	}
	b, err := newBell(ctx)
	if err != nil {
		return nil, nil, err
	}
	return &keys{ctx, int(f.Fd()), b}, b.stop, nil
}

func (k *keys) Read(p []byte) (int, error) {
	for {
		fds := []unix.PollFd{{Fd: int32(k.fd), Events: unix.POLLIN}, {Fd: k.bell.fd(), Events: unix.POLLIN}}
		if _, err := unix.Poll(fds, -1); err != nil && !errors.Is(err, unix.EINTR) {
			return 0, fmt.Errorf("wait for input: %w", err)
		}
		if k.ctx.Err() != nil {
			return 0, k.ctx.Err()
		}
		if fds[0].Revents != 0 {
			return readInput(k.fd, p)
		}
	}
}

// readInput is one read of a descriptor that poll called ready; io.EOF at its end and when its terminal has gone.
func readInput(fd int, p []byte) (int, error) {
	n, err := unix.Read(fd, p)
	switch {
	case errors.Is(err, unix.EINTR), errors.Is(err, unix.EAGAIN):
		return 0, nil
	case errors.Is(err, unix.EIO), err == nil && n == 0:
		return 0, io.EOF
	case err != nil:
		return 0, fmt.Errorf("read the input: %w", err)
	}
	return n, nil
}

// pollTime turns a duration into poll's milliseconds, rounded up.
func pollTime(d time.Duration) int { return int((max(d, 0) + time.Millisecond - 1) / time.Millisecond) }

// text makes what QEMU says fit for stdout: its line ends are ours, and on a terminal nothing but text, tabs and line ends is left, because
// names and messages of a guest's may be in it.
func text(s string, terminal bool) string {
	s = strings.ReplaceAll(s, "\r\n", "\n")
	if !terminal {
		return s
	}
	lines := strings.Split(s, "\n")
	for i, l := range lines {
		cells := strings.Split(l, "\t")
		for j, c := range cells {
			cells[j] = cli.Printable(c)
		}
		lines[i] = strings.Join(cells, "\t")
	}
	return strings.Join(lines, "\n")
}
