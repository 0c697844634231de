package image

import (
	"fmt"
	"io/fs"
	"os"

	"golang.org/x/sys/unix"
)

// NotImageError says that a path leads to something that cannot be a disk image.
type NotImageError struct {
	Path string
	Kind string // "a directory", "a FIFO", …
}

func (e *NotImageError) Error() string {
	return fmt.Sprintf("image %s: is %s, not a file", e.Path, e.Kind)
}

// opened is an image that is open for reading.
type opened struct {
	f        *os.File
	dev, ino uint64
	size     int64
}

// open opens a regular file or a block device, and never waits: neither for a FIFO's writer nor for a tape. The error
// wraps fs.ErrNotExist, fs.ErrPermission or unix.ELOOP, or is a *NotImageError.
func open(path string) (*opened, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK|unix.O_NOCTTY|unix.O_CLOEXEC, 0)
	if err != nil {
		if st, serr := os.Stat(path); serr == nil && st.Mode()&fs.ModeSocket != 0 {
			return nil, &NotImageError{path, "a socket"} // open says ENXIO
		}
		return nil, fmt.Errorf("open image: %w", err)
	}
	o := &opened{f: f}
	var st unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &st); err != nil {
		f.Close()
		return nil, fmt.Errorf("examine image %s: %w", path, err)
	}
	o.dev, o.ino, o.size = st.Dev, st.Ino, st.Size
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFREG:
		return o, nil
	case unix.S_IFBLK:
		if o.size, err = f.Seek(0, 2); err != nil {
			f.Close()
			return nil, fmt.Errorf("measure block device %s: %w", path, err)
		}
		return o, nil
	}
	f.Close()
	kind := "something else"
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFDIR:
		kind = "a directory"
	case unix.S_IFIFO:
		kind = "a FIFO"
	case unix.S_IFCHR:
		kind = "a character device"
	}
	return nil, &NotImageError{path, kind}
}

// header reads what path says of itself.
func header(path string) (Header, error) {
	o, err := open(path)
	if err != nil {
		return Header{}, err
	}
	defer o.f.Close()
	h, err := ReadHeader(o.f, o.size)
	if err != nil {
		return Header{}, fmt.Errorf("image %s: %w", path, err)
	}
	return h, nil
}
