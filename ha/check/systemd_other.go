//go:build !linux

package check

import (
	"errors"
	"fmt"
)

// Probe implements Spec; only Linux has systemd.
func (s Systemd) Probe(Env) (Probe, error) {
	return nil, fmt.Errorf("watch %s: %w: %w", s.Unit, errNoBus, errors.ErrUnsupported)
}
