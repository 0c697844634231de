package link

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"

	"kvmctl/ha/carp"
)

// CARPSocket sends and receives the frames that adverts travel in, of every virtual host on one interface. It knows nothing of what is
// in them.
type CARPSocket struct {
	socket  *packetSocket
	members []int // sockets that are in the groups, so that switches which listen to IGMP and MLD send them here
}

// protoCARP is CARP's number, and VRRP's (IANA protocol numbers).
const protoCARP = 112

// adverts passes IPv4 and IPv6 with protocol 112, to whatever address.
var adverts = []bpf.Instruction{
	bpf.LoadAbsolute{Off: 12, Size: 2},
	bpf.JumpIf{Cond: bpf.JumpEqual, Val: etherIPv4, SkipTrue: 3},
	bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: etherIPv6, SkipTrue: 5},
	bpf.LoadAbsolute{Off: etherHeader + 6, Size: 1},
	bpf.Jump{Skip: 1},
	bpf.LoadAbsolute{Off: etherHeader + 9, Size: 1},
	bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: protoCARP, SkipTrue: 1},
	bpf.RetConstant{Val: maxFrame},
	bpf.RetConstant{Val: 0},
}

// OpenCARP opens an interface of the calling thread's network namespace and joins CARP's groups there. It needs CAP_NET_RAW. ENODEV: there
// is no such interface.
func OpenCARP(name string) (*CARPSocket, error) {
	s, err := openPacket(name, adverts)
	if err != nil {
		return nil, fmt.Errorf("open %s for adverts: %w", name, err)
	}
	return joinGroups(s)
}

// AdoptCARP is OpenCARP for a socket that another process of ours has opened, for the same interface (File). Frames that have come in
// between wait in it. The file belongs to the socket from now on, also when it fails.
func AdoptCARP(f *os.File, name string) (*CARPSocket, error) {
	s, err := newPacketSocket(f, name)
	if err != nil {
		return nil, fmt.Errorf("take over the adverts of %s: %w", name, err)
	}
	return joinGroups(s)
}

func joinGroups(s *packetSocket) (*CARPSocket, error) {
	c := &CARPSocket{socket: s}
	for _, group := range []netip.Addr{carp.Group4, carp.Group6} {
		if err := s.join(carp.GroupMAC(group)); err != nil {
			return nil, errors.Join(fmt.Errorf("open %s for adverts: %w", s.name, err), c.Close())
		}
		// Beyond that it is for the switches, and an interface without one of the families has no reports to send.
		if fd, err := member(group, s.index); err == nil {
			c.members = append(c.members, fd)
		}
	}
	return c, nil
}

// member gives a socket that is in a group (ip(7), ipv6(7)).
func member(group netip.Addr, index int) (int, error) {
	family := unix.AF_INET
	if group.Is6() {
		family = unix.AF_INET6
	}
	fd, err := unix.Socket(family, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return 0, os.NewSyscallError("open a socket", err)
	}
	if group.Is6() {
		err = unix.SetsockoptIPv6Mreq(fd, unix.IPPROTO_IPV6, unix.IPV6_JOIN_GROUP, &unix.IPv6Mreq{Multiaddr: group.As16(), Interface: uint32(index)})
	} else {
		err = unix.SetsockoptIPMreqn(fd, unix.IPPROTO_IP, unix.IP_ADD_MEMBERSHIP, &unix.IPMreqn{Multiaddr: group.As4(), Ifindex: int32(index)})
	}
	if err != nil {
		unix.Close(fd)
		return 0, fmt.Errorf("join %s: %w", group, err)
	}
	return fd, nil
}

// MAC is the interface's own address, as it was when the socket was opened.
func (c *CARPSocket) MAC() MAC { return c.socket.mac }

// Index is the interface's: one that went away and came back has another, and needs another socket.
func (c *CARPSocket) Index() int { return c.socket.index }

// Send gives a whole Ethernet frame, with whatever source address, to the interface. It never waits: ErrBusy says that there is no room;
// ErrDown, that the interface is down or gone.
func (c *CARPSocket) Send(frame []byte) error { return c.socket.send(frame) }

// Receive waits for a whole Ethernet frame with CARP or VRRP in it, as long as ctx lasts, and gives its length in buf; what does not fit is cut
// off, and an advert fits in 128 bytes. Frames of this socket's own are not among them. ErrDown: the interface went down; it may be called
// again, and goes on when the interface is up again, unless that went away.
func (c *CARPSocket) Receive(ctx context.Context, buf []byte) (int, error) {
	return c.socket.receive(ctx, buf)
}

// Lost gives how many frames had to be dropped since it was asked last, because nobody received them in time.
func (c *CARPSocket) Lost() (n uint32, err error) {
	err = c.socket.control(func(fd int) error {
		stats, err := unix.GetsockoptTpacketStats(fd, unix.SOL_PACKET, unix.PACKET_STATISTICS)
		if err != nil {
			return os.NewSyscallError("ask for lost frames", err)
		}
		n = stats.Drops
		return nil
	})
	return n, err
}

// File is a second descriptor of the socket, for AdoptCARP in another process. The caller closes it.
func (c *CARPSocket) File() (*os.File, error) {
	var dup int
	err := c.socket.control(func(fd int) (err error) {
		dup, err = unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 0)
		return os.NewSyscallError("duplicate a socket", err)
	})
	if err != nil {
		return nil, err
	}
	return os.NewFile(uintptr(dup), "adverts of "+c.socket.name), nil
}

// Close leaves the groups.
func (c *CARPSocket) Close() error {
	for _, fd := range c.members {
		unix.Close(fd)
	}
	c.members = nil
	return c.socket.close()
}
