package image

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// ExistsError says that there is something under the name that a new image was to get.
type ExistsError struct{ Path string }

func (e *ExistsError) Error() string {
	return fmt.Sprintf("image %s: exists already, and is left alone", e.Path)
}

// Is makes errors.Is(err, fs.ErrExist) true.
func (e *ExistsError) Is(target error) bool { return target == fs.ErrExist }

// tempName is how an image is called until it is complete. Nothing else is ever cleaned away.
var tempName = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`^\.kvmctl-[0-9a-f]{16}\.part$`) })

// place is where an image is made: a temporary file beside its final name, and a shared lock on the directory for as long
// as someone works in it. The lock is the directory's, not the file's: on NFS a flock of the file is a lock that QEMU's
// own would meet.
type place struct {
	final, temp string
	dir         *os.File
}

// lockPatience is how long newPlace waits for a CleanTemp, which takes a moment.
const lockPatience = 2 * time.Second

// newPlace makes the temporary file, empty and readable to us alone.
func newPlace(ctx context.Context, final string) (p *place, err error) {
	if _, err := os.Lstat(final); err == nil {
		return nil, &ExistsError{final}
	} else if !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("look for image: %w", err)
	}
	var random [8]byte
	rand.Read(random[:]) // never fails (crypto/rand, since Go 1.24)
	p = &place{final: final, temp: filepath.Join(filepath.Dir(final), ".kvmctl-"+hex.EncodeToString(random[:])+".part")}
	if p.dir, err = os.Open(filepath.Dir(final)); err != nil {
		return nil, fmt.Errorf("open directory: %w", err)
	}
	if err := share(ctx, p.dir); err != nil {
		p.dir.Close()
		return nil, err
	}
	f, err := os.OpenFile(p.temp, os.O_CREATE|os.O_EXCL|os.O_WRONLY|unix.O_CLOEXEC, 0o600)
	if err != nil {
		p.dir.Close()
		return nil, fmt.Errorf("make temporary image: %w", err)
	}
	if err := f.Close(); err != nil {
		p.drop()
		return nil, fmt.Errorf("make temporary image: %w", err)
	}
	return p, nil
}

// share takes the shared lock. Without locks on this file system, CleanTemp gets none either and leaves everything alone;
// and somebody else's exclusive lock, held for longer than a CleanTemp's, keeps CleanTemp out just as ours would.
func share(ctx context.Context, dir *os.File) error {
	deadline := time.Now().Add(lockPatience)
	for {
		err := unix.Flock(int(dir.Fd()), unix.LOCK_SH|unix.LOCK_NB)
		if !errors.Is(err, unix.EWOULDBLOCK) || time.Now().After(deadline) {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("lock directory %s: %w", dir.Name(), context.Cause(ctx))
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// rename is for messages that name the temporary file.
func (p *place) rename(message string) string { return strings.ReplaceAll(message, p.temp, p.final) }

// commit brings what was written to the disk and gives it its name, unless another file took that meanwhile.
func (p *place) commit() error {
	if err := p.publish(); err != nil {
		p.drop()
		return err
	}
	p.dir.Close()
	return nil
}

func (p *place) publish() error {
	f, err := os.OpenFile(p.temp, os.O_RDWR|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("open new image: %w", err)
	}
	defer f.Close()
	if err := f.Sync(); err != nil {
		return fmt.Errorf("write new image to disk: %w", err)
	}
	err = unix.Renameat2(unix.AT_FDCWD, p.temp, unix.AT_FDCWD, p.final, unix.RENAME_NOREPLACE)
	if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENOSYS) { // NFS and some FUSE know no flags; link refuses alike
		if err = unix.Link(p.temp, p.final); err == nil {
			err = unix.Unlink(p.temp)
		}
	}
	switch {
	case errors.Is(err, unix.EEXIST):
		return &ExistsError{p.final}
	case err != nil:
		return fmt.Errorf("name new image %s: %w", p.final, err)
	}
	if err := p.dir.Sync(); err != nil {
		os.Remove(p.final) // ours, made a moment ago
		return fmt.Errorf("write directory of new image to disk: %w", err)
	}
	return nil
}

// drop leaves nothing.
func (p *place) drop() {
	os.Remove(p.temp)
	p.dir.Close()
}

// Leftovers gives the temporary files in dir that runs which were killed have left. While another run makes an image
// there, or where the file system knows no locks, it gives none: they might be that run's.
func Leftovers(dir string) ([]string, error) {
	var paths []string
	err := eachLeftover(dir, func(path string) error {
		paths = append(paths, path)
		return nil
	})
	return paths, err
}

// CleanTemp removes what Leftovers gives, and gives what it removed.
func CleanTemp(dir string) ([]string, error) {
	var removed []string
	err := eachLeftover(dir, func(path string) error {
		if err := os.Remove(path); err != nil {
			return fmt.Errorf("remove leftover: %w", err)
		}
		removed = append(removed, path)
		return nil
	})
	return removed, err
}

func eachLeftover(dir string, act func(path string) error) error {
	d, err := os.Open(dir)
	if err != nil {
		return fmt.Errorf("open directory: %w", err)
	}
	defer d.Close()
	if err := unix.Flock(int(d.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		return nil
	}
	entries, err := d.ReadDir(-1)
	if err != nil {
		return fmt.Errorf("read directory: %w", err)
	}
	for _, e := range entries {
		if !e.Type().IsRegular() || !tempName().MatchString(e.Name()) {
			continue
		}
		if err := act(filepath.Join(dir, e.Name())); err != nil {
			return err
		}
	}
	return nil
}
