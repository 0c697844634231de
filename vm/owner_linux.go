package vm

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
	"kvmctl/internal/smallfile"
)

// Process is the QEMU that was proved to own a guest. It stays that process whatever happens to its pid.
type Process struct {
	PID int
	fd  int // pidfd
}

// FindOwner asks the kernel who holds the lock on a guest's pidfile: QEMU locks its own -pidfile for as long as it lives
// (util/oslib-posix.c, qemu_write_pidfile), so neither a stale file nor a reused pid can mislead. It returns ErrNotRunning when nobody
// does and a ForeignError when the answer cannot be this guest's QEMU, whose real uid is uid.
func FindOwner(pidfile string, uid int) (*Process, error) {
	// O_NOFOLLOW and O_NONBLOCK: a planted symlink would show us another daemon's lock, a FIFO would hang us.
	fd, err := unix.Open(pidfile, unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	switch {
	case errors.Is(err, unix.ENOENT):
		return nil, ErrNotRunning
	case errors.Is(err, unix.ELOOP):
		return nil, &ForeignError{pidfile, "is a symbolic link"}
	case err != nil:
		return nil, fmt.Errorf("open %s: %w", pidfile, err)
	}
	defer unix.Close(fd)
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return nil, fmt.Errorf("stat %s: %w", pidfile, err)
	}
	if st.Mode&unix.S_IFMT != unix.S_IFREG {
		return nil, &ForeignError{pidfile, "is not a regular file"}
	}
	for range 3 { // a QEMU that ends between two looks is simply gone at the third
		p, err := lockHolder(fd, pidfile, uid)
		if p != nil || err != nil {
			return p, err
		}
	}
	return nil, ErrNotRunning
}

// lockHolder looks once; nil, nil means that the holder changed while we looked.
func lockHolder(fd int, pidfile string, uid int) (*Process, error) {
	pid, err := getLock(fd)
	if err != nil {
		return nil, err
	}
	switch {
	case pid == 0:
		return nil, &ForeignError{pidfile, "is locked from another pid namespace"}
	case pid == ofdHolder:
		return nil, &ForeignError{pidfile, "is locked by an open file, which is not how QEMU does it"}
	}
	pidfd, err := unix.PidfdOpen(pid, 0)
	if errors.Is(err, unix.ESRCH) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("open pidfd of %d: %w", pid, err)
	}
	// The pidfd may be of a later process with that pid; it is the holder's only if the holder still is that pid.
	again, err := getLock(fd)
	if err != nil || again != pid {
		unix.Close(pidfd)
		return nil, err
	}
	real, err := realUID(pid)
	if err != nil || real != uid {
		unix.Close(pidfd)
		if err != nil {
			return nil, nil
		}
		return nil, &ForeignError{pidfile, fmt.Sprintf("is locked by pid %d, which runs as uid %d and not as this guest's %d", pid, real, uid)}
	}
	return &Process{PID: pid, fd: pidfd}, nil
}

// ofdHolder is what F_GETLK says of a lock that belongs to an open file and to no process (fcntl(2), F_OFD_SETLK).
const ofdHolder = -1

// getLock gives the pid that holds a POSIX lock on fd, 0 for one that has no pid here, ofdHolder, and ErrNotRunning for none.
func getLock(fd int) (int, error) {
	l := unix.Flock_t{Type: unix.F_WRLCK, Whence: 0}
	if err := unix.FcntlFlock(uintptr(fd), unix.F_GETLK, &l); err != nil {
		return 0, fmt.Errorf("ask for the lock's holder: %w", err)
	}
	if l.Type == unix.F_UNLCK {
		return 0, ErrNotRunning
	}
	return int(l.Pid), nil
}

func realUID(pid int) (int, error) {
	status, err := smallfile.Read("/proc/"+strconv.Itoa(pid)+"/status", 64<<10) // proc_pid_status(5)
	if err != nil {
		return 0, err
	}
	if _, rest, ok := strings.Cut(string(status), "\nUid:\t"); ok {
		real, _, _ := strings.Cut(rest, "\t")
		return strconv.Atoi(real)
	}
	return 0, fmt.Errorf("no Uid in /proc/%d/status", pid)
}

// openProcess gives a handle of a process that we know to be ours, such as a child.
func openProcess(pid int) (*Process, error) {
	fd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return nil, fmt.Errorf("open pidfd of %d: %w", pid, err)
	}
	return &Process{PID: pid, fd: fd}, nil
}

// Signal sends sig to exactly this process; one that has ended is no error.
func (p *Process) Signal(sig unix.Signal) error {
	err := unix.PidfdSendSignal(p.fd, sig, nil, 0)
	if err != nil && !errors.Is(err, unix.ESRCH) {
		return fmt.Errorf("signal %d: %w", p.PID, err)
	}
	return nil
}

// Wait returns true when the process has ended, false when d or ctx is over first. A zombie has ended.
func (p *Process) Wait(ctx context.Context, d time.Duration) bool {
	deadline := time.Now().Add(d)
	for {
		left := min(time.Until(deadline), 100*time.Millisecond) // short naps: ctx may end
		fds := []unix.PollFd{{Fd: int32(p.fd), Events: unix.POLLIN}}
		n, err := unix.Poll(fds, max(0, int((left+time.Millisecond-1)/time.Millisecond)))
		if n > 0 && err == nil {
			return true
		}
		if ctx.Err() != nil || !time.Now().Before(deadline) {
			return false
		}
	}
}

// Close lets go of the handle; the process is not touched.
func (p *Process) Close() error { return unix.Close(p.fd) }

// waitPlain is Wait without a context, for the last rungs, which nothing should cut short.
func (p *Process) waitPlain(d time.Duration) bool { return p.Wait(context.Background(), d) }
