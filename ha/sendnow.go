package ha

import (
	"net"
	"net/netip"
	"strconv"

	"golang.org/x/sys/unix"
)

// sendAtOnce sends a datagram without ever waiting for room (send(2), MSG_DONTWAIT): heartbeats are sent by the loop.
func sendAtOnce(c *net.UDPConn, b []byte, to netip.AddrPort) error {
	raw, err := c.SyscallConn()
	if err != nil {
		return err
	}
	var sa unix.Sockaddr = &unix.SockaddrInet6{Port: int(to.Port()), Addr: to.Addr().As16(), ZoneId: zoneOf(to.Addr())}
	if at := c.LocalAddr().(*net.UDPAddr).AddrPort().Addr(); at.Is4() {
		sa = &unix.SockaddrInet4{Port: int(to.Port()), Addr: to.Addr().As4()}
	}
	var sent error
	if err := raw.Control(func(fd uintptr) { sent = unix.Sendto(int(fd), b, unix.MSG_DONTWAIT, sa) }); err != nil {
		return err
	}
	return sent
}

// zoneOf gives the interface of a link-local address; 0: none.
func zoneOf(a netip.Addr) uint32 {
	if a.Zone() == "" {
		return 0
	}
	if n, err := strconv.ParseUint(a.Zone(), 10, 32); err == nil {
		return uint32(n)
	}
	i, err := net.InterfaceByName(a.Zone())
	if err != nil {
		return 0
	}
	return uint32(i.Index)
}
