//go:build !linux

package salvage

import (
	"context"
	"errors"
)

var errLinux = errors.New("DRBD is for Linux")

// Size is for Linux.
func Size(string) (uint64, error) { return 0, errLinux }

// Free is for Linux.
func Free(string) (uint64, error) { return 0, errLinux }

// Keep is for Linux.
func Keep(context.Context, string, Kept, func(uint64)) error { return errLinux }
