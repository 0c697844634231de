//go:build !linux

package check

import (
	"errors"
	"fmt"
)

// Probe implements Spec; this system cannot do it yet.
func (s Process) Probe(Env) (Probe, error) {
	return nil, fmt.Errorf("watch %v: checks of processes are not supported on this system yet: %w", s, errors.ErrUnsupported)
}
