//go:build !linux

package mount

import (
	"context"
	"errors"
	"fmt"
	"runtime"
)

// ErrSystem says that this system is not supported.
var ErrSystem = fmt.Errorf("file systems of a group are not mounted on %s: %w", runtime.GOOS, errors.ErrUnsupported)

type here struct{}

func system() here { return here{} }

// Mount gives ErrSystem.
func (*Mounter) Mount(context.Context, Mount) error { return ErrSystem }

// Mounted gives ErrSystem.
func (*Mounter) Mounted(Mount) (bool, error) { return false, ErrSystem }

// Unmount gives ErrSystem.
func (*Mounter) Unmount(context.Context, Mount, bool) ([]Holder, error) { return nil, ErrSystem }

// Holders gives ErrSystem.
func (*Mounter) Holders(context.Context, Mount) ([]Holder, error) { return nil, ErrSystem }
