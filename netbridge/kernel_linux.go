package netbridge

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"runtime"
	"time"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"kvmctl/internal/units"
)

// replyTime bounds the wait for one answer. The kernel has answered before send returns; the bound is for the day it does not.
const replyTime = 5 * time.Second

// newbornMTU is what a bridge has between its creation and its "set mtu". It is no MTU that can be declared, because a set
// to the value that an interface already has is ignored, and only a bridge whose MTU was changed keeps it: any other
// takes the least of its ports', and 1500 when the last one leaves.
const newbornMTU = 65535

var _ Kernel = (*LinuxKernel)(nil)

// LinuxKernel speaks rtnetlink to one network namespace, whichever thread calls.
type LinuxKernel struct {
	sockets map[int]*nl.SocketHandle
	netns   nsID
}

// nsID tells network namespaces apart.
type nsID struct{ dev, ino uint64 }

// NewKernel opens a netlink socket in the calling thread's network namespace. Close releases it.
func NewKernel() (*LinuxKernel, error) {
	runtime.LockOSThread() // the socket and the identity below are to be of one namespace
	defer runtime.UnlockOSThread()
	ns, err := threadNetns()
	if err != nil {
		return nil, err
	}
	s, err := nl.Subscribe(unix.NETLINK_ROUTE) // to no group: a plain socket
	if err != nil {
		return nil, fmt.Errorf("open netlink socket: %w", err)
	}
	wait := unix.NsecToTimeval(replyTime.Nanoseconds())
	if err := errors.Join(s.SetSendTimeout(&wait), s.SetReceiveTimeout(&wait)); err != nil {
		s.Close()
		return nil, fmt.Errorf("set timeouts of netlink socket: %w", err)
	}
	// Lets the kernel filter dumps by interface. Older than 4.20: it sends all and the filter here does the work.
	_ = unix.SetsockoptInt(s.GetFd(), unix.SOL_NETLINK, unix.NETLINK_GET_STRICT_CHK, 1)
	return &LinuxKernel{sockets: map[int]*nl.SocketHandle{unix.NETLINK_ROUTE: {Socket: s}}, netns: ns}, nil
}

// Close releases the socket.
func (k *LinuxKernel) Close() error {
	for _, s := range k.sockets {
		s.Close()
	}
	return nil
}

func threadNetns() (nsID, error) {
	var st unix.Stat_t
	if err := unix.Stat("/proc/thread-self/ns/net", &st); err != nil {
		return nsID{}, fmt.Errorf("identify network namespace: %w", err)
	}
	return nsID{st.Dev, st.Ino}, nil
}

// request starts a message to the kernel.
func (k *LinuxKernel) request(typ, flags int, data ...nl.NetlinkRequestData) *nl.NetlinkRequest {
	return &nl.NetlinkRequest{
		NlMsghdr: unix.NlMsghdr{
			Len:   unix.SizeofNlMsghdr,
			Type:  uint16(typ),
			Flags: unix.NLM_F_REQUEST | uint16(flags),
		},
		Data:    data,
		Sockets: k.sockets,
	}
}

// do sends a message that changes something and waits for the answer.
func do(ctx context.Context, req *nl.NetlinkRequest) error {
	if err := context.Cause(ctx); err != nil {
		return err
	}
	_, err := req.Execute(unix.NETLINK_ROUTE, 0)
	return err
}

// setLink changes the named interface by one message: flags (IFF_…) and attributes.
func (k *LinuxKernel) setLink(ctx context.Context, name string, set, mask uint32, attrs ...*nl.RtAttr) error {
	msg := nl.NewIfInfomsg(unix.AF_UNSPEC)
	msg.Flags, msg.Change = set, mask
	req := k.request(unix.RTM_SETLINK, unix.NLM_F_ACK, msg, nameAttr(name))
	for _, a := range attrs {
		req.AddData(a)
	}
	return do(ctx, req)
}

func nameAttr(name string) *nl.RtAttr {
	return nl.NewRtAttr(unix.IFLA_IFNAME, nl.ZeroTerminated(name))
}

