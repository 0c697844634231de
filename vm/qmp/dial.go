package qmp

import (
	"context"
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// maxSocketPath is what fits into sockaddr_un beside its final NUL (unix(7)).
const maxSocketPath = 107

// redial is how often a full backlog is tried again.
const redial = 2 * time.Millisecond

// Dial connects to the monitor that listens on the unix socket path, of any length, and negotiates: NewClient says how and with which deadline.
// ErrBusy: connected (or queued) but not greeted.
func Dial(ctx context.Context, path string, opts ...Option) (*Client, error) {
	ctx, cancel := withTimeout(ctx, handshakeTimeout)
	defer cancel()
	conn, err := DialUnix(ctx, path)
	if err != nil {
		return nil, fmt.Errorf("connect to QMP: %w", err)
	}
	c, err := NewClient(ctx, conn, opts...)
	if err != nil {
		return nil, fmt.Errorf("connect to QMP %q: %w", path, err)
	}
	return c, nil
}

// DialUnix connects to the unix socket path before ctx ends. A path too long for the kernel goes through a descriptor of its directory. A
// socket whose queue of waiting clients is full until then is ErrBusy: QEMU serves one at a time and lets one more wait.
func DialUnix(ctx context.Context, path string) (*net.UnixConn, error) {
	short := path
	if len(path) > maxSocketPath {
		dir, err := unix.Open(filepath.Dir(path), unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
		if err != nil {
			return nil, fmt.Errorf("open directory %q: %w", filepath.Dir(path), err)
		}
		defer unix.Close(dir)
		short = "/proc/self/fd/" + strconv.Itoa(dir) + "/" + filepath.Base(path)
		if len(short) > maxSocketPath {
			return nil, fmt.Errorf("socket %q: %w", path, unix.ENAMETOOLONG)
		}
	}
	full := false
	for ctx.Err() == nil {
		var d net.Dialer
		conn, err := d.DialContext(ctx, "unix", short)
		if err == nil {
			return conn.(*net.UnixConn), nil
		}
		var op *net.OpError
		if errors.As(err, &op) {
			if op.Timeout() && !errors.Is(err, unix.EAGAIN) {
				break
			}
			err = op.Err // without net's frame, which repeats the path as the kernel saw it
		}
		// The kernel never queues a non-blocking connect on a full backlog.
		if !errors.Is(err, unix.EAGAIN) {
			return nil, fmt.Errorf("socket %q: %w", path, err)
		}
		full = true
		t := time.NewTimer(redial)
		select {
		case <-t.C:
		case <-ctx.Done():
			t.Stop()
		}
	}
	err := ctx.Err()
	if err == nil { // the dialer saw the deadline first
		err = context.DeadlineExceeded
	}
	if full {
		return nil, fmt.Errorf("socket %q: %w (too many clients wait): %w", path, ErrBusy, err)
	}
	return nil, fmt.Errorf("socket %q: %w", path, err)
}
