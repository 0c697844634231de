package link

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"golang.org/x/net/bpf"
)

// probes is how often Probe asks (RFC 5227, 1.1, PROBE_NUM).
const probes = 3

// Port asks and announces on one interface, by frames of its own: the addresses need not be there.
type Port struct{ socket *packetSocket }

// resolution passes ARP, and ICMPv6's solicitations and advertisements.
var resolution = []bpf.Instruction{
	bpf.LoadAbsolute{Off: 12, Size: 2},
	bpf.JumpIf{Cond: bpf.JumpEqual, Val: etherARP, SkipTrue: 6},
	bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: etherIPv6, SkipTrue: 6},
	bpf.LoadAbsolute{Off: etherHeader + 6, Size: 1},
	bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: protoICMPv6, SkipTrue: 4},
	bpf.LoadAbsolute{Off: etherHeader + ipv6Header, Size: 1},
	bpf.JumpIf{Cond: bpf.JumpEqual, Val: icmpSolicitation, SkipTrue: 1},
	bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: icmpAdvertisement, SkipTrue: 1},
	bpf.RetConstant{Val: maxFrame},
	bpf.RetConstant{Val: 0},
}

// OpenPort opens an interface of the calling thread's network namespace. It needs CAP_NET_RAW.
func OpenPort(name string) (*Port, error) {
	s, err := openPacket(name, resolution)
	if err != nil {
		return nil, err
	}
	if err := s.join(allNodesMAC); err != nil { // answers to a solicitation from the unspecified address come here
		s.close()
		return nil, err
	}
	return &Port{s}, nil
}

// Close lets go of it.
func (p *Port) Close() error { return p.socket.close() }

// MAC is the interface's own address, as it was when the port was opened.
func (p *Port) MAC() MAC { return p.socket.mac }

// Probe asks three times within wait whether a stranger has the address, by ARP or a neighbour solicitation, and gives the MAC of the first
// that answers or claims it; false: nobody did. Ours are not strangers.
func (p *Port) Probe(ctx context.Context, addr netip.Addr, wait time.Duration, ours ...MAC) (stranger MAC, taken bool, err error) {
	ours = append(ours, p.socket.mac)
	question := solicitation(p.socket.mac, addr)
	if addr.Is4() {
		question = arpProbe(p.socket.mac, addr)
	}
	for range probes {
		if err := p.socket.send(question); err != nil {
			return MAC{}, false, fmt.Errorf("ask who has %s: %w", addr, err)
		}
		turn, cancel := context.WithTimeoutCause(ctx, wait/probes, errOver)
		mac, err := p.hear(turn, addr, ours)
		cancel()
		switch {
		case err == nil:
			return mac, true, nil
		case !errors.Is(err, errOver):
			return MAC{}, false, fmt.Errorf("ask who has %s: %w", addr, err)
		}
	}
	return MAC{}, false, nil
}

// hear waits for somebody to claim the address.
func (p *Port) hear(ctx context.Context, addr netip.Addr, ours []MAC) (MAC, error) {
	buf := make([]byte, maxFrame)
	for {
		n, err := p.socket.receive(ctx, buf)
		if err != nil {
			return MAC{}, err
		}
		if mac, ok := claims(buf[:n], addr, ours); ok {
			return mac, nil
		}
	}
}

// errOver ends the wait for an answer.
var errOver = errors.New("nobody answered")

// Announce tells the neighbours that the address is at mac now, once: it never waits. router: this machine forwards IPv6.
func (p *Port) Announce(mac MAC, addr netip.Addr, router bool) error {
	frames := [][]byte{unsolicited(mac, addr, router)}
	if addr.Is4() {
		frames = gratuitousARP(mac, addr)
	}
	var errs []error
	for _, f := range frames {
		errs = append(errs, p.socket.send(f))
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("announce %s: %w", addr, err)
	}
	return nil
}
