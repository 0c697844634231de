package ha

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"kvmctl/ha/carp"
	"kvmctl/ha/link"
)

// Bounds of what the main loop asks the kernel: it answers in microseconds, unless somebody holds its lock.
const (
	turnWait  = 25 * time.Millisecond
	leaseWait = 200 * time.Millisecond
)

// Kernel is this machine's network.
type Kernel struct {
	leases  *link.Leases
	closing sync.WaitGroup // ports
	left    []portHandover // by the program before, until they are opened
}

// Inherit has Open take the sockets that the program before left, nil: none.
func (k *Kernel) Inherit(h *Handover) {
	if h == nil {
		return
	}
	for _, p := range h.Ports {
		p.file = os.NewFile(uintptr(p.FD), "adverts of "+p.Interface)
		k.left = append(k.left, p)
	}
}

// openCARP takes an inherited socket, if it is of this very interface, or opens one.
func (k *Kernel) openCARP(iface string) (*link.CARPSocket, error) {
	for i, p := range k.left {
		if p.Interface != iface {
			continue
		}
		k.left = slices.Delete(k.left, i, i+1)
		if now, err := link.Lookup(iface); err != nil || now.Index != p.Index {
			p.file.Close()
			break
		}
		if s, err := link.AdoptCARP(p.file, iface); err == nil {
			return s, nil
		}
		break
	}
	return link.OpenCARP(iface)
}

// OpenKernel begins in the calling thread's network namespace.
func OpenKernel(clock Clock) (*Kernel, error) {
	l, err := link.OpenLeases(clock.Now)
	if err != nil {
		return nil, fmt.Errorf("open the kernel's addresses: %w", err)
	}
	return &Kernel{leases: l}, nil
}

// Close leaves what is held to its lifetime.
func (k *Kernel) Close() error {
	k.closing.Wait()
	for _, p := range k.left {
		p.file.Close()
	}
	return k.leases.Close()
}

// release closes a port without waiting for it: until no CPU handles a frame of it any more the kernel takes 8 to 24 ms (measured), in which
// the loop would stand still, or a step would be over and nobody know.
func (k *Kernel) release(p *link.Port) { k.closing.Go(func() { _ = p.Close() }) }

// kernelPort is a CARP socket with the goroutine that reads it.
type kernelPort struct {
	*link.CARPSocket
	stop func()
	done chan struct{}
}

// Open implements Network.
func (k *Kernel) Open(iface string, deliver func([]byte)) (Port, error) {
	s, err := k.openCARP(iface)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(context.Background())
	p := &kernelPort{s, cancel, make(chan struct{})}
	go func() {
		defer close(p.done)
		buf := make([]byte, 128)
		for ctx.Err() == nil {
			n, err := s.Receive(ctx, buf)
			switch {
			case err == nil:
				deliver(buf[:n])
			case ctx.Err() == nil: // the interface is down: the watch tells of it, and of its end
				select {
				case <-ctx.Done():
				case <-time.After(100 * time.Millisecond):
				}
			}
		}
	}()
	return p, nil
}

// Close ends the reading and leaves the groups.
func (p *kernelPort) Close() error {
	p.stop()
	<-p.done
	return p.CARPSocket.Close()
}

// Station implements Network.
func (k *Kernel) Station(iface string) (Station, error) {
	state, err := link.Lookup(iface)
	if err != nil {
		return Station{}, err
	}
	if state.Gone {
		return Station{}, fmt.Errorf("interface %s: %w", iface, unix.ENODEV)
	}
	s := Station{Index: state.Index, Carrier: state.Carrier}
	if len(state.MAC) == len(s.MAC) {
		s.MAC = carp.MAC(state.MAC)
	}
	ctx, cancel := context.WithTimeout(context.Background(), leaseWait)
	defer cancel()
	addrs, err := link.AddressesOf(ctx, iface)
	if err != nil {
		return Station{}, fmt.Errorf("list the addresses of %s: %w", iface, err)
	}
	for _, p := range addrs {
		addr := p.Prefix.Addr().Unmap().WithZone("")
		s.All = append(s.All, addr)
		switch { // an address that is alone in its prefix is shared, ours or another's
		case addr.Is4() && !p.Prefix.IsSingleIP() && !s.IPv4.IsValid():
			s.IPv4 = addr
		case addr.Is6() && addr.IsLinkLocalUnicast() && !s.IPv6.IsValid():
			s.IPv6 = addr
		}
	}
	return s, nil
}

