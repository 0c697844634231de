package salvage

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"unsafe"

	"golang.org/x/sys/unix"
)

// chunk is how much is read at once, in bytes; page is the grain of O_DIRECT and of holes.
const (
	chunk = 1 << 20
	page  = 4096
)

// ErrNoSpace says that the images do not fit.
var ErrNoSpace = errors.New("there is not enough space")

// Size gives how long a device is, in bytes.
func Size(device string) (uint64, error) {
	f, err := os.Open(device)
	if err != nil {
		return 0, fmt.Errorf("ask for the size: %w", err)
	}
	defer f.Close()
	n, err := f.Seek(0, io.SeekEnd)
	if err != nil {
		return 0, fmt.Errorf("ask for the size of %s: %w", device, err)
	}
	return uint64(n), nil
}

// Free gives the space for files in a directory, or in the nearest one above that exists, in bytes.
func Free(dir string) (uint64, error) {
	for {
		var s unix.Statfs_t
		err := unix.Statfs(dir, &s)
		if err == nil {
			return s.Bavail * uint64(s.Bsize), nil
		}
		if up := filepath.Dir(dir); errors.Is(err, unix.ENOENT) && up != dir {
			dir = up
			continue
		}
		return 0, fmt.Errorf("ask for the space in %s: %w", dir, err)
	}
}

// Keep copies the devices of k to its images, below dir or where k.Where says, and notes it. said is told how many bytes were read. Nobody may write to
// the devices meanwhile. They are read past the page cache, for DRBD writes past it. What was begun and is not whole is removed.
func Keep(ctx context.Context, dir string, k Kept, said func(bytes uint64)) (err error) {
	own := filepath.Join(dir, k.ID)
	if err := os.MkdirAll(own, 0o700); err != nil {
		return fmt.Errorf("keep %s: %w", k.ID, err)
	}
	if err := os.MkdirAll(k.Where, 0o700); err != nil {
		return fmt.Errorf("keep %s: %w", k.ID, err)
	}
	defer func() {
		if err != nil {
			for _, i := range k.Images {
				_ = os.Remove(k.Path(i)) // an image without a note is none
			}
			_ = os.Remove(k.Where)
			_ = os.Remove(own)
		}
	}()
	var total uint64
	for _, i := range k.Images {
		if err := copyImage(ctx, k.Path(i), i, func(n uint64) { total += n; said(total) }); err != nil {
			return fmt.Errorf("keep %s: %w", i.Device, err)
		}
	}
	return k.write(dir)
}

func copyImage(ctx context.Context, path string, i Image, said func(uint64)) (err error) {
	in, err := os.OpenFile(i.Device, os.O_RDONLY|unix.O_DIRECT, 0)
	if errors.Is(err, unix.EINVAL) { // a file where no such reading is
		in, err = os.Open(i.Device)
	}
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, out.Close()) }()
	buffer := aligned(chunk)
	for at := uint64(0); at < i.Size; {
		if err := ctx.Err(); err != nil {
			return context.Cause(ctx)
		}
		n, err := in.ReadAt(buffer[:min(chunk, roundUp(i.Size-at))], int64(at))
		if n == 0 {
			if err == nil || errors.Is(err, io.EOF) {
				err = io.ErrUnexpectedEOF
			}
			return err
		}
		if err := writeSparse(out, buffer[:n], int64(at)); err != nil {
			return err
		}
		at += uint64(n)
		said(uint64(n))
	}
	if err := out.Truncate(int64(i.Size)); err != nil {
		return err
	}
	return out.Sync()
}

func roundUp(n uint64) uint64 { return (n + page - 1) / page * page }

var zeros = make([]byte, page)

// writeSparse leaves out pages of zeros.
func writeSparse(out *os.File, data []byte, at int64) error {
	for begin := 0; begin < len(data); begin += page {
		one := data[begin:min(begin+page, len(data))]
		if bytes.Equal(one, zeros[:len(one)]) {
			continue
		}
		if _, err := out.WriteAt(one, at+int64(begin)); err != nil {
			return err
		}
	}
	return nil
}

// aligned gives a buffer that O_DIRECT takes.
func aligned(size int) []byte {
	b := make([]byte, size+page)
	off := int(page - uintptr(unsafe.Pointer(&b[0]))%page)
	return b[off : off+size]
}
