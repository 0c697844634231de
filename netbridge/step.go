package netbridge

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"syscall"

	"kvmctl/internal/units"
)

// Step is one change, to be printed or applied. The types of this file are all there are.
type Step interface {
	// String says the act and the object: "create bridge br0".
	String() string
	// apply does it and gives what undoes it, nil when there was nothing to do.
	apply(ctx context.Context, k Kernel) (undo, error)
	// links are the interfaces that it changes; a bridge's own step names it first.
	links() []string
	// risky reports whether the host itself may lose its network by it.
	risky() bool
}

// Dangerous reports whether the host itself may lose its network by a step: it changes what carries the host's own addresses.
func Dangerous(s Step) bool { return s.risky() }

type undo func(context.Context) error

// CreateBridge makes a bridge, down and without a mark.
type CreateBridge struct {
	Name string
	MAC  units.MAC
}

// SetAlias marks a bridge as ours.
type SetAlias struct{ Name, Alias, Was string }

// SetMAC gives a bridge its MAC address.
type SetMAC struct {
	Name     string
	MAC, Was units.MAC
	Risky    bool
}

// SetMTU sets an MTU in bytes.
type SetMTU struct {
	Name     string
	MTU, Was int
	Risky    bool
}

// RemoveAddress takes an address away.
type RemoveAddress struct {
	Name    string
	Address netip.Prefix
	Risky   bool
}

// AddAddress gives an address.
type AddAddress struct {
	Name    string
	Address netip.Prefix
}

// SetUp brings a bridge up.
type SetUp struct{ Name string }

// DeleteBridge removes a bridge of ours; Was is what it takes to make it again.
type DeleteBridge struct {
	Name  string
	Was   Link
	Risky bool
}

func (s CreateBridge) String() string { return "create bridge " + s.Name }
func (s SetAlias) String() string     { return fmt.Sprintf("set alias %q on %s", s.Alias, s.Name) }
func (s SetMAC) String() string       { return fmt.Sprintf("set mac %s on %s", s.MAC, s.Name) }
func (s SetMTU) String() string       { return fmt.Sprintf("set mtu %d on %s", s.MTU, s.Name) }
func (s RemoveAddress) String() string {
	return fmt.Sprintf("remove address %s from %s", s.Address, s.Name)
}
func (s AddAddress) String() string   { return fmt.Sprintf("add address %s to %s", s.Address, s.Name) }
func (s SetUp) String() string        { return fmt.Sprintf("bring %s up", s.Name) }
func (s DeleteBridge) String() string { return "delete bridge " + s.Name }

func (s CreateBridge) links() []string  { return []string{s.Name} }
func (s SetAlias) links() []string      { return []string{s.Name} }
func (s SetMAC) links() []string        { return []string{s.Name} }
func (s SetMTU) links() []string        { return []string{s.Name} }
func (s RemoveAddress) links() []string { return []string{s.Name} }
func (s AddAddress) links() []string    { return []string{s.Name} }
func (s SetUp) links() []string         { return []string{s.Name} }
func (s DeleteBridge) links() []string  { return []string{s.Name} }

func (s CreateBridge) risky() bool  { return false }
func (s SetAlias) risky() bool      { return false }
func (s SetMAC) risky() bool        { return s.Risky }
func (s SetMTU) risky() bool        { return s.Risky }
func (s RemoveAddress) risky() bool { return s.Risky }
func (s AddAddress) risky() bool    { return false }
func (s SetUp) risky() bool         { return false }
func (s DeleteBridge) risky() bool  { return s.Risky }

func (s CreateBridge) apply(ctx context.Context, k Kernel) (undo, error) {
	err := k.CreateBridge(ctx, s.Name, s.MAC)
	return func(ctx context.Context) error { return k.DeleteBridge(ctx, s.Name) }, err
}

func (s SetAlias) apply(ctx context.Context, k Kernel) (undo, error) {
	err := k.SetAlias(ctx, s.Name, s.Alias)
	return func(ctx context.Context) error { return k.SetAlias(ctx, s.Name, s.Was) }, err
}

func (s SetMAC) apply(ctx context.Context, k Kernel) (undo, error) {
	err := k.SetMAC(ctx, s.Name, s.MAC)
	return func(ctx context.Context) error { return k.SetMAC(ctx, s.Name, s.Was) }, err
}

func (s SetMTU) apply(ctx context.Context, k Kernel) (undo, error) {
	err := k.SetMTU(ctx, s.Name, s.MTU)
	return func(ctx context.Context) error { return k.SetMTU(ctx, s.Name, s.Was) }, err
}

func (s RemoveAddress) apply(ctx context.Context, k Kernel) (undo, error) {
	err := k.RemoveAddress(ctx, s.Name, s.Address)
	if errors.Is(err, syscall.EADDRNOTAVAIL) { // gone since the plan was made
		return nil, nil
	}
	return func(ctx context.Context) error { return k.AddAddress(ctx, s.Name, s.Address) }, err
}

func (s AddAddress) apply(ctx context.Context, k Kernel) (undo, error) {
	err := k.AddAddress(ctx, s.Name, s.Address)
	if errors.Is(err, fs.ErrExist) { // another kvmctl was faster: not ours to undo
		return nil, nil
	}
	return func(ctx context.Context) error { return k.RemoveAddress(ctx, s.Name, s.Address) }, err
}

func (s SetUp) apply(ctx context.Context, k Kernel) (undo, error) {
	err := k.SetUp(ctx, s.Name, true)
	return func(ctx context.Context) error { return k.SetUp(ctx, s.Name, false) }, err
}

func (s DeleteBridge) apply(ctx context.Context, k Kernel) (undo, error) {
	err := k.DeleteBridge(ctx, s.Name)
	if errors.Is(err, syscall.ENODEV) { // gone since the plan was made
		return nil, nil
	}
	return func(ctx context.Context) error {
		for _, again := range s.remake() {
			if _, err := again.apply(ctx, k); err != nil {
				return fmt.Errorf("%s: %w", again, err)
			}
		}
		return nil
	}, err
}

// remake is the way back from a deletion. Link-local addresses come by themselves when the bridge goes up.
func (s DeleteBridge) remake() []Step {
	steps := []Step{
		CreateBridge{Name: s.Name, MAC: s.Was.MAC},
		SetAlias{Name: s.Name, Alias: s.Was.Alias},
		SetMTU{Name: s.Name, MTU: s.Was.MTU},
	}
	if s.Was.STP {
		steps = append(steps, SetSTP{Name: s.Name, On: true})
	}
	if s.Was.VLANFiltering {
		steps = append(steps, SetVLANFiltering{Name: s.Name, On: true})
	}
	for _, a := range s.Was.Addresses {
		if !a.Addr().IsLinkLocalUnicast() {
			steps = append(steps, AddAddress{Name: s.Name, Address: a})
		}
	}
	if s.Was.Up {
		steps = append(steps, SetUp{Name: s.Name})
	}
	return steps
}
