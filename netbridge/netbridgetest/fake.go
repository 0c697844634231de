package netbridgetest

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"syscall"

	"kvmctl/internal/units"
	"kvmctl/netbridge"
)

// The kernel's numbers that the model keeps to.
const (
	maxName    = 15    // bytes of an interface's name
	maxAlias   = 255   // bytes of an alias
	minMTU     = 68    // bytes
	maxMTU     = 65535 // bytes, of a bridge
	defaultMTU = 1500  // bytes, of a bridge that nobody gave one and that has no ports
)

// Fake is a kernel's interfaces in memory. It knows no carrier and gives no link-local addresses. Safe for use by several
// goroutines.
type Fake struct {
	mu     sync.Mutex
	links  []*link
	next   int
	calls  map[string]int
	faults map[string]fault
	trace  []string
}

type link struct {
	netbridge.Link
	pinned bool                // a bridge that keeps its MTU whatever its ports have
	held   []netbridge.Holding // routes and neighbours
}

type fault struct {
	at  int
	err error
}

var _ World = (*Fake)(nil)

// NewFake gives a kernel that has an interface lo and nothing else.
func NewFake() *Fake {
	f := &Fake{calls: map[string]int{}, faults: map[string]fault{}}
	f.add(netbridge.Link{Name: "lo", Kind: "device", MTU: 65536})
	return f
}

// enter begins a call: it takes the lock, and gives the error that the call is to fail with.
func (f *Fake) enter(ctx context.Context, method, name string) (leave func(), err error) {
	f.mu.Lock()
	f.calls[method]++
	f.trace = append(f.trace, method+" "+name)
	if err := context.Cause(ctx); err != nil {
		return f.mu.Unlock, err
	}
	if ft, ok := f.faults[method]; ok && ft.at == f.calls[method] {
		return f.mu.Unlock, ft.err
	}
	return f.mu.Unlock, nil
}

func (f *Fake) get(name string) (*link, error) {
	for _, l := range f.links {
		if l.Name == name || slices.Contains(l.AltNames, name) {
			return l, nil
		}
	}
	return nil, syscall.ENODEV
}

func (f *Fake) add(l netbridge.Link) {
	f.next++
	l.Index = f.next
	f.links = append(f.links, &link{Link: l})
}

func (f *Fake) ports(bridge string) []*link {
	var out []*link
	for _, l := range f.links {
		if l.Master == bridge {
			out = append(out, l)
		}
	}
	return out
}

// settle does what the kernel does with the MTU of a bridge whose ports changed.
func (f *Fake) settle(bridge string) {
	br, err := f.get(bridge)
	if err != nil || br.pinned {
		return
	}
	br.MTU = defaultMTU
	for i, p := range f.ports(br.Name) {
		if i == 0 || p.MTU < br.MTU {
			br.MTU = p.MTU
		}
	}
}

func clone(l *link) netbridge.Link {
	out := l.Link
	out.AltNames, out.Addresses = slices.Clone(l.AltNames), slices.Clone(l.Addresses)
	return out
}

// Links implements netbridge.Kernel.
func (f *Fake) Links(ctx context.Context, names ...string) ([]netbridge.Link, error) {
	leave, err := f.enter(ctx, "Links", fmt.Sprint(names))
	defer leave()
	if err != nil {
		return nil, fmt.Errorf("list interfaces: %w", err)
	}
	var out []netbridge.Link
	if len(names) == 0 {
		for _, l := range f.links {
			out = append(out, clone(l))
		}
		return out, nil
	}
	for _, n := range names {
		l, err := f.get(n)
		if err == nil && !slices.ContainsFunc(out, func(o netbridge.Link) bool { return o.Index == l.Index }) {
			out = append(out, clone(l))
		}
	}
	return out, nil
}

// CreateBridge implements netbridge.Kernel.
func (f *Fake) CreateBridge(ctx context.Context, name string, mac units.MAC) error {
	leave, err := f.enter(ctx, "CreateBridge", name)
	defer leave()
	if err == nil {
		err = f.createBridge(name, mac)
	}
	return wrap(err, "create bridge %q", name)
}

