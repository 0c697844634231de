package netbridge

import (
	"errors"
	"fmt"
	"strings"
)

// NotBridgeError is a bridge's name that another kind of interface has.
type NotBridgeError struct {
	Name string // as declared
	Link Link   // what has it
}

func (e *NotBridgeError) Error() string {
	if e.Link.Name != e.Name {
		return fmt.Sprintf("%q is another name of interface %q, which is %s, not a bridge", e.Name, e.Link.Name, describe(e.Link))
	}
	return fmt.Sprintf("interface %q is %s, not a bridge", e.Name, describe(e.Link))
}

// Hint is what to do next.
func (e *NotBridgeError) Hint() string {
	return fmt.Sprintf("give the bridge a name that is free, or see what %s is: ip -d link show %s", e.Link.Name, e.Link.Name)
}

// ForeignError is a bridge that kvmctl did not make, and so does not remove.
type ForeignError struct{ Name string }

func (e *ForeignError) Error() string {
	return fmt.Sprintf("bridge %q was not made by kvmctl", e.Name)
}

// Hint is what to do next.
func (e *ForeignError) Hint() string {
	return fmt.Sprintf("remove it the way it was made, for example: ifdown %s", e.Name)
}

// PortsError is a bridge that cannot go because something hangs on it.
type PortsError struct {
	Name  string
	Ports []Link // at least one
}

func (e *PortsError) Error() string {
	names := make([]string, len(e.Ports))
	for i, p := range e.Ports {
		names[i] = p.Name
		if vm, nic, ok := p.Guest(); ok {
			names[i] = fmt.Sprintf("%s (guest %s, nic %d)", p.Name, vm, nic)
		}
	}
	noun := "port"
	if len(names) > 1 {
		noun = "ports"
	}
	return fmt.Sprintf("bridge %q still has %s %s", e.Name, noun, strings.Join(names, ", "))
}

// Hint is what to type next: stop the guests, or take out the port.
func (e *PortsError) Hint() string {
	var guests []string
	seen := map[string]bool{}
	for _, p := range e.Ports {
		if vm, _, ok := p.Guest(); ok && !seen[vm] {
			seen[vm] = true
			guests = append(guests, vm)
		}
	}
	if len(guests) > 0 {
		return "kvmctl stop " + strings.Join(guests, " ")
	}
	return fmt.Sprintf("ip link set %s nomaster", e.Ports[0].Name)
}

// InUseError is a TAP's name that an interface has already.
type InUseError struct {
	Name string
	Link Link // what has it
}

// Ours reports whether it is a TAP of kvmctl's.
func (e *InUseError) Ours() bool {
	_, _, ok := e.Link.Guest()
	return ok
}

func (e *InUseError) Error() string {
	if vm, nic, ok := e.Link.Guest(); ok {
		return fmt.Sprintf("interface %q is in use by guest %s, nic %d", e.Name, vm, nic)
	}
	return fmt.Sprintf("interface %q exists and is not kvmctl's: %s", e.Name, describe(e.Link))
}

// Hint is what to type next.
func (e *InUseError) Hint() string {
	if vm, _, ok := e.Link.Guest(); ok {
		return "kvmctl status " + vm
	}
	return "see what it is: ip -d link show " + e.Name
}

// describe says in words what an interface is.
func describe(l Link) string {
	switch l.Kind {
	case "device":
		return "a physical or built-in interface"
	case KindTUN:
		return "a TUN or TAP"
	case KindBridge:
		return "a bridge"
	default:
		return fmt.Sprintf("of kind %q", l.Kind)
	}
}

// UnsupportedError is something declared that the running kernel cannot do.
type UnsupportedError struct {
	What    string // in the infinitive, with the module or version that could
	Instead string // what to declare instead
	Err     error  // the kernel's answer; nil: it said nothing and did nothing
}

func (e *UnsupportedError) Error() string {
	if e.Err == nil {
		return "this kernel cannot " + e.What
	}
	return "this kernel cannot " + e.What + ": " + e.Err.Error()
}

// Unwrap gives errors.ErrUnsupported and the kernel's answer.
func (e *UnsupportedError) Unwrap() []error {
	if e.Err == nil {
		return []error{errors.ErrUnsupported}
	}
	return []error{errors.ErrUnsupported, e.Err}
}

// Hint is what works instead.
func (e *UnsupportedError) Hint() string { return e.Instead }

// DangerousError is a change that the host could lose its network by, where nobody watches over it.
type DangerousError struct{ Bridge string }

func (e *DangerousError) Error() string {
	return fmt.Sprintf("bridge %q is not yet as declared, and what is missing could cut this host off", e.Bridge)
}

// Hint is what to type next.
func (e *DangerousError) Hint() string { return "kvmctl net plan, then: kvmctl net apply" }

// NoVLANsError is a bridge that keeps no VLANs apart, where a NIC has one.
type NoVLANsError struct{ Bridge string }

func (e *NoVLANsError) Error() string {
	return fmt.Sprintf("bridge %q keeps no VLANs apart", e.Bridge)
}

// Hint is what to type next.
func (e *NoVLANsError) Hint() string {
	return "vlan_filtering = true below its [[bridge]] in kvm.toml, then: kvmctl net apply"
}
