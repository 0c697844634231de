//go:build !linux

package unit

import (
	"context"
	"errors"
	"fmt"
)

func killPIDFile(context.Context, string) error {
	return fmt.Errorf("%w: not supported on this system yet: %w", ErrCannotKill, errors.ErrUnsupported)
}

// pidState knows nothing.
func pidState(string) Status { return Status{Unknown, "pidfiles are not looked at on this system yet"} }
