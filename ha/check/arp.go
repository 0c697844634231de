package check

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"time"

	"kvmctl/ha/link"
)

// ARP asks on a link who has an address, by ARP (RFC 826) or a neighbour solicitation (RFC 4861): whoever is there has to answer that, whatever his
// packet filter thinks of a ping. It asks as a probe does (RFC 5227, 1.1), so nobody learns anything wrong from it.
type ARP struct {
	Interface string
	Address   string // a literal address of that link
	MAC       string // who has to have it; empty: anybody else
}

// Kind implements Spec.
func (ARP) Kind() string { return "arp" }

var errNoInterface = errors.New("interface is empty")

// Validate implements Spec.
func (s ARP) Validate() error {
	if s.Interface == "" {
		return errNoInterface
	}
	if err := (Ping{Address: s.Address}).Validate(); err != nil {
		return err
	}
	if mac, err := net.ParseMAC(s.MAC); s.MAC != "" && (err != nil || len(mac) != len(link.MAC{})) {
		return fmt.Errorf("mac %q is not one such as 00:00:5e:00:01:07", s.MAC)
	}
	return nil
}

// Probe implements Spec.
func (s ARP) Probe(Env) (Probe, error) {
	a, err := netip.ParseAddr(s.Address)
	if err != nil {
		return nil, err
	}
	p := arpProbe{iface: s.Interface, addr: a.WithZone("").Unmap()}
	if s.MAC != "" {
		p.mac, err = net.ParseMAC(s.MAC)
	}
	return p, err
}

type arpProbe struct {
	iface string
	addr  netip.Addr
	mac   net.HardwareAddr
}

func (arpProbe) Close() {}

func (p arpProbe) Ask(ctx context.Context) error {
	port, err := link.OpenPort(p.iface)
	if err != nil {
		return fmt.Errorf("ask on %s who has %v: %w", p.iface, p.addr, err)
	}
	defer port.Close()
	wait := unbounded
	if deadline, ok := ctx.Deadline(); ok {
		wait = time.Until(deadline) * 9 / 10
	}
	mac, there, err := port.Probe(ctx, p.addr, wait)
	if errors.Is(err, context.DeadlineExceeded) { // on a machine that is busy
		there, err = false, nil
	}
	switch {
	case errors.Is(err, link.ErrDown):
		return fmt.Errorf("%s is down or gone: nobody can be asked for %v", p.iface, p.addr)
	case err != nil:
		return fmt.Errorf("ask on %s: %w", p.iface, err)
	case !there && p.own():
		return fmt.Errorf("%v is an address of this machine, so nobody else answers for it on %s", p.addr, p.iface)
	case !there:
		return fmt.Errorf("nobody on %s answers for %v: it is off, or not on this network", p.iface, p.addr)
	case p.mac != nil && !bytes.Equal(p.mac, mac[:]):
		return fmt.Errorf("%v is at %v, not at %v: another machine has the address", p.addr, mac, p.mac)
	}
	return nil
}

// ownWithin is how long the kernel has to list an interface's addresses, for the words of a reason.
const ownWithin = 100 * time.Millisecond

// own tells whether the address is one of the interface's.
func (p arpProbe) own() bool {
	ctx, cancel := context.WithTimeout(context.Background(), ownWithin)
	defer cancel()
	here, err := link.AddressesOf(ctx, p.iface)
	return err == nil && slices.ContainsFunc(here, func(h link.Present) bool { return h.Prefix.Addr() == p.addr })
}
