package hostcmd

import (
	"context"
	"fmt"
	"os"
	"slices"
	"time"

	"kvmctl/configs"
	"kvmctl/internal/flock"
	"kvmctl/internal/units"
	"kvmctl/netbridge"
	"kvmctl/vm"
)

// netLockWait bounds the wait for other kvmctls that change networks; each takes milliseconds.
const netLockWait = 20 * time.Second

// network joins vm and netbridge, which do not know each other: it makes the declared bridges that a guest needs and opens its TAPs.
func (a *app) network(s *configs.Site) func(context.Context, *vm.Spec, int) ([][]*os.File, error) {
	return func(ctx context.Context, spec *vm.Spec, uid int) (taps [][]*os.File, err error) {
		k, err := netbridge.NewKernel()
		if err != nil {
			return nil, err
		}
		defer k.Close()
		defer func() {
			if err != nil {
				closeTAPs(taps)
			}
		}()
		// Held until the TAPs are ports: a bridge without ports may be taken back by whoever made it and failed.
		wait, cancel := context.WithTimeout(ctx, netLockWait)
		defer cancel()
		l, err := flock.Wait(wait, a.layout().NetLock())
		if err != nil {
			return nil, fmt.Errorf("change the networks: %w", err)
		}
		defer l.Unlock()
		wanted := bridgesOf(s, spec)
		if _, err := netbridge.Ensure(ctx, k, wanted); err != nil {
			return nil, err
		}
		for _, n := range spec.NICs {
			mtu := 0
			for _, b := range wanted {
				if b.Name == n.Bridge {
					mtu = b.MTU
				}
			}
			files, err := k.OpenTAP(ctx, netbridge.TAP{
				Name: tapName(uid, n.Number), Alias: netbridge.TAPAlias(spec.Name, n.Number),
				Bridge: n.Bridge, Queues: n.Queues, MTU: mtu, MAC: n.MAC,
				Spoof: n.Spoof, CARP: n.CARP, VLAN: n.VLAN, Trunk: n.Trunk, Rate: n.Rate,
			})
			if err != nil {
				return taps, fmt.Errorf("nic %d: %w", n.Number, err)
			}
			taps = append(taps, files)
		}
		return taps, nil
	}
}

// tapName names a guest's TAP; nobody else's begins so.
func tapName(uid, number int) string { return fmt.Sprintf("kv%d.%d", uid, number) }

// setRate limits a running guest's TAP anew.
func setRate(ctx context.Context, uid, number int, rate units.Rate) error {
	k, err := netbridge.NewKernel()
	if err != nil {
		return err
	}
	defer k.Close()
	return k.SetRate(ctx, tapName(uid, number), rate)
}

func closeTAPs(taps [][]*os.File) {
	for _, queues := range taps {
		for _, f := range queues {
			f.Close()
		}
	}
}

// bridgesOf gives the declared bridges that a guest's NICs hang on.
func bridgesOf(s *configs.Site, spec *vm.Spec) []netbridge.Bridge {
	var wanted []netbridge.Bridge
	for _, b := range s.Host.Bridges {
		if slices.ContainsFunc(spec.NICs, func(n vm.NIC) bool { return n.Bridge == b.Name }) {
			wanted = append(wanted, b)
		}
	}
	return wanted
}
