package vm

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"time"

	"kvmctl/vm/qmp"
)

// Screenshot lets a guest's QEMU write its screen as a PNG into f, which has to be open for writing only: QEMU asks its set of
// descriptors for exactly that access, and its uid may write nowhere by itself. A paused guest has a screen, too.
func (h *Host) Screenshot(ctx context.Context, name string, f *os.File) error {
	c, closeMonitor, err := h.Monitor(ctx, name)
	if err != nil {
		return err
	}
	defer closeMonitor()
	var set struct {
		ID int `json:"fdset-id"`
	}
	if err := c.ExecuteWithFile(ctx, "add-fd", nil, &set, f); err != nil {
		return fmt.Errorf("hand over the file: %w", err)
	}
	err = c.Execute(ctx, "screendump", struct {
		Filename string `json:"filename"`
		Format   string `json:"format"`
	}{"/dev/fdset/" + strconv.Itoa(set.ID), "png"}, nil)
	return errors.Join(err, dropFDSet(c, set.ID))
}

// dropFDSet works also when the caller's time is over: QEMU must not keep our file.
func dropFDSet(c *qmp.Client, id int) error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	err := c.Execute(ctx, "remove-fd", struct {
		ID int `json:"fdset-id"`
	}{id}, nil)
	if err != nil {
		return fmt.Errorf("take the file back: %w", err)
	}
	return nil
}

// ErrNoPNG says that a file is no whole PNG.
var ErrNoPNG = errors.New("not a whole PNG")

// Every PNG begins and ends with these bytes (RFC 2083, 3.1 and 4.1.4).
var (
	pngMagic = []byte("\x89PNG\r\n\x1a\n")
	pngEnd   = []byte("\x00\x00\x00\x00IEND\xae\x42\x60\x82")
)

// CheckPNG makes sure that a file of size bytes is a PNG from its first byte to its last.
func CheckPNG(f io.ReaderAt, size int64) error {
	head, tail := make([]byte, len(pngMagic)), make([]byte, len(pngEnd))
	if size < int64(len(head)+len(tail)) {
		return fmt.Errorf("%w: %d bytes", ErrNoPNG, size)
	}
	if _, err := f.ReadAt(head, 0); err != nil {
		return err
	}
	if _, err := f.ReadAt(tail, size-int64(len(tail))); err != nil {
		return err
	}
	if !bytes.Equal(head, pngMagic) || !bytes.Equal(tail, pngEnd) {
		return ErrNoPNG
	}
	return nil
}
