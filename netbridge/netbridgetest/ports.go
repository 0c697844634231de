package netbridgetest

import (
	"context"
	"net/netip"
	"slices"
	"syscall"

	"kvmctl/internal/units"
	"kvmctl/netbridge"
)

// SetSTP implements netbridge.Kernel.
func (f *Fake) SetSTP(ctx context.Context, name string, on bool) error {
	return f.change(ctx, "SetSTP", name, func(l *link) error {
		if l.Kind != netbridge.KindBridge {
			return syscall.EOPNOTSUPP
		}
		l.STP = on
		return nil
	})
}

// SetVLANFiltering implements netbridge.Kernel.
func (f *Fake) SetVLANFiltering(ctx context.Context, name string, on bool) error {
	return f.change(ctx, "SetVLANFiltering", name, func(l *link) error {
		if l.Kind != netbridge.KindBridge {
			return syscall.EOPNOTSUPP
		}
		l.VLANFiltering = on
		return nil
	})
}

// SetMaster implements netbridge.Kernel.
func (f *Fake) SetMaster(ctx context.Context, name, bridge string) error {
	return f.change(ctx, "SetMaster", name, func(l *link) error {
		if bridge != "" {
			br, err := f.get(bridge)
			switch {
			case err != nil:
				return err
			case br.Kind != netbridge.KindBridge:
				return syscall.EOPNOTSUPP
			case l.Kind == netbridge.KindBridge:
				return syscall.ELOOP
			}
		}
		was := l.Master
		l.Master = bridge
		f.settle(was)
		f.settle(bridge)
		return nil
	})
}

// Trunk implements netbridge.Kernel.
func (f *Fake) Trunk(ctx context.Context, port string, _ units.VLANRange) error {
	return f.change(ctx, "Trunk", port, func(l *link) error {
		if l.Master == "" {
			return syscall.EOPNOTSUPP
		}
		return nil
	})
}

// Holdings implements netbridge.Kernel.
func (f *Fake) Holdings(ctx context.Context, name string) (out []netbridge.Holding, err error) {
	err = f.change(ctx, "Holdings", name, func(l *link) error {
		for _, a := range l.Addresses {
			out = append(out, address(a))
		}
		out = append(out, l.held...)
		return nil
	})
	return out, err
}

func address(p netip.Prefix) netbridge.Holding {
	return netbridge.Holding{Kind: netbridge.KindAddress, Text: p.String(), Raw: []byte(p.String()), Valid: netbridge.Forever, Preferred: netbridge.Forever}
}

// Give implements netbridge.Kernel.
func (f *Fake) Give(ctx context.Context, name string, h netbridge.Holding, _ bool) error {
	return f.change(ctx, "Give", name, func(l *link) error {
		if h.Kind != netbridge.KindAddress {
			if l.holds(h) >= 0 {
				return syscall.EEXIST
			}
			l.held = append(l.held, h)
			return nil
		}
		p, err := netip.ParsePrefix(string(h.Raw))
		if err != nil {
			return syscall.EINVAL
		}
		if slices.Contains(l.Addresses, p) {
			return syscall.EEXIST
		}
		l.Addresses = append(l.Addresses, p)
		return nil
	})
}

// Take implements netbridge.Kernel.
func (f *Fake) Take(ctx context.Context, name string, h netbridge.Holding) error {
	return f.change(ctx, "Take", name, func(l *link) error {
		if h.Kind == netbridge.KindAddress {
			i := slices.IndexFunc(l.Addresses, func(p netip.Prefix) bool { return p.String() == string(h.Raw) })
			if i < 0 {
				return syscall.ENOENT
			}
			l.Addresses = slices.Delete(l.Addresses, i, i+1)
			return nil
		}
		i := l.holds(h)
		if i < 0 {
			return syscall.ENOENT
		}
		l.held = slices.Delete(l.held, i, i+1)
		return nil
	})
}

func (l *link) holds(h netbridge.Holding) int {
	return slices.IndexFunc(l.held, func(o netbridge.Holding) bool { return o.Kind == h.Kind && o.Text == h.Text })
}
