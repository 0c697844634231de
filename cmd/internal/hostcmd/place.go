package hostcmd

import (
	"context"
	"slices"

	"kvmctl/internal/systemd"
	"kvmctl/vm"
)

// place gives what puts a guest into its scope; nil where nobody makes scopes: without systemd, and for guests below a --root, whose
// names may be those of the machine's own guests.
func (a *app) place() func(context.Context, systemd.Unit) ([]string, error) {
	if a.root != "" || a.noScope || !systemd.Booted() {
		return nil
	}
	return func(ctx context.Context, scope systemd.Unit) ([]string, error) {
		return placeAt(ctx, systemd.PrivateSocket, scope)
	}
}

// standing are the states in which kvm.service will stop the guests when the host goes down.
var standing = []string{"active", "activating", "reloading"}

func placeAt(ctx context.Context, socket string, scope systemd.Unit) (notes []string, err error) {
	m, err := systemd.Dial(ctx, socket)
	if err != nil {
		return nil, err
	}
	defer m.Close()
	down, err := m.Stopping(ctx)
	if err != nil {
		return nil, err
	}
	if down {
		return nil, &vm.GoingDownError{}
	}
	state, err := m.ActiveState(ctx, vm.HostService)
	if err != nil {
		return nil, err
	}
	if !slices.Contains(standing, state) {
		notes = append(notes, vm.HostService+" is "+state+": when the host goes down, the guest loses its power: systemctl enable --now "+vm.HostService)
	}
	return notes, m.StartTransient(ctx, scope)
}
