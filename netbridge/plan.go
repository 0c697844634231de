package netbridge

import (
	"errors"
	"net/netip"
	"slices"

	"kvmctl/internal/units"
)

// Plan gives the steps that are missing between have (every interface of the host) and want, in the order of want; none
// when all is there. Per bridge the order is: create, mark, MAC, MTU, STP, VLAN filtering, address, up, so that nothing is forwarded
// by a bridge that is not yet what was declared, then the uplink with what it has; a kill between any two steps leaves what the next
// Plan completes. Of an uplink that is no port of its bridge yet, Holdings have to be filled in.
//
// Only bridges of ours are changed. A bridge that someone else made is used as it is. An interface that is no bridge is a
// *NotBridgeError, an uplink that cannot be one an *UplinkError; all errors are reported, and then there are no steps.
func Plan(have []Link, want []Bridge) ([]Step, error) {
	if err := checkAll(want); err != nil {
		return nil, err
	}
	var steps []Step
	var errs []error
	for _, b := range want {
		s, err := planOne(have, b)
		steps, errs = append(steps, s...), append(errs, err)
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	return steps, nil
}

func planOne(have []Link, b Bridge) ([]Step, error) {
	l, exists := find(have, b.Name)
	if exists && l.Kind != KindBridge {
		return nil, &NotBridgeError{Name: b.Name, Link: l}
	}
	var up Link
	if b.Uplink != "" {
		// Looked up first: what is not declared of the bridge follows it.
		found, ok := find(have, b.Uplink)
		if !ok && exists && !l.Ours() {
			return nil, nil
		}
		if !ok {
			return nil, &UplinkError{Bridge: b.Name, Uplink: b.Uplink, Why: "there is no such interface"}
		}
		up = found
		if b.MAC.IsZero() {
			b.MAC = up.MAC
		}
		if b.MTU == 0 {
			b.MTU = up.MTU
		}
	}
	var steps []Step
	switch {
	case !exists:
		l = Link{Name: b.Name, Kind: KindBridge, MAC: b.MAC}
		steps = append(steps, CreateBridge{b.Name, b.MAC})
	case l.Ours(), unmarked(have, l, b.MAC):
	default:
		return nil, nil // somebody else's
	}
	if guests := guestPorts(have, l.Name); l.VLANFiltering != b.VLANFiltering && len(guests) > 0 {
		return nil, &PortsError{Name: l.Name, Ports: guests} // their ports would lose the VLAN that they are in
	}
	// What carries the host's own addresses to the outside is changed at the host's own risk.
	risky := b.Uplink != "" && up.Master == l.Name && len(global(l.Addresses)) > 0
	steps = append(steps, complete(l, b, risky)...)
	if b.Uplink == "" {
		return steps, nil
	}
	attach, err := planUplink(b, l, up)
	return append(steps, attach...), err
}

func guestPorts(have []Link, bridge string) []Link {
	return slices.DeleteFunc(portsOf(have, bridge), func(p Link) bool { _, _, ok := p.Guest(); return !ok })
}

// unmarked recognises our own bridge when we were killed between its creation and its mark (the kernel ignores an alias in
// the message that creates): it has the MAC that is derived for it, and is otherwise as CreateBridge left it.
func unmarked(have []Link, l Link, mac units.MAC) bool {
	return l.Alias == "" && l.MAC == mac && !l.Up && len(l.Addresses) == 0 && len(portsOf(have, l.Name)) == 0
}

// complete gives what a bridge of ours lacks.
func complete(l Link, b Bridge, risky bool) []Step {
	var steps []Step
	if alias := BridgeAlias(l.Name); l.Alias != alias {
		steps = append(steps, SetAlias{Name: l.Name, Alias: alias, Was: l.Alias})
	}
	if l.MAC != b.MAC {
		steps = append(steps, SetMAC{Name: l.Name, MAC: b.MAC, Was: l.MAC, Risky: risky})
	}
	if l.MTU != b.MTU {
		steps = append(steps, SetMTU{Name: l.Name, MTU: b.MTU, Was: l.MTU, Risky: risky})
	}
	if l.STP != b.STP {
		steps = append(steps, SetSTP{Name: l.Name, On: b.STP, Risky: risky})
	}
	if l.VLANFiltering != b.VLANFiltering {
		steps = append(steps, SetVLANFiltering{Name: l.Name, On: b.VLANFiltering, Risky: risky})
	}
	if b.Address.IsValid() && !slices.Contains(l.Addresses, b.Address) {
		// The same address under another prefix length stands in the way (IPv6 refuses a second one). Other addresses are left:
		// nobody knows who added them.
		if i := slices.IndexFunc(l.Addresses, func(a netip.Prefix) bool { return a.Addr() == b.Address.Addr() }); i >= 0 {
			steps = append(steps, RemoveAddress{Name: l.Name, Address: l.Addresses[i], Risky: risky})
		}
		steps = append(steps, AddAddress{Name: l.Name, Address: b.Address})
	}
	if !l.Up {
		steps = append(steps, SetUp{Name: l.Name})
	}
	return steps
}

// global leaves out the addresses that only have a meaning on their link.
func global(addrs []netip.Prefix) []netip.Prefix {
	return slices.DeleteFunc(slices.Clone(addrs), func(p netip.Prefix) bool { return p.Addr().IsLinkLocalUnicast() && p.Addr().Is6() })
}

// PlanDown gives the steps that remove the named bridges; one that is not there is no error. An uplink that is declared for a bridge
// is taken out of it, and with address "keep" gets back what the bridge has: for that the bridge's Holdings have to be filled in.
// Refused, and then there are no steps at all: a bridge with other ports (*PortsError), one that is not ours (*ForeignError), what is
// no bridge (*NotBridgeError).
func PlanDown(have []Link, names []string, declared []Bridge) ([]Step, error) {
	var steps []Step
	var errs []error
	for i, name := range names {
		l, exists := find(have, name)
		if !exists || slices.Contains(names[:i], name) {
			continue
		}
		s, err := planDownOne(have, l, name, declared)
		steps, errs = append(steps, s...), append(errs, err)
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	return steps, nil
}

func planDownOne(have []Link, l Link, name string, declared []Bridge) ([]Step, error) {
	var b Bridge
	if i := slices.IndexFunc(declared, func(b Bridge) bool { return b.Name == l.Name }); i >= 0 {
		b = declared[i]
	}
	ports := portsOf(have, l.Name)
	others := slices.DeleteFunc(slices.Clone(ports), func(p Link) bool { return b.Uplink != "" && p.Name == b.Uplink })
	switch {
	case l.Kind != KindBridge:
		return nil, &NotBridgeError{Name: name, Link: l}
	case !l.Ours():
		return nil, &ForeignError{Name: name}
	case len(others) > 0:
		return nil, &PortsError{Name: name, Ports: others}
	case len(ports) == 0:
		return []Step{DeleteBridge{Name: l.Name, Was: l}}, nil
	}
	risky := len(global(l.Addresses)) > 0
	var steps []Step
	if b.Keep {
		for _, h := range inOrder(l.Holdings) {
			steps = append(steps, GiveHolding{b.Uplink, h})
		}
	}
	return append(steps, ReleasePort{Name: b.Uplink, Bridge: l.Name, Risky: risky}, DeleteBridge{Name: l.Name, Was: l, Risky: risky}), nil
}
