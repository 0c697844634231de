package image

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Holder is a process that uses an image.
type Holder struct {
	PID  int
	Name string // of its program, as the kernel has it (at most 15 bytes)
}

// LockedError says that an image is in use, so that a second user would destroy it.
type LockedError struct {
	Path    string
	Holders []Holder // empty: gone again, in another pid namespace, on another host, or not ours to see
	cause   error
}

func (e *LockedError) Error() string {
	if len(e.Holders) == 0 {
		return fmt.Sprintf("image %s: in use by another process", e.Path)
	}
	var by []string
	for _, h := range e.Holders {
		by = append(by, fmt.Sprintf("%s (pid %d)", h.Name, h.PID))
	}
	return fmt.Sprintf("image %s: in use by %s", e.Path, strings.Join(by, ", "))
}

func (e *LockedError) Unwrap() error { return e.cause }

// Hint says what may be typed.
func (e *LockedError) Hint() string { return "stop its guest first: kvmctl status shows who runs" }

// QEMU's image locks (block/file-posix.c, "RAW_LOCK_*"): a user holds a read lock on byte 100+p for each permission p it
// uses, and on byte 200+p for each p that it lets nobody else use.
const (
	lockUsed, lockUnshared = 100, 200

	permRead, permWrite, permResize = 0, 1, 3
)

// CheckUnlocked reports by a *LockedError that some process uses the image at path in a way that forbids us to read it, or
// with write set, to write it. It takes no lock: who wants certainty lets QEMU take it, and asks here what went wrong.
func CheckUnlocked(ctx context.Context, path string, write bool) error {
	o, err := open(path)
	if err != nil {
		return err
	}
	defer o.f.Close()
	return heldByOthers(ctx, o.f, path, write)
}

// heldByOthers asks for the locks of everybody but f.
func heldByOthers(ctx context.Context, f *os.File, path string, write bool) error {
	// A writer shares nothing, so whoever writes or resizes is in its way, and whoever does not share what we want.
	bytes := []int64{lockUnshared + permRead, lockUsed + permWrite, lockUsed + permResize}
	if write {
		bytes = append(bytes, lockUnshared+permWrite, lockUnshared+permResize)
	}
	locked, err := anyLocked(f, bytes...)
	switch {
	case err != nil && noLocks(err):
		return nil
	case err != nil:
		return fmt.Errorf("examine the lock of image %s: %w", path, err)
	case locked:
		return &LockedError{Path: path, Holders: holders(ctx, f)}
	}
	return nil
}

// anyLocked tells whether another open file than f has a lock on one of the bytes.
func anyLocked(f *os.File, bytes ...int64) (bool, error) {
	for _, b := range bytes {
		l := unix.Flock_t{Type: unix.F_WRLCK, Start: b, Len: 1}
		if err := unix.FcntlFlock(f.Fd(), unix.F_OFD_GETLK, &l); err != nil || l.Type != unix.F_UNLCK {
			return err == nil, err
		}
	}
	return false, nil
}

// Guarded tells whether somebody keeps writers away from the image that is open as f. A file system without locks is as guarded as it can be.
func Guarded(f *os.File) (bool, error) {
	locked, err := anyLocked(f, lockUnshared+permWrite)
	if err != nil && noLocks(err) {
		return true, nil
	}
	return locked, err
}

// holders looks through all processes: an OFD lock has no pid (F_OFD_GETLK and /proc/locks say -1), only the open file
// that carries it has a line in fdinfo.
func holders(ctx context.Context, f *os.File) []Holder {
	var o unix.Stat_t
	if unix.Fstat(int(f.Fd()), &o) != nil {
		return nil
	}
	procs, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		return nil
	}
	var found []Holder
	for _, dir := range procs {
		if ctx.Err() != nil {
			return found
		}
		if pid, err := strconv.Atoi(filepath.Base(dir)); err == nil && holds(dir, o) {
			comm, err := os.ReadFile(dir + "/comm")
			if err != nil {
				continue // it has just ended
			}
			found = append(found, Holder{pid, strings.TrimSpace(string(comm))})
		}
	}
	slices.SortFunc(found, func(a, b Holder) int { return a.PID - b.PID })
	return found
}

func holds(dir string, o unix.Stat_t) bool {
	fds, err := os.ReadDir(dir + "/fd")
	if err != nil {
		return false
	}
	for _, fd := range fds {
		var st unix.Stat_t
		// Stat, not the inode in the lock's own line: that line has the superblock's device, which on btrfs is another.
		if unix.Stat(dir+"/fd/"+fd.Name(), &st) != nil || st.Dev != o.Dev || st.Ino != o.Ino {
			continue
		}
		info, err := os.ReadFile(dir + "/fdinfo/" + fd.Name())
		if err == nil && locksBytes(info) {
			return true
		}
	}
	return false
}

// locksBytes reports whether fdinfo lists a lock on QEMU's bytes: "lock:\t1: OFDLCK  ADVISORY  READ -1 fe:00:12 100 101".
func locksBytes(fdinfo []byte) bool {
	for line := range bytes.Lines(fdinfo) {
		f := strings.Fields(string(line))
		if len(f) < 9 || f[0] != "lock:" || (f[2] != "OFDLCK" && f[2] != "POSIX") {
			continue
		}
		first, err := strconv.ParseInt(f[7], 10, 64)
		if err != nil {
			continue
		}
		last, err := strconv.ParseInt(f[8], 10, 64)
		if f[8] == "EOF" {
			last, err = 1<<62, nil
		}
		if err == nil && first <= lockUnshared+permResize && last >= lockUsed {
			return true
		}
	}
	return false
}

// orLocked turns a failure of qemu-img into a *LockedError where the image proves to be locked, or, the holder being gone
// by now, where qemu-img says so.
func orLocked(ctx context.Context, err error, write bool, paths ...string) error {
	var tool *ToolError
	if !errors.As(err, &tool) {
		return err
	}
	for _, path := range paths {
		var locked *LockedError
		if errors.As(CheckUnlocked(ctx, path, write), &locked) {
			locked.cause = err
			return locked
		}
	}
	// The words are the only sign left: util/osdep.c and block/file-posix.c, raw_check_lock_bytes.
	if strings.Contains(tool.Message, "Failed to get ") && strings.Contains(tool.Message, " lock") {
		return &LockedError{Path: paths[0], cause: err}
	}
	return err
}

// Hold takes QEMU's locks on an image that is open as f, for as long as this open file lives, in whatever process or loop device: as a reader
// who lets nobody write, or with write set as the only writer. Another user is a *LockedError.
func Hold(ctx context.Context, f *os.File, write bool) error {
	bytes := []int64{lockUsed + permRead, lockUnshared + permWrite, lockUnshared + permResize}
	if write {
		bytes = append(bytes, lockUsed+permWrite)
	}
	for _, b := range bytes {
		l := unix.Flock_t{Type: unix.F_RDLCK, Start: b, Len: 1}
		if err := unix.FcntlFlock(f.Fd(), unix.F_OFD_SETLK, &l); err != nil && !errors.Is(err, unix.EAGAIN) && !noLocks(err) {
			return fmt.Errorf("lock image %s: %w", f.Name(), err)
		}
	}
	return heldByOthers(ctx, f, f.Name(), write) // first take, then look: of two that do so at once neither gets it unseen
}

// noLocks tells the answers of a file system without locks: QEMU goes without as well.
func noLocks(err error) bool {
	return errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENOLCK) || errors.Is(err, unix.EOPNOTSUPP)
}
