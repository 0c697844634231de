package guard

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"kvmctl/internal/flock"
	"kvmctl/netbridge"
)

// Patience of the guard.
const (
	seatWait  = 5 * time.Second // for the one before it to go
	netWait   = 5 * time.Second // for another kvmctl that changes networks; an administrator who is cut off waits no longer
	undoTries = 3
	undoPause = time.Second // between two tries
)

// Run is the guard: it returns when its change was confirmed, or undone because it was not in time or because its maker died. An
// error means that it could not be undone; then the record is still there.
func Run(ctx context.Context, f Files, open func() (netbridge.Kernel, func(), error)) error {
	wait, cancel := context.WithTimeout(ctx, seatWait)
	defer cancel()
	seat, err := flock.Wait(wait, f.GuardLock)
	if err != nil {
		return fmt.Errorf("take the guard's seat: %w", err)
	}
	defer seat.Unlock()
	w, err := watch(filepath.Dir(f.Record))
	if err != nil {
		return err
	}
	defer w.close()
	rec, err := f.read()
	if err != nil || rec == nil {
		return err
	}
	k, done, err := open()
	if err != nil {
		return err
	}
	defer done()
	maker, err := pidfdOf(rec.PID, rec.Start)
	if err != nil {
		return err
	}
	defer maker.Close()
	if err := announce(seat, rec.ID); err != nil {
		return err
	}
	why, err := f.await(ctx, rec, w, maker)
	if err != nil || why == "" {
		return err
	}
	return f.undo(ctx, k, rec, maker, why)
}

// announce says which change is being watched.
func announce(seat *flock.Lock, id string) error {
	file := seat.File()
	if err := file.Truncate(0); err != nil {
		return fmt.Errorf("announce the guard: %w", err)
	}
	if _, err := file.WriteAt([]byte(id+"\n"), 0); err != nil {
		return fmt.Errorf("announce the guard: %w", err)
	}
	return nil
}

// await returns why the change has to be undone; empty: it was confirmed, or its maker took it back.
func (f Files) await(ctx context.Context, rec *Record, w *watcher, maker *os.File) (why string, err error) {
	began := time.Now()
	for {
		now, err := f.read()
		switch {
		case now == nil && err == nil, now != nil && now.ID != rec.ID:
			return "", nil
		case err != nil: // what was read at first still tells how it was
			return "its record could not be read any more", nil
		}
		fds := []unix.PollFd{{Fd: int32(w.fd()), Events: unix.POLLIN}}
		left := rec.Timeout - time.Since(began)
		if now.Acted != 0 {
			left = now.Left()
		} else if maker == nil {
			return "its maker died before it was complete", nil
		} else {
			fds = append(fds, unix.PollFd{Fd: int32(maker.Fd()), Events: unix.POLLIN})
		}
		if left <= 0 {
			return "nobody confirmed it in time", nil
		}
		n, err := unix.Poll(fds, int(min(left, time.Minute).Milliseconds())+1)
		if err != nil && !errors.Is(err, unix.EINTR) {
			return "", fmt.Errorf("wait for the confirmation: %w", err)
		}
		if err := ctx.Err(); err != nil {
			return "", err
		}
		if n > 0 && fds[0].Revents != 0 {
			w.drain()
		}
		if n > 0 && len(fds) > 1 && fds[1].Revents != 0 {
			// It may have come to its end in its last moment: what it wrote says so.
			if now, err := f.read(); err == nil && now != nil && now.Acted == 0 {
				return "its maker died before it was complete", nil
			}
			maker = nil
		}
	}
}

// undo brings everything back.
func (f Files) undo(ctx context.Context, k netbridge.Kernel, rec *Record, maker *os.File, why string) error {
	if now, err := f.read(); err == nil && now != nil && now.Acted != 0 {
		maker = nil // it is done, and whoever holds the lock is somebody else
	}
	l, err := f.lockForUndo(ctx, maker)
	if err != nil {
		return err
	}
	if l != nil {
		defer l.Unlock()
	}
	if now, err := f.read(); err == nil && (now == nil || now.ID != rec.ID) {
		return nil // confirmed in the last moment
	}
	var last error
	for range undoTries {
		if last = f.restore(ctx, k, rec, why); last == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return errors.Join(last, ctx.Err())
		case <-time.After(undoPause):
		}
	}
	return last
}

// restore brings everything back and forgets the change.
func (f Files) restore(ctx context.Context, k netbridge.Kernel, rec *Record, why string) error {
	ctx, cancel := context.WithTimeout(ctx, restoreTime)
	defer cancel()
	if err := netbridge.Restore(ctx, k, rec.Before, sinceBoot()-rec.Began); err != nil {
		return fmt.Errorf("undo the change of the networks: %w", err)
	}
	f.note(rec, why)
	return f.remove()
}

// lockForUndo takes the NetLock. Its holder may be the maker itself, stuck in the middle: that one is ended. Against anyone else who does
// not let go the guard acts without the lock (nil): better two at once than a host that cannot be reached.
func (f Files) lockForUndo(ctx context.Context, maker *os.File) (*flock.Lock, error) {
	for try := range 2 {
		wait, cancel := context.WithTimeout(ctx, netWait)
		l, err := flock.Wait(wait, f.NetLock)
		cancel()
		if err == nil {
			return l, nil
		}
		if !errors.Is(err, flock.ErrLocked) {
			return nil, fmt.Errorf("lock the networks: %w", err)
		}
		if try == 0 && maker != nil {
			_ = unix.PidfdSendSignal(int(maker.Fd()), unix.SIGKILL, nil, 0) // ESRCH: it is gone already
		}
	}
	return nil, nil
}

// born gives when a process began, in ticks since the boot (proc(5), field 22 of stat).
func born(pid int) (uint64, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, fmt.Errorf("look at process %d: %w", pid, err)
	}
	fields := bytes.Fields(b[bytes.LastIndexByte(b, ')')+1:]) // the name before may hold anything
	if len(fields) < 20 {
		return 0, fmt.Errorf("look at process %d: its stat has %d fields", pid, len(fields))
	}
	return strconv.ParseUint(string(fields[19]), 10, 64)
}

// pidfdOf holds on to a process; nil: it is gone.
func pidfdOf(pid int, start uint64) (*os.File, error) {
	fd, err := unix.PidfdOpen(pid, 0)
	if errors.Is(err, unix.ESRCH) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("hold on to process %d: %w", pid, err)
	}
	f := os.NewFile(uintptr(fd), "pidfd")
	if now, err := born(pid); err != nil || now != start {
		f.Close()
		return nil, nil
	}
	return f, nil
}

// watcher tells of changes in a directory.
type watcher struct{ f *os.File }

func watch(dir string) (*watcher, error) {
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	if err != nil {
		return nil, fmt.Errorf("watch %s: %w", dir, err)
	}
	f := os.NewFile(uintptr(fd), "inotify")
	if _, err := unix.InotifyAddWatch(fd, dir, unix.IN_CREATE|unix.IN_DELETE|unix.IN_MOVED_TO|unix.IN_MOVED_FROM|unix.IN_ONLYDIR); err != nil {
		f.Close()
		return nil, fmt.Errorf("watch %s: %w", dir, err)
	}
	return &watcher{f}, nil
}

func (w *watcher) fd() uintptr { return w.f.Fd() }

// drain forgets what was told: only that something changed is of interest.
func (w *watcher) drain() {
	buf := make([]byte, 4096)
	for {
		if n, err := unix.Read(int(w.f.Fd()), buf); n <= 0 || err != nil {
			return
		}
	}
}

func (w *watcher) close() { w.f.Close() }
