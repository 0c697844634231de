package check

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"
	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
)

// toDHCPClients passes unfragmented UDP to port 68.
var toDHCPClients = []bpf.Instruction{
	bpf.LoadAbsolute{Off: 12, Size: 2},
	bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: etherIPv4, SkipTrue: 7},
	bpf.LoadAbsolute{Off: 23, Size: 1},
	bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: protoUDP, SkipTrue: 5},
	bpf.LoadAbsolute{Off: 20, Size: 2},
	bpf.JumpIf{Cond: bpf.JumpBitsSet, Val: 0x3fff, SkipTrue: 3},
	bpf.LoadMemShift{Off: etherLen},
	bpf.LoadIndirect{Off: etherLen + 2, Size: 2},
	bpf.JumpIf{Cond: bpf.JumpEqual, Val: portDHCPClient, SkipTrue: 1},
	bpf.RetConstant{Val: 0},
	bpf.RetConstant{Val: 2048},
}

// dhcpWire is an interface as a DHCP client without an address sees it. It hears what this machine sends, too: the server may be here.
type dhcpWire struct {
	file *os.File
	mac  [6]byte
}

func openDHCPWire(name string) (*dhcpWire, error) {
	i, err := net.InterfaceByName(name)
	switch {
	case err != nil:
		return nil, fmt.Errorf("there is no interface %s", name)
	case len(i.HardwareAddr) != 6:
		return nil, fmt.Errorf("%s is no Ethernet", name)
	case i.Flags&net.FlagUp == 0:
		return nil, fmt.Errorf("%s is down", name)
	}
	code, err := bpf.Assemble(toDHCPClients)
	if err != nil {
		return nil, fmt.Errorf("assemble the filter: %w", err)
	}
	filter := make([]unix.SockFilter, len(code))
	for n, c := range code {
		filter[n] = unix.SockFilter{Code: c.Op, Jt: c.Jt, Jf: c.Jf, K: c.K}
	}
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0) // 0: nothing comes before the filter is there
	if err != nil {
		return nil, os.NewSyscallError("open a packet socket", err)
	}
	err = unix.SetsockoptSockFprog(fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, &unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]})
	if err == nil {
		err = unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: unix.ETH_P_ALL<<8&0xff00 | unix.ETH_P_ALL>>8, Ifindex: i.Index})
	}
	if err != nil {
		_ = unix.Close(fd)
		return nil, fmt.Errorf("listen on %s: %w", name, err)
	}
	return &dhcpWire{file: os.NewFile(uintptr(fd), "packet socket"), mac: [6]byte(i.HardwareAddr)}, nil
}

// sendDHCP gives a message to an interface as if it came from there, which a server on this machine hears that listens to frames. It is
// addressed to the interface itself, so that no switch carries it further.
func sendDHCP(ctx context.Context, iface string, from, to netip.AddrPort, message []byte) error {
	w, err := openDHCPWire(iface)
	if err != nil {
		return err
	}
	defer w.file.Close()
	if deadline, ok := ctx.Deadline(); ok {
		if err := w.file.SetWriteDeadline(deadline); err != nil {
			return err
		}
	}
	_, err = w.file.Write(dhcpFrame(w.mac, w.mac, from, to, message))
	return err
}

var (
	everybody     = [6]byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}
	everybodyIPv4 = netip.AddrFrom4([4]byte{255, 255, 255, 255})
)

// discover asks as a new client does, and takes nothing of what it is offered.
func (p *dhcpProbe) discover(ctx context.Context) error {
	w, err := openDHCPWire(p.spec.Interface)
	if err != nil {
		return err
	}
	defer w.file.Close()
	if deadline, ok := ctx.Deadline(); ok {
		if err := w.file.SetDeadline(deadline); err != nil {
			return err
		}
	}
	stop := context.AfterFunc(ctx, func() { _ = w.file.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	asked, err := p.question(dhcpv4.MessageTypeDiscover, netip.Addr{})
	if err != nil {
		return err
	}
	from, to := netip.AddrPortFrom(netip.IPv4Unspecified(), portDHCPClient), netip.AddrPortFrom(everybodyIPv4, portDHCPServer)
	if _, err := w.file.Write(dhcpFrame(w.mac, everybody, from, to, asked.ToBytes())); err != nil {
		return fmt.Errorf("broadcast on %s: %w", p.spec.Interface, err)
	}
	buf := make([]byte, 2048)
	next := func() ([]byte, error) {
		for {
			n, err := w.file.Read(buf)
			if errors.Is(err, os.ErrDeadlineExceeded) {
				return nil, context.DeadlineExceeded
			}
			if err != nil {
				return nil, fmt.Errorf("listen on %s: %w", p.spec.Interface, err)
			}
			if m, ok := dhcpMessage(buf[:n]); ok {
				return m, nil
			}
		}
	}
	return p.wait(asked, dhcpv4.MessageTypeOffer, next, func(waited time.Duration) error {
		return fmt.Errorf("no DHCP server offers an address on %s within %v: does it run, and has it one left?", p.spec.Interface, waited)
	})
}
