//go:build !linux

package runner

import (
	"context"
	"errors"
	"fmt"
)

// Run is not there yet on this system.
func (Exec) Run(_ context.Context, c Command) (Result, error) {
	if len(c.Argv) == 0 {
		return Result{}, errors.New("execute: no program named")
	}
	return Result{}, fmt.Errorf("execute %s: running programs is not supported on this system yet: %w", c.Argv[0], errors.ErrUnsupported)
}
