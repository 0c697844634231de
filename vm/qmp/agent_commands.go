package qmp

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"time"

	"kvmctl/internal/units"
)

// ShutdownMode is what guest-shutdown shall do.
type ShutdownMode string

// The modes of guest-shutdown.
const (
	Powerdown ShutdownMode = "powerdown"
	Reboot    ShutdownMode = "reboot"
	Halt      ShutdownMode = "halt"
)

// Ping asks whether the agent lives; without a deadline in ctx it waits 1 s.
func (a *Agent) Ping(ctx context.Context) error { return a.Execute(ctx, "guest-ping", nil, nil) }

// Shutdown asks the guest to go down and returns nil once the agent has taken the request: there is no answer to a success (success-response false in
// qga/qapi-schema.json), so it waits 500 ms for a refusal (*Error). At ErrNoAgent nothing was sent that a later agent could find.
func (a *Agent) Shutdown(ctx context.Context, mode ShutdownMode) error {
	const cmd = "guest-shutdown"
	ctx, cancel := withTimeout(ctx, agentTimeout(cmd))
	defer cancel()
	line, err := encode(request{Execute: cmd, Arguments: fmt.Appendf(nil, `{"mode":%q}`, string(mode))})
	if err == nil {
		err = a.locked(ctx, func(ctx context.Context) error { return a.shutdown(ctx, line) })
	}
	if err != nil {
		return fmt.Errorf("run %q in the guest: %w", cmd, err)
	}
	return nil
}

func (a *Agent) shutdown(ctx context.Context, line []byte) error {
	start := time.Now()
	a.synced = false
	if err := a.write(line); err != nil {
		return a.worded(ctx, err, "the guest takes no command", start)
	}
	_ = a.conn.SetReadDeadline(start.Add(agentShutdown)) // if that fails, ctx ends the wait
	defer a.conn.SetReadDeadline(time.Time{})
	r, err := a.reply()
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded):
		if errors.Is(ctx.Err(), context.Canceled) {
			return ctx.Err()
		}
		return nil
	case err != nil:
		err = a.worded(ctx, err, "no answer", start)
		if errors.As(err, new(*ProtocolError)) {
			return err
		}
		return nil // QEMU is gone: the guest was quick
	}
	a.synced = true
	if r.err != nil {
		return &Error{Class: r.err.Class, Desc: printable(r.err.Desc)}
	}
	return nil
}

// Interface is a network interface as the guest describes it: nothing in it can be relied upon.
type Interface struct {
	Name  string    // printable
	MAC   units.MAC // zero: none, or nonsense
	Addrs []netip.Prefix
}

// NetworkInterfaces asks for the guest's interfaces. What is no address is left out.
func (a *Agent) NetworkInterfaces(ctx context.Context) ([]Interface, error) {
	var answer []struct {
		Name  string `json:"name"`
		MAC   string `json:"hardware-address"`
		Addrs []struct {
			Addr   string `json:"ip-address"`
			Prefix int    `json:"prefix"`
		} `json:"ip-addresses"`
	}
	if err := a.Execute(ctx, "guest-network-get-interfaces", nil, &answer); err != nil {
		return nil, err
	}
	ifs := make([]Interface, 0, len(answer))
	for _, in := range answer {
		i := Interface{Name: printable(in.Name)}
		if mac, err := units.ParseMAC(in.MAC); err == nil {
			i.MAC = mac
		}
		for _, p := range in.Addrs {
			addr, err := netip.ParseAddr(p.Addr)
			if prefix := netip.PrefixFrom(addr.WithZone(""), p.Prefix); err == nil && prefix.IsValid() {
				i.Addrs = append(i.Addrs, prefix)
			}
		}
		ifs = append(ifs, i)
	}
	return ifs, nil
}

// Addresses gives the addresses by which the host may reach the NIC with this MAC, IPv4 first, each group in the guest's order. Left out are
// loopback, link-local and multicast addresses. A bond or bridge inside the guest carries the MAC of its NIC and is found, too.
func Addresses(ifs []Interface, mac units.MAC) []netip.Addr {
	var v4, v6 []netip.Addr
	for _, i := range ifs {
		if i.MAC != mac || mac.IsZero() {
			continue
		}
		for _, p := range i.Addrs {
			switch a := p.Addr().Unmap(); {
			case !a.IsGlobalUnicast():
			case a.Is4():
				v4 = append(v4, a)
			default:
				v6 = append(v6, a)
			}
		}
	}
	return append(v4, v6...)
}
