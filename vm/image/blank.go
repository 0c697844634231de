package image

import (
	"context"
	"errors"
	"fmt"
	"os"
)

// Blank tells whether an image holds nothing but zeros: whether it may be installed on without loss. qemu-img passes over what was never
// written; a preallocated image is read up to its first other byte.
func (t Tool) Blank(ctx context.Context, path, format string) (bool, error) {
	info, err := t.Info(ctx, path, format)
	if err != nil {
		return false, err
	}
	zeros, err := os.CreateTemp("", "kvmctl-zeros-")
	if err != nil {
		return false, err
	}
	defer os.Remove(zeros.Name())
	if err := errors.Join(zeros.Truncate(int64(info.VirtualSize)), zeros.Close()); err != nil {
		return false, err
	}
	r, err := t.run(ctx, nil, "compare", "-f", info.Format, "-F", "raw", path, zeros.Name())
	switch {
	case err != nil:
		return false, err
	case r.Exit == 0:
		return true, nil
	case r.Exit == 1: // they differ (qemu-img(1), "compare")
		return false, nil
	}
	return false, orLocked(ctx, fmt.Errorf("compare %s with zeros: %w", path, toolError("compare", r, nil)), false, path)
}
