//go:build !freebsd

package check

import (
	"errors"
	"fmt"
)

// Probe implements Spec.
func (PF) Probe(Env) (Probe, error) {
	return nil, fmt.Errorf("%w: %w", errNoPF, errors.ErrUnsupported)
}

// Probe implements Spec.
func (s PFSync) Probe(Env) (Probe, error) {
	return nil, fmt.Errorf("look at %s: %w: %w", s.Interface, errNoPFSync, errors.ErrUnsupported)
}
