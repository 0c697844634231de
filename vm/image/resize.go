package image

import (
	"context"
	"fmt"
	"strconv"

	"kvmctl/internal/units"
)

// ShrinkError says that a new size is smaller than the image's, and nobody asked to throw the end away.
type ShrinkError struct {
	Path       string
	Have, Want units.Size
}

func (e *ShrinkError) Error() string {
	return fmt.Sprintf("image %s: %v is smaller than its %v: what lies beyond would be lost", e.Path, e.Want, e.Have)
}

// Hint says what may be typed.
func (e *ShrinkError) Hint() string {
	return "--shrink, after the guest's file systems have been made smaller"
}

// Resize gives the image at path, which goes by format (qcow2 or raw), the size that its guest is to see: a multiple of
// 512 bytes. It does nothing when that is its size already, and shrinks only when asked. The errors: what open gives,
// *FormatError, *ShrinkError, *LockedError, *ToolError.
func (t Tool) Resize(ctx context.Context, path, format string, size units.Size, shrink bool) error {
	path, err := absolute(path)
	if err != nil {
		return err
	}
	if err := validSize(size); err != nil {
		return err
	}
	h, err := header(path)
	if err != nil {
		return err
	}
	if err := usable(path, format, h); err != nil {
		return err
	}
	have := h.VirtualSize
	if format == Raw && h.Format != Raw {
		if have, err = fileSize(path); err != nil {
			return err
		}
	}
	args := []string{"resize", "-q", "-f", format}
	switch {
	case size == have:
		return nil
	case size < have && !shrink:
		return &ShrinkError{path, have, size}
	case size < have:
		args = append(args, "--shrink")
	}
	if err := CheckUnlocked(ctx, path, true); err != nil {
		return err
	}
	err = t.do(ctx, nil, nil, append(args, path, strconv.FormatInt(int64(size), 10))...)
	return orLocked(ctx, err, true, path)
}

func fileSize(path string) (units.Size, error) {
	o, err := open(path)
	if err != nil {
		return 0, err
	}
	defer o.f.Close()
	return units.Size(o.size), nil
}

// validSize refuses what a disk cannot have. The upper bound is what qcow2 with default clusters can hold.
func validSize(size units.Size) error {
	const sector = 512
	if size <= 0 || size%sector != 0 || size > 64*units.TiB {
		return fmt.Errorf("disk size %v: want a multiple of %d bytes, up to 64T", size, sector)
	}
	return nil
}