func (f *Fake) createBridge(name string, mac units.MAC) error {
	switch {
	case len(name) > maxName:
		return syscall.ERANGE
	case netbridge.CheckName(name) != nil:
		return syscall.EINVAL
	case mac.IsZero() || mac[0]&1 != 0:
		return syscall.EADDRNOTAVAIL
	}
	if _, err := f.get(name); err == nil {
		return syscall.EEXIST
	}
	f.add(netbridge.Link{Name: name, Kind: netbridge.KindBridge, MAC: mac, MTU: maxMTU})
	return nil
}

// DeleteBridge implements netbridge.Kernel.
func (f *Fake) DeleteBridge(ctx context.Context, name string) error {
	leave, err := f.enter(ctx, "DeleteBridge", name)
	defer leave()
	var l *link
	if err == nil {
		l, err = f.get(name)
	}
	switch {
	case err != nil:
	case l.Kind != netbridge.KindBridge:
		err = syscall.EOPNOTSUPP
	case len(f.ports(l.Name)) > 0:
		err = syscall.EBUSY
	default:
		f.links = slices.DeleteFunc(f.links, func(o *link) bool { return o == l })
	}
	return wrap(err, "delete bridge %q", name)
}

// change runs a method that changes one interface.
func (f *Fake) change(ctx context.Context, method, name string, do func(*link) error) error {
	leave, err := f.enter(ctx, method, name)
	defer leave()
	if err == nil {
		var l *link
		if l, err = f.get(name); err == nil {
			err = do(l)
		}
	}
	return wrap(err, "%s of %q", method, name)
}

// SetAlias implements netbridge.Kernel.
func (f *Fake) SetAlias(ctx context.Context, name, alias string) error {
	return f.change(ctx, "SetAlias", name, func(l *link) error {
		if len(alias) > maxAlias {
			return syscall.ERANGE
		}
		l.Alias = alias
		return nil
	})
}

// SetMAC implements netbridge.Kernel.
func (f *Fake) SetMAC(ctx context.Context, name string, mac units.MAC) error {
	return f.change(ctx, "SetMAC", name, func(l *link) error {
		if mac.IsZero() || mac[0]&1 != 0 {
			return syscall.EADDRNOTAVAIL
		}
		l.MAC = mac
		return nil
	})
}

// SetMTU implements netbridge.Kernel.
func (f *Fake) SetMTU(ctx context.Context, name string, mtu int) error {
	return f.change(ctx, "SetMTU", name, func(l *link) error {
		if l.MTU == mtu {
			return nil
		}
		if mtu < minMTU || mtu > maxMTU {
			return syscall.EINVAL
		}
		l.MTU, l.pinned = mtu, true
		f.settle(l.Master)
		return nil
	})
}

// AddAddress implements netbridge.Kernel.
func (f *Fake) AddAddress(ctx context.Context, name string, addr netip.Prefix) error {
	return f.change(ctx, "AddAddress", name, func(l *link) error {
		if slices.ContainsFunc(l.Addresses, func(a netip.Prefix) bool {
			return a == addr || a.Addr() == addr.Addr() && addr.Addr().Is6()
		}) {
			return syscall.EEXIST
		}
		l.Addresses = append(l.Addresses, addr)
		return nil
	})
}

// RemoveAddress implements netbridge.Kernel.
func (f *Fake) RemoveAddress(ctx context.Context, name string, addr netip.Prefix) error {
	return f.change(ctx, "RemoveAddress", name, func(l *link) error {
		i := slices.Index(l.Addresses, addr)
		if i < 0 {
			return syscall.EADDRNOTAVAIL
		}
		l.Addresses = slices.Delete(l.Addresses, i, i+1)
		return nil
	})
}

// SetUp implements netbridge.Kernel.
func (f *Fake) SetUp(ctx context.Context, name string, up bool) error {
	return f.change(ctx, "SetUp", name, func(l *link) error {
		l.Up = up
		return nil
	})
}

func wrap(err error, format string, args ...any) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf(format+": %w", append(args, err)...)
}
