//go:build !linux

package child

import (
	"context"
	"errors"
	"fmt"
)

// Run is not there yet on this system.
func Run(_ context.Context, c Command) (Result, error) {
	if len(c.Argv) == 0 {
		return Result{}, fmt.Errorf("run a program: %w", ErrNoProgram)
	}
	return Result{}, fmt.Errorf("run %s: running programs is not supported on this system yet: %w", c.Argv[0], errors.ErrUnsupported)
}

// CloseInherited is not there yet on this system.
func CloseInherited() error {
	return fmt.Errorf("close inherited descriptors: not supported on this system yet: %w", errors.ErrUnsupported)
}
