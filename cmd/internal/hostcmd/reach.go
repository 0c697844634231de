package hostcmd

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"time"

	"kvmctl/configs"
	"kvmctl/netbridge"
	"kvmctl/vm"
)

// noAddressError says that nobody knows where a guest is.
type noAddressError struct{ why error }

func (e *noAddressError) Error() string { return "its address is unknown: " + e.why.Error() }
func (e *noAddressError) Unwrap() error { return e.why }

// connectTime bounds one attempt.
const connectTime = time.Second

// connect tries each address that the guest may have and gives the one that took the connection.
func (a *app) connect(ctx context.Context, s *configs.Site, h *vm.Host, name string, port uint16) (netip.AddrPort, error) {
	addrs, err := a.addresses(ctx, s, h, name)
	if err != nil {
		return netip.AddrPort{}, err
	}
	var last error
	for _, addr := range addrs {
		at := netip.AddrPortFrom(addr, port)
		d := net.Dialer{Timeout: connectTime}
		conn, err := d.DialContext(ctx, "tcp", at.String())
		if err == nil {
			conn.Close()
			return at, nil
		}
		last = fmt.Errorf("%s does not answer: %w", at, dialCause(err))
	}
	return netip.AddrPort{}, last
}

// dialCause takes net's frame off, which repeats the address.
func dialCause(err error) error {
	var op *net.OpError
	if errors.As(err, &op) && op.Err != nil {
		return op.Err
	}
	return err
}

// addresses finds where a guest is: what vm.toml says, else what its agent says, else where the host met its cards.
func (a *app) addresses(ctx context.Context, s *configs.Site, h *vm.Host, name string) ([]netip.Addr, error) {
	if g, err := s.Guest(name); err == nil && g.Spec.Guest.Address.IsValid() {
		return []netip.Addr{g.Spec.Guest.Address}, nil
	}
	st, err := h.RunState(name)
	if err != nil {
		return nil, &noAddressError{err}
	}
	nics := st.NICs()
	if len(nics) == 0 {
		return nil, &noAddressError{errors.New("it has no network card")}
	}
	why := errors.New("it has no agent")
	if st.Agent {
		addrs, err := h.AgentAddresses(ctx, name, nics)
		if len(addrs) > 0 {
			return addrs, nil
		}
		if why = err; err == nil {
			why = errors.New("its agent knows none")
		}
	}
	addrs, err := neighbours(ctx, nics)
	if err != nil {
		return nil, &noAddressError{fmt.Errorf("%w; %w", why, err)}
	}
	if len(addrs) == 0 {
		return nil, &noAddressError{fmt.Errorf("%w, and the host has not met its cards", why)}
	}
	return addrs, nil
}

// neighbours gives the addresses at which the host met the cards on their bridges.
func neighbours(ctx context.Context, nics []vm.RunNIC) ([]netip.Addr, error) {
	k, err := netbridge.NewKernel()
	if err != nil {
		return nil, err
	}
	defer k.Close()
	var all []netip.Addr
	for _, n := range nics {
		addrs, err := k.Neighbour(ctx, n.Bridge, n.MAC)
		if err != nil {
			return nil, err
		}
		for _, addr := range addrs {
			if !addr.IsLinkLocalUnicast() { // would need a zone, and is no address to tell others
				all = append(all, addr)
			}
		}
	}
	return all, nil
}
