package qmp

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// writeDeadliner is what a net.Conn has beyond io.ReadWriteCloser.
type writeDeadliner interface{ SetWriteDeadline(time.Time) error }

// longAgo is a deadline that has passed.
var longAgo = time.Unix(1, 0)

// acquire takes a token or gives up with ctx or the connection.
func (c *Client) acquire(ctx context.Context, token chan struct{}) error {
	select {
	case token <- struct{}{}:
		return nil
	case <-c.done:
		return c.Err()
	case <-ctx.Done():
		return ctx.Err()
	}
}

// send writes one command before ctx ends. If nothing of it was written in time, the connection lives on; half a command ends it.
func (c *Client) send(ctx context.Context, line []byte, f *os.File, start time.Time) error {
	if err := c.acquire(ctx, c.write); err != nil {
		return late(err, "QEMU takes no command", start)
	}
	defer func() { <-c.write }()
	stop := c.interruptWrite(ctx)
	n, err := writeLine(c.conn, line, f)
	stop()
	switch {
	case err == nil:
		return nil
	case errors.As(err, new(*fileError)):
		return err
	case errors.Is(err, os.ErrDeadlineExceeded) && n == 0:
		return late(ctx.Err(), "QEMU takes no command", start)
	case errors.Is(err, os.ErrDeadlineExceeded):
		c.end(&closedError{fmt.Errorf("%d of %d bytes of a command written: %w", n, len(line), ctx.Err())})
	default:
		c.end(&closedError{err})
	}
	return c.Err()
}

// interruptWrite makes a Write return when ctx ends. The function it gives back undoes that and has to be called before the next write.
func (c *Client) interruptWrite(ctx context.Context) (stop func()) {
	interrupt := func() { c.end(&closedError{ctx.Err()}) }
	d, deadliner := c.conn.(writeDeadliner)
	if deadliner {
		interrupt = func() { _ = d.SetWriteDeadline(longAgo) }
	}
	ran := make(chan struct{})
	cancel := context.AfterFunc(ctx, func() {
		defer close(ran)
		interrupt()
	})
	return func() {
		if cancel() {
			return
		}
		<-ran
		if deadliner {
			_ = d.SetWriteDeadline(time.Time{})
		}
	}
}

// fileError is a file that cannot be sent; nothing was written.
type fileError struct {
	name  string
	cause error
}

func (e *fileError) Error() string { return fmt.Sprintf("send file %q: %v", e.name, e.cause) }
func (e *fileError) Unwrap() error { return e.cause }

// writeLine returns how many bytes were written.
func writeLine(w io.Writer, line []byte, f *os.File) (int, error) {
	if f == nil {
		return w.Write(line)
	}
	u, ok := w.(*net.UnixConn)
	if !ok {
		return 0, &fileError{f.Name(), errors.New("the connection is no unix socket")}
	}
	// Not f.Fd(), which would make the caller's file blocking.
	raw, err := f.SyscallConn()
	if err != nil {
		return 0, &fileError{f.Name(), err}
	}
	var n int
	var sendErr error
	err = raw.Control(func(fd uintptr) { n, _, sendErr = u.WriteMsgUnix(line, unix.UnixRights(int(fd)), nil) })
	if err != nil {
		return 0, &fileError{f.Name(), err}
	}
	if sendErr != nil || n == len(line) {
		return n, sendErr
	}
	// The file went with the first bytes.
	rest, err := u.Write(line[n:])
	return n + rest, err
}
