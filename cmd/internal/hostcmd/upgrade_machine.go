package hostcmd

import (
	"context"
	"fmt"
	"strconv"

	"github.com/spf13/cobra"

	"kvmctl/cmd/internal/cli"
	"kvmctl/vm"
)

type upgradeOptions struct {
	name   string
	dryRun bool
}

func newUpgradeMachine(a *app) *cobra.Command {
	var o upgradeOptions
	cmd := &cobra.Command{
		Use:   "upgrade-machine <vm> [--dry-run]",
		Short: "Give a guest the newest machine version of the installed QEMU",
		Long: `A guest keeps the machine version of its first start, so that a newer QEMU does not change its hardware, and
the room that it had then for memory and CPUs that come while it runs (memory_max, cpus_max). This gives it
the newest version, and the room that a guest of its memory and CPUs has at a first start. What the guest
would see of it is printed: the version, what of its devices and CPU would say something else, and that its
UUID, MAC and PCI addresses stay. QEMU itself is asked, on both versions and with this guest's kinds of
devices.

The guest has to be stopped. The old lock is kept beside the new one, as abi.lock.<old version>.`,
		Example: `  kvmctl upgrade-machine vm-olorin --dry-run
  kvmctl upgrade-machine vm-olorin`,
		Args:              args(cobra.ExactArgs(1)),
		ValidArgsFunction: a.completeGuest,
		RunE: func(cmd *cobra.Command, names []string) error {
			o.name = names[0]
			return a.runUpgradeMachine(cmd.Context(), o)
		},
	}
	cmd.Flags().BoolVar(&o.dryRun, "dry-run", false, "print what the guest would see and change nothing")
	return cmd
}

func (a *app) runUpgradeMachine(ctx context.Context, o upgradeOptions) error {
	const act = "upgrade the machine of"
	if err := a.needRoot(act + " a guest"); err != nil {
		return err
	}
	s, err := a.site(ctx)
	if err != nil {
		return err
	}
	g, err := a.guest(s, o.name, act)
	if err != nil {
		return err
	}
	h := a.host(s, "upgrade-machine")
	work := func(running bool) error {
		if running && !o.dryRun {
			return cli.Refused("kvmctl stop "+o.name, "it runs")
		}
		u, err := h.PlanUpgrade(ctx, &g.Spec)
		if err != nil {
			return err
		}
		if u.Nothing() {
			a.env.Talk("%s has the newest machine already: %s", o.name, u.New)
			return nil
		}
		if err := a.printUpgrade(u); err != nil || o.dryRun {
			return err
		}
		if err := h.Upgrade(u, o.name); err != nil {
			return err
		}
		a.env.Talk("%s: %s from its next start on; the old lock is %s", o.name, u.New, h.ABILockOf(o.name, u.Old))
		return nil
	}
	if o.dryRun {
		err = work(false)
	} else {
		err = h.WithLock(ctx, o.name, "upgrade-machine", work)
	}
	if err != nil {
		return permission(fmt.Errorf("cannot %s %s: %w", act, o.name, err))
	}
	return nil
}

// printUpgrade prints what a guest would see.
func (a *app) printUpgrade(u *vm.Upgrade) error {
	var rows [][]string
	if u.Old != u.New {
		rows = append(rows, []string{"machine", "version", u.Old, u.New})
	}
	if u.Memory != u.ABI.Memory {
		rows = append(rows, []string{"machine", "room for memory", u.Memory.String(), u.ABI.Memory.String()})
	}
	if u.CPUs != u.ABI.CPUs {
		rows = append(rows, []string{"machine", "room for CPUs", strconv.Itoa(u.CPUs), strconv.Itoa(u.ABI.CPUs)})
	}
	for _, x := range u.Seen {
		rows = append(rows, []string{x.Device, x.Property, x.Old, x.New})
	}
	rows = append(rows, []string{"machine", "uuid", u.ABI.UUID, "unchanged"})
	for i, n := range u.ABI.NICs {
		if !n.Gone {
			rows = append(rows, []string{fmt.Sprintf("nic %d", i), "MAC and PCI address", n.MAC.String() + " " + place(n.Slot, n.Port), "unchanged"})
		}
	}
	for i, d := range u.ABI.Disks {
		rows = append(rows, []string{fmt.Sprintf("disk %d", i), string(d.Bus) + " address", place(d.Slot, d.Port), "unchanged"})
	}
	return cli.Table(a.env.Out, []string{"DEVICE", "WHAT", "NOW", "THEN"}, rows)
}

func place(slot, port int) string {
	if port > 0 {
		return fmt.Sprintf("root port %d", port)
	}
	return fmt.Sprintf("0x%02x", slot)
}
