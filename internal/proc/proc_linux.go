package proc

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"

	"golang.org/x/sys/unix"

	"kvmctl/internal/smallfile"
)

// Process is a process and its pidfd, which the runtime's poller watches. Close it.
type Process struct {
	PID  int
	file *os.File
	stat int // its /proc/PID/stat, which is of this process whoever has the number later; -1: not open
}

// Open takes hold of a process.
func Open(pid int) (*Process, error) {
	fd, err := unix.PidfdOpen(pid, unix.PIDFD_NONBLOCK)
	if err != nil {
		return nil, fmt.Errorf("open process %d: %w", pid, err)
	}
	return &Process{PID: pid, file: os.NewFile(uintptr(fd), "pidfd"), stat: -1}, nil
}

// Close lets go of it and ends a Wait. No State is under way.
func (p *Process) Close() {
	_ = p.file.Close()
	if p.stat >= 0 {
		_ = unix.Close(p.stat)
		p.stat = -1
	}
}

// State gives what it does: R, S, D, T stopped, t traced, Z ended, … (proc(5)); one that was reaped has none, which is an error. After the
// first time it costs one system call. It is not to be called by two goroutines at a time.
func (p *Process) State() (byte, error) {
	if p.stat < 0 {
		fd, err := unix.Open("/proc/"+strconv.Itoa(p.PID)+"/stat", unix.O_RDONLY|unix.O_CLOEXEC, 0)
		if err != nil {
			return 0, fmt.Errorf("read the state of process %d: %w", p.PID, err)
		}
		if p.Ended() { // the number, and so the file, may be somebody else's
			_ = unix.Close(fd)
			return 0, fmt.Errorf("read the state of process %d: %w", p.PID, unix.ESRCH)
		}
		p.stat = fd
	}
	var buf [maxStat]byte
	n, err := unix.Pread(p.stat, buf[:], 0)
	if err != nil {
		return 0, fmt.Errorf("read the state of process %d: %w", p.PID, err)
	}
	state, err := parseState(buf[:n])
	if err != nil {
		return 0, fmt.Errorf("read the state of process %d: %w", p.PID, err)
	}
	return state, nil
}

// maxStat is as far as a state stands within /proc/PID/stat, in bytes: after a number, and a name with each byte escaped.
const maxStat = 128

func ready(fd uintptr) bool {
	n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, 0)
	return err == nil && n > 0
}

// Ended reports whether it has ended; one that nobody has reaped yet has.
func (p *Process) Ended() bool {
	raw, err := p.file.SyscallConn()
	if err != nil {
		return true
	}
	ended := true
	_ = raw.Control(func(fd uintptr) { ended = ready(fd) })
	return ended
}

// Wait blocks a goroutine, no thread, until it has ended; false: it was closed before.
func (p *Process) Wait() bool {
	raw, err := p.file.SyscallConn()
	if err != nil {
		return false
	}
	return raw.Read(ready) == nil
}

// Signal sends it a signal. One that has ended is no error.
func (p *Process) Signal(sig unix.Signal) error {
	raw, err := p.file.SyscallConn()
	if err != nil {
		return err
	}
	cerr := raw.Control(func(fd uintptr) { err = unix.PidfdSendSignal(int(fd), sig, nil, 0) })
	if err = errors.Join(cerr, err); err != nil && !errors.Is(err, unix.ESRCH) {
		return fmt.Errorf("send %v to process %d: %w", sig, p.PID, err)
	}
	return nil
}

// ReadPIDFile gives the number in a pidfile.
func ReadPIDFile(path string) (int, error) {
	b, err := smallfile.Read(path, maxPIDFile)
	if err != nil {
		return 0, err
	}
	pid, err := ParsePID(b)
	if err != nil {
		return 0, fmt.Errorf("read %s: %w", path, err)
	}
	return pid, nil
}

// ReadStat gives what the kernel says of a process.
func ReadStat(pid int) (Stat, error) {
	b, err := smallfile.Read("/proc/"+strconv.Itoa(pid)+"/stat", 4<<10)
	if err != nil {
		return Stat{}, err
	}
	return ParseStat(b)
}

// OfPIDFile opens the process of a pidfile. With a name it must be called that, so that a stale file does not stand for whoever has the
// number now.
func OfPIDFile(path, name string) (*Process, error) {
	pid, err := ReadPIDFile(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, fmt.Errorf("there is no %s", path)
	case err != nil:
		return nil, err
	}
	p, err := Open(pid)
	switch {
	case errors.Is(err, unix.ESRCH):
		return nil, fmt.Errorf("process %d of %s has ended", pid, path)
	case err != nil:
		return nil, fmt.Errorf("%s: %w", path, err)
	case name != "" && !called(pid, name):
		p.Close()
		return nil, fmt.Errorf("process %d of %s is not %s", pid, path, name)
	case p.Ended():
		p.Close()
		return nil, fmt.Errorf("process %d of %s has ended", pid, path)
	}
	return p, nil
}

func called(pid int, name string) bool {
	st, err := ReadStat(pid)
	if err != nil {
		return false
	}
	exe, _ := os.Readlink("/proc/" + strconv.Itoa(pid) + "/exe") // none: a kernel thread, or not ours to see
	return named(name, st.Name, exe)
}

// Named opens the eldest process of a name, which of a server with workers is the one that has the others. Those of containers on this host
// do not count: a process belongs to the pid namespace that it runs in.
func Named(name string) (*Process, error) {
	dir, err := os.Open("/proc")
	if err != nil {
		return nil, err
	}
	defer dir.Close()
	numbers, err := dir.Readdirnames(-1)
	if err != nil {
		return nil, fmt.Errorf("look for %s: %w", name, err)
	}
	own, err := os.Readlink("/proc/self/ns/pid")
	if err != nil {
		return nil, fmt.Errorf("look for %s: %w", name, err)
	}
	best, start := 0, uint64(0)
	for _, n := range numbers {
		pid, err := strconv.Atoi(n)
		if err != nil || pid == os.Getpid() || !called(pid, name) {
			continue
		}
		ns, err := os.Readlink("/proc/" + n + "/ns/pid")
		if err != nil || ns != own {
			continue
		}
		st, err := ReadStat(pid)
		if err == nil && st.State != 'Z' && (best == 0 || st.Start < start) {
			best, start = pid, st.Start
		}
	}
	if best == 0 {
		return nil, fmt.Errorf("there is no process %s", name)
	}
	p, err := Open(best)
	if err != nil {
		return nil, err
	}
	if st, err := ReadStat(best); err != nil || st.Start != start || p.Ended() {
		p.Close()
		return nil, fmt.Errorf("process %d (%s) has ended", best, name)
	}
	return p, nil
}
