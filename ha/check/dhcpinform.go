package check

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"syscall"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"
)

// inform asks by DHCPINFORM (RFC 2131, 4.4.3), whose answer comes to port 68 of the address that asks.
func (p *dhcpProbe) inform(ctx context.Context) error {
	client, err := p.client()
	if err != nil {
		return err
	}
	asked, err := p.question(dhcpv4.MessageTypeInform, client)
	if err != nil {
		return err
	}
	port, err := openDHCPPort(client)
	if err != nil {
		return fmt.Errorf("listen on %v:%d: %w", client, portDHCPClient, err)
	}
	heard := port.join()
	defer port.leave(heard)
	if p.spec.Interface != "" {
		err = sendDHCP(ctx, p.spec.Interface, netip.AddrPortFrom(client, portDHCPClient), p.at, asked.ToBytes())
	} else {
		_, err = port.conn.WriteToUDPAddrPort(asked.ToBytes(), p.at)
	}
	if err != nil {
		return fmt.Errorf("ask %v: %w", p.at, err)
	}
	next := func() ([]byte, error) {
		for {
			select {
			case <-ctx.Done():
				return nil, ctx.Err()
			case d := <-heard:
				return d, nil
			}
		}
	}
	return p.wait(asked, dhcpv4.MessageTypeAck, next, func(waited time.Duration) error {
		return fmt.Errorf("%v gives no DHCP answer within %v: does it run, and is it authoritative for the network of %v?", p.at, waited, client)
	})
}

// client is the address that asks: the one that reaches the server, or the first of Interface.
func (p *dhcpProbe) client() (netip.Addr, error) {
	if p.spec.Interface == "" {
		c, err := net.DialUDP("udp4", nil, net.UDPAddrFromAddrPort(p.at)) // sends nothing
		if err != nil {
			return netip.Addr{}, fmt.Errorf("there is no way to %v: %w", p.at.Addr(), err)
		}
		defer c.Close()
		return c.LocalAddr().(*net.UDPAddr).AddrPort().Addr().Unmap(), nil
	}
	i, err := net.InterfaceByName(p.spec.Interface)
	if err != nil {
		return netip.Addr{}, fmt.Errorf("there is no interface %s", p.spec.Interface)
	}
	all, err := i.Addrs()
	if err != nil {
		return netip.Addr{}, fmt.Errorf("list the addresses of %s: %w", p.spec.Interface, err)
	}
	for _, a := range all {
		if n, ok := a.(*net.IPNet); ok && n.IP.To4() != nil {
			return netip.AddrFrom4([4]byte(n.IP.To4())), nil
		}
	}
	return netip.Addr{}, fmt.Errorf("%s has no IPv4 address to ask with", p.spec.Interface)
}

// dhcpPort is port 68 of one address, which all questions under way share: of several sockets the kernel would give the answers to one alone.
type dhcpPort struct {
	addr  netip.Addr
	conn  *net.UDPConn
	ended chan struct{} // its reader's

	users map[chan []byte]bool // under dhcpPorts' lock
	uses  int                  // likewise: askers between open and leave
}

var dhcpPorts = struct {
	sync.Mutex
	open map[netip.Addr]*dhcpPort
}{open: map[netip.Addr]*dhcpPort{}}

// openDHCPPort gives the port; leave lets go of it.
func openDHCPPort(addr netip.Addr) (*dhcpPort, error) {
	dhcpPorts.Lock()
	defer dhcpPorts.Unlock()
	if p := dhcpPorts.open[addr]; p != nil {
		p.uses++
		return p, nil
	}
	shared := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) error { // with a DHCP client on the machine, which has the port of all addresses
		var err error
		if e := c.Control(func(fd uintptr) { err = syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_REUSEADDR, 1) }); e != nil {
			return e
		}
		return err
	}}
	c, err := shared.ListenPacket(context.Background(), "udp4", netip.AddrPortFrom(addr, portDHCPClient).String()) // a literal: nothing to wait for
	if op, ok := errors.AsType[*net.OpError](err); ok && op.Err != nil {
		err = op.Err
	}
	if err != nil {
		return nil, err
	}
	p := &dhcpPort{addr: addr, conn: c.(*net.UDPConn), ended: make(chan struct{}), users: map[chan []byte]bool{}, uses: 1}
	dhcpPorts.open[addr] = p
	go p.read()
	return p, nil
}

// join gives a channel of what comes from now on.
func (p *dhcpPort) join() chan []byte {
	heard := make(chan []byte, 16)
	dhcpPorts.Lock()
	defer dhcpPorts.Unlock()
	p.users[heard] = true
	return heard
}

// leave ends it; with the last one the socket goes, and its reader.
func (p *dhcpPort) leave(heard chan []byte) {
	dhcpPorts.Lock()
	delete(p.users, heard)
	p.uses--
	last := p.uses == 0
	if last {
		delete(dhcpPorts.open, p.addr)
	}
	dhcpPorts.Unlock()
	if last {
		_ = p.conn.Close()
		<-p.ended
	}
}

// read gives everybody what comes; who is slow misses some.
func (p *dhcpPort) read() {
	defer close(p.ended)
	buf := make([]byte, maxDHCP+1)
	for {
		n, err := p.conn.Read(buf)
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			continue // an ICMP error of one of the servers
		}
		d := append([]byte(nil), buf[:n]...)
		dhcpPorts.Lock()
		for heard := range p.users {
			select {
			case heard <- d:
			default:
			}
		}
		dhcpPorts.Unlock()
	}
}
