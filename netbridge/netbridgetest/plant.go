package netbridgetest

import (
	"maps"
	"slices"
	"syscall"

	"kvmctl/internal/units"
	"kvmctl/netbridge"
)

// Plant implements World.
func (f *Fake) Plant(l netbridge.Link) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if _, err := f.get(l.Name); err == nil {
		return syscall.EEXIST
	}
	if l.MTU == 0 {
		l.MTU = defaultMTU
	}
	if l.MAC.IsZero() {
		l.MAC = units.DeriveMAC("planted", l.Name)
	}
	f.add(l)
	f.settle(l.Master)
	return nil
}

// Pull implements World.
func (f *Fake) Pull(name string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	l, err := f.get(name)
	if err != nil {
		return err
	}
	f.links = slices.DeleteFunc(f.links, func(o *link) bool { return o == l })
	f.settle(l.Master)
	return nil
}

// FailAt makes the n-th call of a method from now on, counted from 1, return err and do nothing.
func (f *Fake) FailAt(method string, n int, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.faults[method] = fault{f.calls[method] + n, err}
}

// Calls gives how often each method was called.
func (f *Fake) Calls() map[string]int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return maps.Clone(f.calls)
}

// Trace gives every call in order: the method and the interface.
func (f *Fake) Trace() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.trace)
}
