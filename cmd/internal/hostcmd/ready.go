package hostcmd

import (
	"context"
	"fmt"
	"net/netip"
	"time"

	"kvmctl/configs"
	"kvmctl/internal/ping"
	"kvmctl/vm"
)

// signCheck makes the check for a guest's sign of readiness. said gives in words what was seen, once the check was content; close ends
// the use of what the check holds open.
func (a *app) signCheck(s *configs.Site, h *vm.Host, name string, sign vm.Ready) (check vm.Check, said func() string, close func(), err error) {
	nothing := func() {}
	switch sign.Kind {
	case vm.ReadyAgent:
		return h.CheckAgent(name), func() string { return "answers by its agent" }, nothing, nil
	case vm.ReadyTCP:
		var at netip.AddrPort
		check = func(ctx context.Context) (err error) {
			at, err = a.connect(ctx, s, h, name, sign.Port)
			return err
		}
		return check, func() string { return "answers at " + at.String() }, nothing, nil
	case vm.ReadyPing:
		var at netip.Addr
		check = func(ctx context.Context) (err error) {
			at, err = a.ping(ctx, s, h, name)
			return err
		}
		return check, func() string { return "answers a ping at " + at.String() }, nothing, nil
	case vm.ReadyConsole:
		re, err := sign.Regexp()
		if err != nil {
			return nil, nil, nil, err
		}
		w := h.WatchConsole(name, re)
		check = func(ctx context.Context) error {
			if h.SeenReady(name, sign) { // what it said long ago is no longer on the console
				return nil
			}
			return w.Check(ctx)
		}
		return check, func() string { return "said so on its console" }, w.Close, nil
	}
	return h.CheckRunning(name), func() string { return "is running" }, nothing, nil
}

// pingTime bounds one echo.
const pingTime = time.Second

// ping tries each address that the guest may have and gives the one that answered.
func (a *app) ping(ctx context.Context, s *configs.Site, h *vm.Host, name string) (netip.Addr, error) {
	addrs, err := a.addresses(ctx, s, h, name)
	if err != nil {
		return netip.Addr{}, err
	}
	var last error
	for _, addr := range addrs {
		if err := ping.Once(ctx, addr, pingTime); err != nil {
			last = fmt.Errorf("%s: %w", addr, err)
			continue
		}
		return addr, nil
	}
	return netip.Addr{}, last
}
