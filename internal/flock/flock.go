// Package flock takes advisory file locks that end with their process.
package flock

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// ErrLocked says that somebody else holds the lock.
var ErrLocked = errors.New("locked by another process")

// Lock is a held flock(2). The kernel ends it when the process dies, however it dies.
type Lock struct{ f *os.File }

// TryLock takes the lock file at path, made 0600 when missing, or returns ErrLocked at once.
// A lock file that was removed or replaced while we waited is not a lock on anything: it is opened anew.
func TryLock(path string) (*Lock, error) {
	for {
		f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0o600)
		if err != nil {
			return nil, fmt.Errorf("open lock: %w", err)
		}
		if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
			f.Close()
			if errors.Is(err, unix.EWOULDBLOCK) {
				return nil, ErrLocked
			}
			return nil, fmt.Errorf("lock %s: %w", path, err)
		}
		if same(f, path) {
			return &Lock{f}, nil
		}
		f.Close()
	}
}

// Wait takes the lock at path, trying every 10 ms until ctx ends; then it returns ErrLocked.
func Wait(ctx context.Context, path string) (*Lock, error) {
	for {
		l, err := TryLock(path)
		if !errors.Is(err, ErrLocked) {
			return l, err
		}
		select {
		case <-ctx.Done():
			return nil, ErrLocked
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// File is the open lock file: its content is the holder's to write.
func (l *Lock) File() *os.File { return l.f }

// Unlock gives the lock back, although a child that this process forks in another thread at this moment has the descriptor, too, until it
// execs.
func (l *Lock) Unlock() error {
	return errors.Join(unix.Flock(int(l.f.Fd()), unix.LOCK_UN), l.f.Close())
}

// Leave gives up this process's hold on the lock; a child that was given File keeps it until it ends or execs.
func (l *Lock) Leave() error { return l.f.Close() }

func same(f *os.File, path string) bool {
	a, err := f.Stat()
	if err != nil {
		return false
	}
	b, err := os.Lstat(path)
	return err == nil && os.SameFile(a, b)
}
