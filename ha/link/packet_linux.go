package link

import (
	"context"
	"errors"
	"fmt"
	"os"
	"syscall"
	"time"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
)

// maxFrame bounds a frame that is read, in bytes; what is meant for us is far smaller.
const maxFrame = 2048

// packetSocket sends and receives whole Ethernet frames on one interface.
type packetSocket struct {
	name  string
	index int
	mac   MAC // of the interface when it was opened
	file  *os.File
	raw   syscall.RawConn
}

// openPacket opens one in the calling thread's network namespace, which hears what the filter passes, but for what this machine sends.
func openPacket(name string, filter []bpf.Instruction) (*packetSocket, error) {
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0) // 0: nothing comes before the filter is there
	if err != nil {
		return nil, os.NewSyscallError("open a packet socket", err)
	}
	s, err := newPacketSocket(os.NewFile(uintptr(fd), "packet socket"), name)
	if err != nil {
		return nil, err
	}
	if err := s.configure(filter); err != nil {
		s.file.Close()
		return nil, err
	}
	return s, nil
}

// newPacketSocket wraps an open socket, which it closes when it fails.
func newPacketSocket(file *os.File, name string) (*packetSocket, error) {
	link, err := Lookup(name)
	if err == nil && len(link.MAC) != len(MAC{}) {
		err = fmt.Errorf("interface %q is no Ethernet: %w", name, unix.EAFNOSUPPORT)
	}
	s := &packetSocket{name: name, index: link.Index, file: file}
	if err == nil {
		s.mac = MAC(link.MAC)
		s.raw, err = file.SyscallConn()
	}
	if err != nil {
		file.Close()
		return nil, err
	}
	return s, nil
}

func (s *packetSocket) configure(filter []bpf.Instruction) error {
	code, err := bpf.Assemble(filter)
	if err != nil {
		return fmt.Errorf("assemble the filter: %w", err)
	}
	sock := make([]unix.SockFilter, len(code))
	for i, c := range code {
		sock[i] = unix.SockFilter{Code: c.Op, Jt: c.Jt, Jf: c.Jf, K: c.K}
	}
	return s.control(func(fd int) error {
		if err := unix.SetsockoptSockFprog(fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, &unix.SockFprog{Len: uint16(len(sock)), Filter: &sock[0]}); err != nil {
			return os.NewSyscallError("attach the filter", err)
		}
		if err := unix.SetsockoptInt(fd, unix.SOL_PACKET, unix.PACKET_IGNORE_OUTGOING, 1); err != nil { // since Linux 4.20
			return os.NewSyscallError("leave out what is sent", err)
		}
		return os.NewSyscallError("bind to "+s.name, unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: bigEndian(unix.ETH_P_ALL), Ifindex: s.index}))
	})
}

// join lets the network card take frames to a group.
func (s *packetSocket) join(mac MAC) error {
	m := unix.PacketMreq{Ifindex: int32(s.index), Type: unix.PACKET_MR_MULTICAST, Alen: uint16(len(mac))}
	copy(m.Address[:], mac[:])
	return s.control(func(fd int) error {
		return os.NewSyscallError("join "+mac.String(), unix.SetsockoptPacketMreq(fd, unix.SOL_PACKET, unix.PACKET_ADD_MEMBERSHIP, &m))
	})
}

// control runs f on the descriptor.
func (s *packetSocket) control(f func(fd int) error) error {
	var err error
	if e := s.raw.Control(func(fd uintptr) { err = f(int(fd)) }); e != nil {
		return e
	}
	return err
}

// send gives a frame to the interface, or fails at once: ErrBusy, ErrDown.
func (s *packetSocket) send(frame []byte) error {
	err := s.control(func(fd int) error {
		return unix.Sendto(fd, frame, unix.MSG_DONTWAIT, &unix.SockaddrLinklayer{Ifindex: s.index})
	})
	if errors.Is(err, unix.EAGAIN) || errors.Is(err, unix.ENOBUFS) {
		err = ErrBusy
	}
	if err != nil {
		return fmt.Errorf("send on %s: %w", s.name, downError(err))
	}
	return nil
}

// downError makes ErrDown of the errnos that mean it.
func downError(err error) error {
	if errors.Is(err, unix.ENETDOWN) || errors.Is(err, unix.ENODEV) || errors.Is(err, unix.ENXIO) {
		return fmt.Errorf("%w (%w)", ErrDown, err)
	}
	return err
}

// receive waits for a frame until ctx ends, at most until its deadline. buf is filled.
func (s *packetSocket) receive(ctx context.Context, buf []byte) (n int, err error) {
	if err := context.Cause(ctx); err != nil {
		return 0, err
	}
	_ = s.file.SetReadDeadline(time.Time{})
	ran := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(ran)
		_ = s.file.SetReadDeadline(time.Unix(1, 0))
	})
	defer func() {
		if !stop() {
			<-ran // a deadline that is set later would cut the next receive short
		}
	}()
	var got error
	err = s.raw.Read(func(fd uintptr) bool {
		for {
			n, _, got = unix.Recvfrom(int(fd), buf, 0)
			if !errors.Is(got, unix.EINTR) {
				return !errors.Is(got, unix.EAGAIN)
			}
		}
	})
	if errors.Is(err, os.ErrDeadlineExceeded) && ctx.Err() != nil {
		return 0, context.Cause(ctx)
	}
	if err = errors.Join(err, got); err != nil {
		return 0, fmt.Errorf("receive on %s: %w", s.name, downError(err))
	}
	return n, nil
}

func (s *packetSocket) close() error { return s.file.Close() }

func bigEndian(v uint16) uint16 { return v<<8 | v>>8 } // both of the ports of this program are little-endian
