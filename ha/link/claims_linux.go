package link

import (
	"context"
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"

	"golang.org/x/net/bpf"
)

// ClaimSocket hears on one interface who else says that he has one of its addresses.
type ClaimSocket struct {
	socket *packetSocket
	addrs  []netip.Addr
	ours   []MAC
	buf    []byte
}

// maxClaimed is how many addresses the kernel is given to look for; of more, every resolution is looked at here.
const maxClaimed = 1000

// OpenClaims opens an interface of the calling thread's network namespace for the claims to addrs. The kernel passes nothing else. It needs
// CAP_NET_RAW.
func OpenClaims(name string, addrs []netip.Addr) (*ClaimSocket, error) {
	all, err := net.Interfaces() // another card of ours on the same network may answer, too
	if err != nil {
		return nil, fmt.Errorf("list our own MACs: %w", err)
	}
	c := &ClaimSocket{addrs: addrs, buf: make([]byte, maxFrame)}
	for _, i := range all {
		if len(i.HardwareAddr) == len(MAC{}) {
			c.ours = append(c.ours, MAC(i.HardwareAddr))
		}
	}
	filter := resolution
	if len(addrs) <= maxClaimed {
		filter = claimFilter(addrs)
	}
	if c.socket, err = openPacket(name, filter); err != nil {
		return nil, fmt.Errorf("listen for claims on %s: %w", name, err)
	}
	return c, nil
}

// Receive waits for a claim of somebody else's, as long as ctx lasts. ErrDown: the interface is down; it may be called again.
func (c *ClaimSocket) Receive(ctx context.Context) (netip.Addr, MAC, error) {
	for {
		n, err := c.socket.receive(ctx, c.buf)
		if err != nil {
			return netip.Addr{}, MAC{}, err
		}
		for _, addr := range c.addrs {
			if mac, ok := claims(c.buf[:n], addr, c.ours); ok {
				return addr, mac, nil
			}
		}
	}
}

// Close ends it; a Receive has to have ended.
func (c *ClaimSocket) Close() error { return c.socket.close() }

// claimFilter passes what claims may look at: ARP from one of the addresses, and advertisements for the last four bytes of one.
func claimFilter(addrs []netip.Addr) []bpf.Instruction {
	pass := func(four bool) (list []bpf.Instruction) {
		for _, a := range addrs {
			if b := a.AsSlice(); a.Is4() == four {
				list = append(list, bpf.JumpIf{Cond: bpf.JumpEqual, Val: binary.BigEndian.Uint32(b[len(b)-4:]), SkipFalse: 1}, bpf.RetConstant{Val: maxFrame})
			}
		}
		return append(list, bpf.RetConstant{Val: 0})
	}
	v4 := append([]bpf.Instruction{bpf.LoadAbsolute{Off: etherHeader + 14, Size: 4}}, pass(true)...)
	v6 := append([]bpf.Instruction{
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: etherIPv6, SkipTrue: 1},
		bpf.RetConstant{Val: 0},
		bpf.LoadAbsolute{Off: etherHeader + 6, Size: 1},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: protoICMPv6, SkipTrue: 1},
		bpf.RetConstant{Val: 0},
		bpf.LoadAbsolute{Off: etherHeader + ipv6Header, Size: 1},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: icmpAdvertisement, SkipTrue: 1},
		bpf.RetConstant{Val: 0},
		bpf.LoadAbsolute{Off: etherHeader + ipv6Header + 8 + 12, Size: 4},
	}, pass(false)...)
	head := []bpf.Instruction{
		bpf.LoadAbsolute{Off: 12, Size: 2},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: etherARP, SkipTrue: 1},
		bpf.Jump{Skip: uint32(len(v4))},
	}
	return append(append(head, v4...), v6...)
}
