package ha

import (
	"context"
	"io"
	"net/netip"
	"time"

	"kvmctl/ha/link"
)

// kernelClaims is a socket with the goroutine that reads it.
type kernelClaims struct {
	*link.ClaimSocket
	stop func()
	done chan struct{}
}

// Claims implements Network.
func (k *Kernel) Claims(iface string, addrs []netip.Addr, deliver func(netip.Addr)) (io.Closer, error) {
	s, err := link.OpenClaims(iface, addrs)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(context.Background())
	c := &kernelClaims{s, cancel, make(chan struct{})}
	go func() {
		defer close(c.done)
		for ctx.Err() == nil {
			addr, _, err := s.Receive(ctx)
			switch {
			case err == nil:
				deliver(addr)
			case ctx.Err() == nil: // the interface is down: the watch tells of it
				select {
				case <-ctx.Done():
				case <-time.After(100 * time.Millisecond):
				}
			}
		}
	}()
	return c, nil
}

// Close ends the reading.
func (c *kernelClaims) Close() error {
	c.stop()
	<-c.done
	return c.ClaimSocket.Close()
}

// Hears implements Network.
func (k *Kernel) Hears(iface string) (uint64, []netip.Addr, error) { return link.Hears(iface) }
