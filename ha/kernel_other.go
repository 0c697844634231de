//go:build !linux

package ha

// Kernel is this machine's network.
type Kernel struct{ Network }

// OpenKernel gives ErrSystem.
func OpenKernel(Clock) (*Kernel, error) { return nil, ErrSystem }

// Inherit does nothing.
func (*Kernel) Inherit(*Handover) {}

// Close does nothing.
func (*Kernel) Close() error { return nil }
