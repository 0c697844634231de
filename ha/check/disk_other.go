//go:build !linux

package check

import (
	"errors"
	"fmt"
)

// Probe implements Spec; how other systems list their mounts is not read yet.
func (s Disk) Probe(Env) (Probe, error) {
	return nil, fmt.Errorf("look at %s: disk checks are not supported yet on this system: %w", s.Path, errors.ErrUnsupported)
}
