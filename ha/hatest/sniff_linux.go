package hatest

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// Sniffer hears what goes over a node's cable, both ways.
type Sniffer struct {
	fd   int
	quit chan struct{}
	stop func()
	all  sync.WaitGroup

	mu     sync.Mutex
	frames []Frame
}

// Sniff starts to listen at the bridge's end of the node's cable: there, too, where the node is cut off. Only frames that keep accepts are
// kept; nil keeps all. Stop ends it; so does the lab.
func (n *Node) Sniff(keep func(Frame) bool) (*Sniffer, error) {
	s := &Sniffer{quit: make(chan struct{})}
	s.stop = sync.OnceFunc(func() { close(s.quit) })
	const all = uint16(unix.ETH_P_ALL<<8 | unix.ETH_P_ALL>>8) // network byte order
	err := n.lab.hub.do(func() (err error) {
		s.fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
		if err != nil {
			return err
		}
		if err := unix.Bind(s.fd, &unix.SockaddrLinklayer{Protocol: all, Ifindex: n.port.Attrs().Index}); err != nil {
			unix.Close(s.fd)
			return err
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("listen on the cable of %s: %w", n.Name, err)
	}
	s.all.Go(func() { s.listen(keep) })
	n.lab.atEnd(func() error {
		s.Stop()
		return unix.Close(s.fd)
	})
	return s, nil
}

func (s *Sniffer) listen(keep func(Frame) bool) {
	buf := make([]byte, 65536)
	for {
		select {
		case <-s.quit:
			return
		default:
		}
		fds := []unix.PollFd{{Fd: int32(s.fd), Events: unix.POLLIN}}
		if k, _ := unix.Poll(fds, 20); k != 1 { // EINTR is one more turn; 20 ms bound how long Stop waits
			continue
		}
		k, from, err := unix.Recvfrom(s.fd, buf, 0)
		if err != nil {
			continue // ENETDOWN while the cable is out
		}
		f := decode(slices.Clone(buf[:k]))
		f.At = time.Now()
		if ll, ok := from.(*unix.SockaddrLinklayer); ok {
			f.Out = ll.Pkttype != unix.PACKET_OUTGOING // what leaves the bridge reaches the node
		}
		if keep == nil || keep(f) {
			s.mu.Lock()
			s.frames = append(s.frames, f)
			s.mu.Unlock()
		}
	}
}

// Frames gives what was heard up to now.
func (s *Sniffer) Frames() []Frame {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.frames)
}

// Wait waits until n frames were heard that match, and gives the n-th.
func (s *Sniffer) Wait(ctx context.Context, n int, match func(Frame) bool) (f Frame, err error) {
	seen, found := 0, 0
	err = until(ctx, func() bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		for ; seen < len(s.frames); seen++ {
			if f = s.frames[seen]; match(f) {
				if found++; found == n {
					return true
				}
			}
		}
		return false
	})
	return f, err
}

// Stop ends it and gives what was heard.
func (s *Sniffer) Stop() []Frame {
	s.stop()
	s.all.Wait()
	return s.Frames()
}

// Advert tells CARP's and VRRP's packets that a node sent.
func Advert(f Frame) bool { return f.Out && f.Proto == ProtoCARP }
