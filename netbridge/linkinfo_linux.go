package netbridge

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"syscall"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// readInfo reads what the library does not of a message about an interface: a bridge's and a port's own attributes.
func (l *rawLink) readInfo(m []byte) error {
	attrs, err := nl.ParseRouteAttr(m[unix.SizeofIfInfomsg:])
	if err != nil {
		return fmt.Errorf("read message about an interface: %w", err)
	}
	info, ok := find1(attrs, unix.IFLA_LINKINFO)
	if !ok {
		return nil
	}
	parts, err := nl.ParseRouteAttr(info)
	if err != nil {
		return fmt.Errorf("read the kind of an interface: %w", err)
	}
	if own, ok := find1(parts, nl.IFLA_INFO_DATA); ok && l.Kind == KindBridge {
		data, err := nl.ParseRouteAttr(own)
		if err != nil {
			return fmt.Errorf("read a bridge's attributes: %w", err)
		}
		stp, _ := find1(data, nl.IFLA_BR_STP_STATE)
		vlan, _ := find1(data, nl.IFLA_BR_VLAN_FILTERING)
		l.STP = len(stp) == 4 && binary.NativeEndian.Uint32(stp) != 0
		l.VLANFiltering = len(vlan) == 1 && vlan[0] != 0
	}
	kind, _ := find1(parts, nl.IFLA_INFO_SLAVE_KIND)
	if port, ok := find1(parts, nl.IFLA_INFO_SLAVE_DATA); ok && string(bytes.TrimRight(kind, "\x00")) == KindBridge {
		data, err := nl.ParseRouteAttr(port)
		if err != nil {
			return fmt.Errorf("read a port's attributes: %w", err)
		}
		locked, _ := find1(data, nl.IFLA_BRPORT_LOCKED)
		l.Locked = len(locked) == 1 && locked[0] != 0
	}
	return nil
}

// find1 gives the value of the first attribute of a type; the kernel marks nested ones with NLA_F_NESTED.
func find1(attrs []syscall.NetlinkRouteAttr, typ int) ([]byte, bool) {
	for _, a := range attrs {
		if int(a.Attr.Type&nl.NLA_TYPE_MASK) == typ {
			return a.Value, true
		}
	}
	return nil, false
}
