package netbridge

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"syscall"

	"kvmctl/internal/units"
)

// SetSTP switches a bridge's spanning tree protocol.
type SetSTP struct {
	Name  string
	On    bool
	Risky bool
}

// SetVLANFiltering switches whether a bridge keeps VLANs apart.
type SetVLANFiltering struct {
	Name  string
	On    bool
	Risky bool
}

// TakePort makes an interface of the host's a port of a bridge.
type TakePort struct {
	Name, Bridge string
	Risky        bool // it has addresses or routes
}

// ReleasePort takes a port out of a bridge.
type ReleasePort struct {
	Name, Bridge string
	Risky        bool
}

// TrunkPort lets an uplink carry VLANs with a tag.
type TrunkPort struct {
	Name  string
	VLANs units.VLANRange
}

// GiveHolding gives an interface what another one had.
type GiveHolding struct {
	Name string
	Holding
}

// TakeHolding takes from an interface what another one has got.
type TakeHolding struct {
	Name string
	Holding
}

func onOff(on bool) string {
	if on {
		return "on"
	}
	return "off"
}

func (s SetSTP) String() string { return fmt.Sprintf("switch stp %s on %s", onOff(s.On), s.Name) }
func (s SetVLANFiltering) String() string {
	return fmt.Sprintf("switch vlan filtering %s on %s", onOff(s.On), s.Name)
}
func (s TakePort) String() string { return fmt.Sprintf("make %s a port of %s", s.Name, s.Bridge) }
func (s ReleasePort) String() string {
	return fmt.Sprintf("take port %s out of %s", s.Name, s.Bridge)
}
func (s TrunkPort) String() string {
	return fmt.Sprintf("let %s carry vlans %s with a tag", s.Name, s.VLANs)
}
func (s GiveHolding) String() string { return fmt.Sprintf("give %s %s to %s", s.Kind, s.Text, s.Name) }
func (s TakeHolding) String() string {
	return fmt.Sprintf("take %s %s from %s", s.Kind, s.Text, s.Name)
}

func (s SetSTP) links() []string           { return []string{s.Name} }
func (s SetVLANFiltering) links() []string { return []string{s.Name} }
func (s TakePort) links() []string         { return []string{s.Name, s.Bridge} }
func (s ReleasePort) links() []string      { return []string{s.Name, s.Bridge} }
func (s TrunkPort) links() []string        { return []string{s.Name} }
func (s GiveHolding) links() []string      { return []string{s.Name} }
func (s TakeHolding) links() []string      { return []string{s.Name} }

func (s SetSTP) risky() bool           { return s.Risky }
func (s SetVLANFiltering) risky() bool { return s.Risky }
func (s TakePort) risky() bool         { return s.Risky }
func (s ReleasePort) risky() bool      { return s.Risky }
func (s TrunkPort) risky() bool        { return false }
func (s GiveHolding) risky() bool      { return true }
func (s TakeHolding) risky() bool      { return true }

func (s SetSTP) apply(ctx context.Context, k Kernel) (undo, error) {
	err := k.SetSTP(ctx, s.Name, s.On)
	return func(ctx context.Context) error { return k.SetSTP(ctx, s.Name, !s.On) }, err
}

func (s SetVLANFiltering) apply(ctx context.Context, k Kernel) (undo, error) {
	err := k.SetVLANFiltering(ctx, s.Name, s.On)
	if s.On && errors.Is(err, syscall.EOPNOTSUPP) {
		err = &UnsupportedError{What: "keep the VLANs of a bridge apart (CONFIG_BRIDGE_VLAN_FILTERING)", Instead: "vlan_filtering = false for that [[bridge]]", Err: err}
	}
	return func(ctx context.Context) error { return k.SetVLANFiltering(ctx, s.Name, !s.On) }, err
}

func (s TakePort) apply(ctx context.Context, k Kernel) (undo, error) {
	err := k.SetMaster(ctx, s.Name, s.Bridge)
	return func(ctx context.Context) error { return k.SetMaster(ctx, s.Name, "") }, err
}

func (s ReleasePort) apply(ctx context.Context, k Kernel) (undo, error) {
	err := k.SetMaster(ctx, s.Name, "")
	return func(ctx context.Context) error { return k.SetMaster(ctx, s.Name, s.Bridge) }, err
}

func (s TrunkPort) apply(ctx context.Context, k Kernel) (undo, error) {
	return nil, k.Trunk(ctx, s.Name, s.VLANs) // they go with the port
}

func (s GiveHolding) apply(ctx context.Context, k Kernel) (undo, error) {
	err := k.Give(ctx, s.Name, s.Holding, true)
	if errors.Is(err, fs.ErrExist) { // it came by itself, with an address
		return nil, nil
	}
	return func(ctx context.Context) error { return k.Take(ctx, s.Name, s.Holding) }, err
}

func (s TakeHolding) apply(ctx context.Context, k Kernel) (undo, error) {
	err := k.Take(ctx, s.Name, s.Holding)
	if errors.Is(err, fs.ErrNotExist) { // it went by itself, with an address
		return nil, nil
	}
	return func(ctx context.Context) error { return k.Give(ctx, s.Name, s.Holding, false) }, err
}
