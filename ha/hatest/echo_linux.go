package hatest

import (
	"context"
	"fmt"
	"net"
	"net/netip"

	"golang.org/x/net/ipv4"
	"golang.org/x/net/ipv6"
)

// echoPort is where every node answers with what it was sent and its name, from the address that was asked (UDP).
const echoPort = 7777

// serveEcho answers until the lab ends.
func (n *Node) serveEcho() error {
	var p4, p6 net.PacketConn
	if err := n.Do(func() (err error) {
		var lc net.ListenConfig // of a literal address: nothing is resolved, so the socket is made on this thread
		if p4, err = lc.ListenPacket(context.Background(), "udp4", fmt.Sprintf("0.0.0.0:%d", echoPort)); err != nil {
			return err
		}
		p6, err = lc.ListenPacket(context.Background(), "udp6", fmt.Sprintf("[::]:%d", echoPort))
		return err
	}); err != nil {
		return fmt.Errorf("open the echo service: %w", err)
	}
	c4, c6 := ipv4.NewPacketConn(p4), ipv6.NewPacketConn(p6)
	if err := c4.SetControlMessage(ipv4.FlagDst, true); err != nil {
		return err
	}
	if err := c6.SetControlMessage(ipv6.FlagDst, true); err != nil {
		return err
	}
	done := make(chan struct{}, 2)
	go func() {
		defer func() { done <- struct{}{} }()
		buf := make([]byte, 512)
		for {
			k, cm, from, err := c4.ReadFrom(buf)
			if err != nil {
				return // closed
			}
			_, _ = c4.WriteTo(append(buf[:k:k], n.Name...), &ipv4.ControlMessage{Src: cm.Dst}, from) // one that is lost was lost on the way
		}
	}()
	go func() {
		defer func() { done <- struct{}{} }()
		buf := make([]byte, 512)
		for {
			k, cm, from, err := c6.ReadFrom(buf)
			if err != nil {
				return
			}
			_, _ = c6.WriteTo(append(buf[:k:k], n.Name...), &ipv6.ControlMessage{Src: cm.Dst}, from)
		}
	}()
	n.lab.atEnd(func() error {
		p4.Close()
		p6.Close()
		<-done
		<-done
		return nil
	})
	return nil
}

// echoAt is the echo service's address on addr.
func echoAt(addr netip.Addr) *net.UDPAddr {
	return net.UDPAddrFromAddrPort(netip.AddrPortFrom(addr, echoPort))
}
