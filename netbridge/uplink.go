package netbridge

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"kvmctl/internal/units"
)

// UplinkError is an uplink that cannot be a port of its bridge.
type UplinkError struct {
	Bridge, Uplink string
	Why            string
	Next           string // what to type or declare; may be empty
}

func (e *UplinkError) Error() string {
	return fmt.Sprintf("uplink %q of bridge %q: %s", e.Uplink, e.Bridge, e.Why)
}

// Hint is what to do next.
func (e *UplinkError) Hint() string {
	if e.Next != "" {
		return e.Next
	}
	return "see what it is: ip -d link show " + e.Uplink
}

// trunk are the VLANs that an uplink carries with a tag: all but the bridge's own.
var trunk = units.VLANRange{First: defaultVLAN + 1, Last: units.MaxVLAN}

// planUplink gives the steps that make up a port of the bridge l, which is as b declares it, and give the bridge what up has.
//
// The bridge gets everything before the uplink loses it: there is no moment without a route, and the kernel takes the routes of an
// address that is still the host's from nobody.
func planUplink(b Bridge, l, up Link) ([]Step, error) {
	switch _, _, guest := up.Guest(); {
	case up.Master == l.Name:
		return nil, nil
	case up.Master != "":
		return nil, &UplinkError{b.Name, b.Uplink, fmt.Sprintf("it is a port of %q", up.Master), fmt.Sprintf("ip link set %s nomaster", b.Uplink)}
	case up.Kind == KindBridge, up.Name == "lo", guest:
		return nil, &UplinkError{Bridge: b.Name, Uplink: b.Uplink, Why: "it is " + describe(up)}
	}
	risky := owns(up.Holdings)
	if risky && !b.Keep {
		return nil, &UplinkError{b.Name, b.Uplink, "it has " + some(up.Holdings), `address = "keep" below that [[bridge]] carries them over`}
	}
	for _, h := range up.Holdings {
		if h.Fixed != "" {
			return nil, &UplinkError{Bridge: b.Name, Uplink: b.Uplink, Why: fmt.Sprintf("its %s %s cannot be carried over: %s", h.Kind, h.Text, h.Fixed)}
		}
	}
	var steps []Step
	if up.MTU < b.MTU { // what the bridge takes, its way out has to take too
		steps = append(steps, SetMTU{Name: up.Name, MTU: b.MTU, Was: up.MTU, Risky: risky})
	}
	steps = append(steps, TakePort{Name: up.Name, Bridge: b.Name, Risky: risky})
	if b.VLANFiltering {
		steps = append(steps, TrunkPort{up.Name, trunk})
	}
	if !up.Up {
		steps = append(steps, SetUp{Name: up.Name})
	}
	if !b.Keep {
		return steps, nil
	}
	for _, h := range inOrder(up.Holdings) {
		steps = append(steps, GiveHolding{b.Name, h})
	}
	for _, h := range slices.Backward(inOrder(up.Holdings)) {
		if !h.Copy {
			steps = append(steps, TakeHolding{up.Name, h})
		}
	}
	return steps, nil
}

// some says in words what an interface has.
func some(hs []Holding) string {
	var words []string
	for _, h := range hs {
		if !h.Copy && len(words) < 3 {
			words = append(words, string(h.Kind)+" "+h.Text)
		}
	}
	return strings.Join(words, ", ")
}

// Leases gives the addresses that a plan moves and that end by themselves: whoever gets them (DHCP, router advertisements) has to be
// told of the new interface.
func Leases(steps []Step) []string {
	var out []string
	for _, s := range steps {
		if g, ok := s.(GiveHolding); ok && g.Kind == KindAddress && g.Valid != Forever {
			out = append(out, g.Text)
		}
	}
	return out
}

// look gives the interfaces that a plan for want needs to see, all of them if everything is wanted, with what uplinks that are to be
// moved have.
func look(ctx context.Context, k Kernel, want []Bridge, everything bool) ([]Link, error) {
	var names []string
	if !everything {
		for _, b := range want {
			names = append(names, b.Name)
			if b.Uplink != "" {
				names = append(names, b.Uplink)
			}
		}
	}
	have, err := k.Links(ctx, names...)
	if err != nil {
		return nil, err
	}
	for _, b := range want {
		i := slices.IndexFunc(have, func(l Link) bool { return l.Name == b.Uplink })
		if b.Uplink == "" || i < 0 || have[i].Master == b.Name {
			continue
		}
		if have[i].Holdings, err = k.Holdings(ctx, b.Uplink); err != nil {
			return nil, err
		}
	}
	return have, nil
}

// Look gives every interface with what Plan needs to know of it.
func Look(ctx context.Context, k Kernel, want []Bridge) ([]Link, error) {
	return look(ctx, k, want, true)
}

// LookDown gives every interface with what PlanDown needs to know of it.
func LookDown(ctx context.Context, k Kernel, names []string) ([]Link, error) {
	have, err := k.Links(ctx)
	if err != nil {
		return nil, err
	}
	for i, l := range have {
		if l.Kind == KindBridge && slices.Contains(names, l.Name) {
			if have[i].Holdings, err = k.Holdings(ctx, l.Name); err != nil {
				return nil, err
			}
		}
	}
	return have, nil
}