// Take implements Network.
func (k *Kernel) Take(iface string, addr netip.Addr) error {
	ctx, cancel := context.WithTimeout(context.Background(), leaseWait)
	defer cancel()
	return k.leases.Take(ctx, iface, addr)
}

// Drop implements Network. It deletes the address however it came there.
func (k *Kernel) Drop(iface string, addr netip.Addr) error {
	ctx, cancel := context.WithTimeout(context.Background(), leaseWait)
	defer cancel()
	err := k.leases.Drop(ctx, iface, addr)
	found, findErr := link.FindAddresses(ctx, addr)
	errs := []error{err, findErr}
	for _, p := range found {
		if p.Interface == iface {
			errs = append(errs, link.RemoveAddress(ctx, p))
		}
	}
	return errors.Join(errs...)
}

// Turn implements Network.
func (k *Kernel) Turn() ([]link.Lost, error) { return k.leases.Turn(turnWait) }

// Next implements Network.
func (k *Kernel) Next() time.Time { return k.leases.Next() }

// Held implements Network.
func (k *Kernel) Held() []link.Held { return k.leases.Held() }

// Adopt implements Network.
func (k *Kernel) Adopt(held ...link.Held) { k.leases.Adopt(held...) }

// VirtualMAC implements Network.
func (k *Kernel) VirtualMAC(iface string, vhid uint8) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), leaseWait)
	defer cancel()
	return link.EnsureVMAC(ctx, iface, vhid)
}

// DropVirtualMAC implements Network.
func (k *Kernel) DropVirtualMAC(vhid uint8) error {
	ctx, cancel := context.WithTimeout(context.Background(), leaseWait)
	defer cancel()
	return link.RemoveVMAC(ctx, vhid)
}

// Find implements Network.
func (k *Kernel) Find(addrs ...netip.Addr) ([]link.Present, error) {
	ctx, cancel := context.WithTimeout(context.Background(), leaseWait)
	defer cancel()
	return link.FindAddresses(ctx, addrs...)
}

// Leftovers implements Network.
func (k *Kernel) Leftovers(addrs ...netip.Addr) ([]link.Present, error) {
	ctx, cancel := context.WithTimeout(context.Background(), leaseWait)
	defer cancel()
	return link.Leftovers(ctx, addrs...)
}

// Probe implements Network.
func (k *Kernel) Probe(ctx context.Context, iface string, addr netip.Addr, wait time.Duration) (string, error) {
	p, err := link.OpenPort(iface)
	if err != nil {
		return "", err
	}
	defer k.release(p)
	mac, taken, err := p.Probe(ctx, addr, wait)
	if err != nil || !taken {
		return "", err
	}
	return mac.String(), nil
}

// Resolve implements Network.
func (k *Kernel) Resolve(ctx context.Context, all []link.Neighbour, wait time.Duration) (map[link.Neighbour]carp.MAC, error) {
	n, err := link.OpenNeighbours()
	if err != nil {
		return nil, err
	}
	defer n.Close()
	var errs []error
	for _, to := range all {
		errs = append(errs, n.Confirm(to))
	}
	select {
	case <-ctx.Done():
	case <-time.After(wait):
	}
	found := map[link.Neighbour]carp.MAC{}
	for _, to := range all {
		mac, known, err := n.Confirmed(to)
		if known {
			found[to] = mac
		}
		errs = append(errs, err)
	}
	return found, errors.Join(errs...)
}

// Announce implements Network.
func (k *Kernel) Announce(iface string, addr netip.Addr) error {
	p, err := link.OpenPort(iface)
	if err != nil {
		return err
	}
	defer k.release(p)
	return p.Announce(p.MAC(), addr, false)
}

// Watch implements Network.
func (k *Kernel) Watch(ctx context.Context, deliver func(link.Event)) error {
	w, err := link.Watch()
	if err != nil {
		return err
	}
	stop := context.AfterFunc(ctx, func() { _ = w.Close() })
	for e := range w.Events {
		deliver(e)
	}
	if !stop() {
		return nil
	}
	return errors.Join(w.Err(), w.Close())
}
