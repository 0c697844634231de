package check

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"kvmctl/internal/ping"
)

// Ping sends one ICMP echo request and waits for its answer.
type Ping struct {
	Address string // a literal IPv4 or IPv6 address; a link-local one with its zone
}

// Kind implements Spec.
func (Ping) Kind() string { return "ping" }

// Validate implements Spec.
func (s Ping) Validate() error {
	a, err := netip.ParseAddr(s.Address)
	switch {
	case err != nil:
		return fmt.Errorf("address %q is not a literal address", s.Address)
	case a.IsUnspecified() || a.IsMulticast():
		return fmt.Errorf("address %q is nobody's", s.Address)
	}
	return nil
}

// Probe implements Spec.
func (s Ping) Probe(Env) (Probe, error) {
	a, err := netip.ParseAddr(s.Address)
	if err != nil {
		return nil, err
	}
	return pingProbe{a.Unmap()}, nil
}

type pingProbe struct{ addr netip.Addr }

func (pingProbe) Close() {}

// unbounded is how long a question without deadline may take; the Runner always sets one.
const unbounded = time.Minute

func (p pingProbe) Ask(ctx context.Context) error {
	began := time.Now()
	err := ping.Once(ctx, p.addr, unbounded)
	if errors.Is(err, ping.ErrNoAnswer) {
		return fmt.Errorf("no answer from %v within %v", p.addr, time.Since(began).Round(10*time.Millisecond))
	}
	return err
}
