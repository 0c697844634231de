package netbridge

import (
	"errors"
	"net/netip"
	"slices"

	"kvmctl/internal/units"
)

// Plan gives the steps that are missing between have (every interface of the host) and want, in the order of want; none
// when all is there. Per bridge the order is: create, mark, MAC, MTU, address, up, so that nothing is forwarded by a bridge that
// is not yet what was declared, and a kill between any two steps leaves what the next Plan completes.
//
// Only bridges of ours are changed. A bridge that someone else made is used as it is. An interface that is no bridge is a
// *NotBridgeError; all errors are reported, and then there are no steps.
func Plan(have []Link, want []Bridge) ([]Step, error) {
	if err := checkAll(want); err != nil {
		return nil, err
	}
	var steps []Step
	var errs []error
	for _, b := range want {
		l, exists := find(have, b.Name)
		switch {
		case !exists:
			steps = append(steps, CreateBridge{b.Name, b.MAC})
			steps = append(steps, complete(Link{Name: b.Name, Kind: KindBridge, MAC: b.MAC}, b)...)
		case l.Kind != KindBridge:
			errs = append(errs, &NotBridgeError{Name: b.Name, Link: l})
		case l.Ours(), unmarked(have, l, b.MAC):
			steps = append(steps, complete(l, b)...)
		}
	}
	if len(errs) > 0 {
		return nil, errors.Join(errs...)
	}
	return steps, nil
}

// unmarked recognises our own bridge when we were killed between its creation and its mark (the kernel ignores an alias in
// the message that creates): it has the MAC that is derived for it, and is otherwise as CreateBridge left it.
func unmarked(have []Link, l Link, mac units.MAC) bool {
	return l.Alias == "" && l.MAC == mac && !l.Up && len(l.Addresses) == 0 && len(portsOf(have, l.Name)) == 0
}

// complete gives what a bridge of ours lacks.
func complete(l Link, b Bridge) []Step {
	var steps []Step
	if alias := BridgeAlias(l.Name); l.Alias != alias {
		steps = append(steps, SetAlias{Name: l.Name, Alias: alias, Was: l.Alias})
	}
	if l.MAC != b.MAC {
		steps = append(steps, SetMAC{Name: l.Name, MAC: b.MAC, Was: l.MAC})
	}
	if l.MTU != b.MTU {
		steps = append(steps, SetMTU{Name: l.Name, MTU: b.MTU, Was: l.MTU})
	}
	if b.Address.IsValid() && !slices.Contains(l.Addresses, b.Address) {
		// The same address under another prefix length stands in the way (IPv6 refuses a second one). Other addresses are left:
		// nobody knows who added them.
		if i := slices.IndexFunc(l.Addresses, func(a netip.Prefix) bool { return a.Addr() == b.Address.Addr() }); i >= 0 {
			steps = append(steps, RemoveAddress{Name: l.Name, Address: l.Addresses[i]})
		}
		steps = append(steps, AddAddress{Name: l.Name, Address: b.Address})
	}
	if !l.Up {
		steps = append(steps, SetUp{Name: l.Name})
	}
	return steps
}

// PlanDown gives the steps that remove the named bridges; one that is not there is no error. Refused, and then there are no
// steps at all: a bridge with ports (*PortsError), one that is not ours (*ForeignError), what is no bridge (*NotBridgeError).
func PlanDown(have []Link, names []string) ([]Step, error) {
	var steps []Step
	var errs []error
	for i, name := range names {
		l, exists := find(have, name)
		ports := portsOf(have, l.Name)
		switch {
		case !exists, slices.Contains(names[:i], name):
		case l.Kind != KindBridge:
			errs = append(errs, &NotBridgeError{Name: name, Link: l})
		case !l.Ours():
			errs = append(errs, &ForeignError{Name: name})
		case len(ports) > 0:
			errs = append(errs, &PortsError{Name: name, Ports: ports})
		default:
			steps = append(steps, DeleteBridge{Name: l.Name, Was: l})
		}
	}
	if len(errs) > 0 {
		return nil, errors.Join(errs...)
	}
	return steps, nil
}
