package hostcmd

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"kvmctl/internal/flock"
	"kvmctl/netbridge"
	"kvmctl/netbridge/guard"
	"kvmctl/vm"
)

func newNet(a *app) *cobra.Command {
	return family(&cobra.Command{
		Use:   "net",
		Short: "Make, show and take down the guests' networks",
		Long: `Guests hang on bridges. Those declared in kvm.toml are made when the first guest needs one, or by
net apply, and stay; one that was there before is used as it is. Guests' TAPs come and go with them.

A bridge with an uplink takes over one of the host's own interfaces. Where the host itself is
reached by that interface, a mistake would cut it off: net apply then watches over the change and
undoes it after 30 s unless net confirm says that it worked.`,
		Example: `  kvmctl net plan
  kvmctl net apply
  kvmctl net confirm
  kvmctl net show
  kvmctl net down br0`,
	}, newNetPlan(a), newNetApply(a), newNetConfirm(a), newNetShow(a), newNetDown(a), newNetRecover(a), newNetGuard(a))
}

// guardFiles gives the places of a change that is being watched.
func (a *app) guardFiles() guard.Files {
	l := a.layout()
	return guard.Files{Record: l.NetRecord(), Confirmed: l.NetConfirmed(), Last: l.NetLast(), NetLock: l.NetLock(), GuardLock: l.NetGuardLock()}
}

// openKernel opens the kernel for the guard.
func openKernel() (netbridge.Kernel, func(), error) {
	k, err := netbridge.NewKernel()
	if err != nil {
		return nil, nil, err
	}
	return k, func() { k.Close() }, nil
}

// withNetworks runs act while no other kvmctl changes networks.
func (a *app) withNetworks(ctx context.Context, act func(*netbridge.LinuxKernel) error) error {
	k, err := netbridge.NewKernel()
	if err != nil {
		return err
	}
	defer k.Close()
	for _, dir := range []string{a.layout().RunRoot(), a.layout().LibDir()} {
		if err := vm.MakeDirs(dir, 0o711); err != nil {
			return err
		}
	}
	wait, cancel := context.WithTimeout(ctx, netLockWait)
	defer cancel()
	l, err := flock.Wait(wait, a.layout().NetLock())
	if err != nil {
		return a.netBusy(err)
	}
	defer l.Unlock()
	return act(k)
}

// netBusy says who changes networks, as far as that one told.
func (a *app) netBusy(err error) error {
	if rec, _ := guard.Pending(a.guardFiles()); rec != nil {
		return fmt.Errorf("a change by %s (pid %d) is under way: %w", rec.By, rec.PID, err)
	}
	return fmt.Errorf("change the networks: %w", err)
}
