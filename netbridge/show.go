package netbridge

import (
	"context"
	"slices"
)

// State is how a bridge is.
type State int

// The states of a bridge.
const (
	Missing State = iota // declared, not there
	Down
	Up
	Blocked // declared, but an interface of that name is no bridge
)

// String gives the word that people read.
func (s State) String() string {
	return [...]string{"missing", "down", "up", "blocked"}[s]
}

// MarshalText implements encoding.TextMarshaler with the form of String.
func (s State) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// Status is one bridge as `net show` has it.
type Status struct {
	Name     string
	State    State
	Declared *Bridge // nil: not declared
	Ours     bool    // kvmctl made it
	Link     Link    // what is there; zero when Missing
	Ports    []Port
	Pending  []Step // what Ensure would do, but for dangerous ones, which it refuses
	Problem  error  // why there is no plan; nil: there is one
}

// Port is one port of a bridge.
type Port struct {
	Link  Link
	Guest string // whose TAP it is; empty: not kvmctl's
	NIC   int    // of the guest
}

// Show gives, by Survey, the bridges that matter to kvmctl.
func Show(ctx context.Context, k Kernel, declared []Bridge) ([]Status, error) {
	links, err := Look(ctx, k, declared)
	if err != nil {
		return nil, err
	}
	return Survey(links, declared), nil
}

// Survey gives the declared bridges in their order, whether they are there or not; then those of ours that are no longer
// declared and the foreign ones that guests use, in the kernel's order.
func Survey(links []Link, declared []Bridge) []Status {
	var out []Status
	seen := map[string]bool{}
	for i := range declared {
		b := &declared[i]
		l, exists := find(links, b.Name)
		s := status(links, l)
		s.Name, s.Declared = b.Name, b
		switch {
		case !exists:
			s.State = Missing
		case l.Kind != KindBridge:
			s.State = Blocked
		}
		s.Pending, s.Problem = Plan(links, declared[i:i+1])
		out = append(out, s)
		seen[l.Name] = true
	}
	for _, l := range links {
		if l.Kind != KindBridge || seen[l.Name] {
			continue
		}
		s := status(links, l)
		if s.Ours || slices.ContainsFunc(s.Ports, func(p Port) bool { return p.Guest != "" }) {
			out = append(out, s)
		}
	}
	return out
}

func status(links []Link, l Link) Status {
	s := Status{Name: l.Name, State: Down, Ours: l.Ours(), Link: l}
	if l.Up {
		s.State = Up
	}
	if l.Name == "" {
		return s
	}
	for _, p := range portsOf(links, l.Name) {
		port := Port{Link: p}
		if vm, nic, ok := p.Guest(); ok {
			port.Guest, port.NIC = vm, nic
		}
		s.Ports = append(s.Ports, port)
	}
	return s
}
