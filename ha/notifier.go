package ha

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Notifier tells the service manager about us (sd_notify(3)). It never waits: a line that the manager has no room for is lost.
type Notifier struct {
	fd   int // -1: nobody is told
	addr *unix.SockaddrUnix
	dog  time.Duration
}

// OpenNotifier connects to the manager that env names (NOTIFY_SOCKET, WATCHDOG_USEC, WATCHDOG_PID); without one it tells nobody.
func OpenNotifier(env func(string) string) (*Notifier, error) {
	n := &Notifier{fd: -1}
	path := env("NOTIFY_SOCKET")
	if path == "" {
		return n, nil
	}
	if path[0] != '/' && path[0] != '@' || len(path) > 107 {
		return n, fmt.Errorf("use NOTIFY_SOCKET=%q: %w", path, errors.ErrUnsupported)
	}
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return n, fmt.Errorf("make a socket for NOTIFY_SOCKET: %w", err)
	}
	n.fd, n.addr = fd, &unix.SockaddrUnix{Name: path}
	if pid := env("WATCHDOG_PID"); pid == "" || pid == strconv.Itoa(unix.Getpid()) {
		if usec, err := strconv.ParseInt(env("WATCHDOG_USEC"), 10, 64); err == nil && usec > 0 && usec < int64(time.Hour/time.Microsecond) {
			n.dog = time.Duration(usec) * time.Microsecond
		}
	}
	return n, nil
}

// Watchdog is how often the manager wants to hear that the loop turns; 0: never.
func (n *Notifier) Watchdog() time.Duration { return n.dog }

// Tell sends assignments such as "READY=1".
func (n *Notifier) Tell(lines ...string) error {
	if n.fd < 0 {
		return nil
	}
	if err := unix.Sendto(n.fd, []byte(strings.Join(lines, "\n")), unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL, n.addr); err != nil {
		return fmt.Errorf("tell the service manager: %w", err)
	}
	return nil
}

// Close lets go of the socket.
func (n *Notifier) Close() error {
	if n.fd < 0 {
		return nil
	}
	fd := n.fd
	n.fd = -1
	return unix.Close(fd)
}