// CreateBridge implements Kernel.
func (k *LinuxKernel) CreateBridge(ctx context.Context, name string, mac units.MAC) error {
	info := nl.NewRtAttr(unix.IFLA_LINKINFO, nil)
	info.AddRtAttr(nl.IFLA_INFO_KIND, nl.NonZeroTerminated(KindBridge))
	data := info.AddRtAttr(nl.IFLA_INFO_DATA, nil)
	data.AddRtAttr(nl.IFLA_BR_STP_STATE, nl.Uint32Attr(0))
	data.AddRtAttr(nl.IFLA_BR_FORWARD_DELAY, nl.Uint32Attr(0))
	err := do(ctx, k.request(unix.RTM_NEWLINK, unix.NLM_F_CREATE|unix.NLM_F_EXCL|unix.NLM_F_ACK,
		nl.NewIfInfomsg(unix.AF_UNSPEC), nameAttr(name),
		nl.NewRtAttr(unix.IFLA_MTU, nl.Uint32Attr(newbornMTU)),
		nl.NewRtAttr(unix.IFLA_ADDRESS, mac[:]), info))
	return wrap(err, "create bridge %q", name)
}

// DeleteBridge implements Kernel.
func (k *LinuxKernel) DeleteBridge(ctx context.Context, name string) error {
	l, err := k.linkByName(ctx, name)
	if err == nil && l.Kind != KindBridge {
		err = unix.EOPNOTSUPP
	}
	if err == nil {
		// The kernel would let the ports go without a word.
		var ports []Link
		ports, err = k.portsByMaster(ctx, l.Index)
		if err == nil && len(ports) > 0 {
			err = unix.EBUSY
		}
	}
	if err == nil {
		msg := nl.NewIfInfomsg(unix.AF_UNSPEC)
		msg.Index = int32(l.Index)
		err = do(ctx, k.request(unix.RTM_DELLINK, unix.NLM_F_ACK, msg))
	}
	return wrap(err, "delete bridge %q", name)
}

// SetAlias implements Kernel.
func (k *LinuxKernel) SetAlias(ctx context.Context, name, alias string) error {
	err := k.setLink(ctx, name, 0, 0, nl.NewRtAttr(unix.IFLA_IFALIAS, []byte(alias)))
	return wrap(err, "set alias of %q", name)
}

// SetMAC implements Kernel.
func (k *LinuxKernel) SetMAC(ctx context.Context, name string, mac units.MAC) error {
	err := k.setLink(ctx, name, 0, 0, nl.NewRtAttr(unix.IFLA_ADDRESS, mac[:]))
	return wrap(err, "set mac of %q", name)
}

// SetMTU implements Kernel.
func (k *LinuxKernel) SetMTU(ctx context.Context, name string, mtu int) error {
	err := k.setLink(ctx, name, 0, 0, nl.NewRtAttr(unix.IFLA_MTU, nl.Uint32Attr(uint32(mtu))))
	return wrap(err, "set mtu of %q", name)
}

// SetUp implements Kernel.
func (k *LinuxKernel) SetUp(ctx context.Context, name string, up bool) error {
	var set uint32
	if up {
		set = unix.IFF_UP
	}
	return wrap(k.setLink(ctx, name, set, unix.IFF_UP), "set %q up or down", name)
}

// SetSTP implements Kernel.
func (k *LinuxKernel) SetSTP(ctx context.Context, name string, on bool) error {
	err := k.setBridge(ctx, name, nl.NewRtAttr(nl.IFLA_BR_STP_STATE, nl.Uint32Attr(number[uint32](on))))
	return wrap(err, "switch the spanning tree protocol of %q", name)
}

// SetVLANFiltering implements Kernel.
func (k *LinuxKernel) SetVLANFiltering(ctx context.Context, name string, on bool) error {
	err := k.setBridge(ctx, name, nl.NewRtAttr(nl.IFLA_BR_VLAN_FILTERING, []byte{number[byte](on)}))
	return wrap(err, "switch VLAN filtering of %q", name)
}

