package netbridge

import (
	"context"
	"errors"
	"fmt"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"kvmctl/internal/units"
)

// ntfSticky keeps an entry on its port whatever is seen elsewhere (linux/neighbour.h; since 4.20).
const ntfSticky = 1 << 6

// join makes a TAP, which is down, a port with the guest's limits and brings it up.
func (k *LinuxKernel) join(ctx context.Context, t TAP, index int, br Link) error {
	err := k.setLink(ctx, t.Name, 0, 0, nl.NewRtAttr(unix.IFLA_MASTER, nl.Uint32Attr(uint32(br.Index))))
	if err != nil {
		return fmt.Errorf("join bridge %q: %w", t.Bridge, err)
	}
	rules := t.rules()
	if err := k.setPort(ctx, index, rules); err != nil {
		return fmt.Errorf("set what its port may do: %w", err)
	}
	add, noDefault := t.vlans()
	if err := k.setVLANs(ctx, index, add, noDefault); err != nil {
		return fmt.Errorf("set VLANs: %w", err)
	}
	for _, m := range rules.Static { // after the VLANs: the kernel makes an entry for each that the port has
		if err := k.addStatic(ctx, index, m); err != nil {
			return fmt.Errorf("add the static entry of %s: %w", m, err)
		}
	}
	if err := k.shape(ctx, index, rules.Sources, t.Rate); err != nil {
		return err
	}
	if err := k.setLink(ctx, t.Name, unix.IFF_UP, unix.IFF_UP); err != nil {
		return fmt.Errorf("bring up: %w", err)
	}
	if !rules.Locked {
		return nil
	}
	// A kernel before 5.16 takes the flag without a word and without an effect.
	l, err := k.link(ctx, int32(index))
	if err == nil && !l.Locked {
		err = &UnsupportedError{What: "lock a guest's port to its own addresses (bridge port flag \"locked\", Linux 5.16)", Instead: "spoof = true for that [[nic]]"}
	}
	return err
}

// bridgePort starts a message about a port, in the bridge's own family.
func bridgePort(index int) *nl.IfInfomsg {
	msg := nl.NewIfInfomsg(unix.AF_BRIDGE)
	msg.Index = int32(index)
	return msg
}

// setPort sets a port's flags.
func (k *LinuxKernel) setPort(ctx context.Context, index int, r portRules) error {
	info := nl.NewRtAttr(unix.IFLA_PROTINFO|unix.NLA_F_NESTED, nil)
	for flag, on := range map[int]bool{nl.IFLA_BRPORT_LOCKED: r.Locked, nl.IFLA_BRPORT_LEARNING: r.Learning, nl.IFLA_BRPORT_GUARD: r.Guard} {
		value := byte(0)
		if on {
			value = 1
		}
		info.AddRtAttr(flag, []byte{value})
	}
	return do(ctx, k.request(unix.RTM_SETLINK, unix.NLM_F_ACK, bridgePort(index), info))
}

// setVLANs gives a port VLANs, and takes the bridge's own from it.
func (k *LinuxKernel) setVLANs(ctx context.Context, index int, add []vlanEntry, noDefault bool) error {
	if noDefault {
		own := []vlanEntry{{units.VLANRange{First: defaultVLAN, Last: defaultVLAN}, false}}
		if err := do(ctx, k.request(unix.RTM_DELLINK, unix.NLM_F_ACK, bridgePort(index), vlanSpec(own))); err != nil {
			return err
		}
	}
	if len(add) == 0 {
		return nil
	}
	return do(ctx, k.request(unix.RTM_SETLINK, unix.NLM_F_ACK, bridgePort(index), vlanSpec(add)))
}

func vlanSpec(entries []vlanEntry) *nl.RtAttr {
	spec := nl.NewRtAttr(unix.IFLA_AF_SPEC, nil)
	for _, e := range entries {
		var flags uint16
		if e.Untagged {
			flags = nl.BRIDGE_VLAN_INFO_PVID | nl.BRIDGE_VLAN_INFO_UNTAGGED
		}
		begin, end := uint16(0), uint16(0)
		if e.First != e.Last {
			begin, end = nl.BRIDGE_VLAN_INFO_RANGE_BEGIN, nl.BRIDGE_VLAN_INFO_RANGE_END
			spec.AddRtAttr(nl.IFLA_BRIDGE_VLAN_INFO, (&nl.BridgeVlanInfo{Flags: flags | begin, Vid: uint16(e.First)}).Serialize())
		}
		spec.AddRtAttr(nl.IFLA_BRIDGE_VLAN_INFO, (&nl.BridgeVlanInfo{Flags: flags | end, Vid: uint16(e.Last)}).Serialize())
	}
	return spec
}

// addStatic says that an address is behind a port, in each of the port's VLANs, and stays there: a frame of that address that comes
// from elsewhere, by malice or by a loop, would else move the entry, and the locked port would drop all that its guest sends.
func (k *LinuxKernel) addStatic(ctx context.Context, index int, mac units.MAC) error {
	msg := &netlink.Ndmsg{Family: unix.AF_BRIDGE, Index: uint32(index), State: netlink.NUD_NOARP, Flags: netlink.NTF_MASTER | ntfSticky}
	return do(ctx, k.request(unix.RTM_NEWNEIGH, unix.NLM_F_CREATE|unix.NLM_F_REPLACE|unix.NLM_F_ACK, msg,
		nl.NewRtAttr(netlink.NDA_LLADDR, mac[:])))
}

// unsupported recognises the errnos with which the kernel says that it was built without something.
func unsupported(err error) bool {
	return errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.ENOENT) || errors.Is(err, unix.EAFNOSUPPORT)
}