func number[T byte | uint32](on bool) T {
	if on {
		return 1
	}
	return 0
}

// setBridge changes one attribute of a bridge.
func (k *LinuxKernel) setBridge(ctx context.Context, name string, attr *nl.RtAttr) error {
	l, err := k.linkByName(ctx, name)
	if err != nil {
		return err
	}
	msg := nl.NewIfInfomsg(unix.AF_UNSPEC)
	msg.Index = int32(l.Index)
	info := nl.NewRtAttr(unix.IFLA_LINKINFO, nil)
	info.AddRtAttr(nl.IFLA_INFO_KIND, nl.NonZeroTerminated(KindBridge))
	info.AddRtAttr(nl.IFLA_INFO_DATA, nil).AddChild(attr)
	return do(ctx, k.request(unix.RTM_NEWLINK, unix.NLM_F_ACK, msg, info))
}

// SetMaster implements Kernel.
func (k *LinuxKernel) SetMaster(ctx context.Context, name, bridge string) error {
	index := 0
	if bridge != "" {
		br, err := k.linkByName(ctx, bridge)
		if err != nil {
			return wrap(err, "make %q a port of %q", name, bridge)
		}
		index = br.Index
	}
	err := k.setLink(ctx, name, 0, 0, nl.NewRtAttr(unix.IFLA_MASTER, nl.Uint32Attr(uint32(index))))
	return wrap(err, "make %q a port of %q", name, bridge)
}

// Trunk implements Kernel.
func (k *LinuxKernel) Trunk(ctx context.Context, port string, vlans units.VLANRange) error {
	l, err := k.linkByName(ctx, port)
	if err == nil {
		err = k.setVLANs(ctx, l.Index, []vlanEntry{{vlans, false}}, false)
	}
	return wrap(err, "let %q carry VLANs %s", port, vlans)
}

// AddAddress implements Kernel.
func (k *LinuxKernel) AddAddress(ctx context.Context, name string, addr netip.Prefix) error {
	err := k.address(ctx, name, addr, unix.RTM_NEWADDR, unix.NLM_F_CREATE|unix.NLM_F_EXCL)
	return wrap(err, "add address %s to %q", addr, name)
}

// RemoveAddress implements Kernel.
func (k *LinuxKernel) RemoveAddress(ctx context.Context, name string, addr netip.Prefix) error {
	return wrap(k.address(ctx, name, addr, unix.RTM_DELADDR, 0), "remove address %s from %q", addr, name)
}

func (k *LinuxKernel) address(ctx context.Context, name string, addr netip.Prefix, typ, flags int) error {
	l, err := k.linkByName(ctx, name)
	if err != nil {
		return err
	}
	family := unix.AF_INET
	if addr.Addr().Is6() {
		family = unix.AF_INET6
	}
	msg := nl.NewIfAddrmsg(family)
	msg.Index, msg.Prefixlen = uint32(l.Index), uint8(addr.Bits())
	ip := addr.Addr().AsSlice()
	req := k.request(typ, flags|unix.NLM_F_ACK, msg, nl.NewRtAttr(unix.IFA_LOCAL, ip), nl.NewRtAttr(unix.IFA_ADDRESS, ip))
	if b, ok := broadcast(addr); ok && typ == unix.RTM_NEWADDR {
		req.AddData(nl.NewRtAttr(unix.IFA_BROADCAST, b[:]))
	}
	return do(ctx, req)
}

// broadcast gives the highest address of an IPv4 network that has one (RFC 3021: a /31 has none).
func broadcast(p netip.Prefix) (b [4]byte, ok bool) {
	if !p.Addr().Is4() || p.Bits() >= 31 {
		return b, false
	}
	b = p.Addr().As4()
	for bit := p.Bits(); bit < 32; bit++ {
		b[bit/8] |= 0x80 >> (bit % 8)
	}
	return b, true
}

// wrap names act and object, or passes nil on.
func wrap(err error, format string, args ...any) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf(format+": %w", append(args, err)...)
}
