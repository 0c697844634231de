package vm

import (
	"context"
	"fmt"
	"strings"

	"kvmctl/internal/units"
)

// Upgrade is a guest's move to the newest machine version of the installed QEMU: what the guest would see of it.
type Upgrade struct {
	Old, New string // machine versions; the same: there is nothing to do
	ABI      ABI    // as it stays but for the machine and the headroom
	Seen     []Seen // properties of the guest's devices and CPU that change

	Memory units.Size // the headroom before; ABI has the new one, which is that of a guest that starts for the first time
	CPUs   int
}

// Nothing tells that the guest would see nothing.
func (u *Upgrade) Nothing() bool {
	return u.Old == u.New && u.Memory == u.ABI.Memory && u.CPUs == u.ABI.CPUs
}

// ExactMachineError says that vm.toml names the machine version.
type ExactMachineError struct{ Name, Machine, Newest string }

func (e *ExactMachineError) Error() string { return "vm.toml names exactly " + e.Machine }

// Hint says how such a one is changed.
func (e *ExactMachineError) Hint() string {
	return fmt.Sprintf("kvmctl set %s machine=%s", e.Name, e.Newest)
}

// Refused marks the error as a refusal: the admin's word counts.
func (e *ExactMachineError) Refused() bool { return true }

// NeverStartedError says that a guest has no machine version yet.
type NeverStartedError struct{}

func (*NeverStartedError) Error() string {
	return "it was never started: its first start takes the newest"
}

// PlanUpgrade works out what a guest would see of the newest machine version, and changes nothing.
func (h *Host) PlanUpgrade(ctx context.Context, spec *Spec) (*Upgrade, error) {
	abi, err := loadABI(h.ABILock(spec.Name))
	if err != nil {
		return nil, err
	}
	if abi == nil {
		return nil, &NeverStartedError{}
	}
	version, err := FindQEMU(ctx, h.QEMU, h.QEMUCache())
	if err != nil {
		return nil, err
	}
	kind := "q35"
	if abi.isPC() {
		kind = "pc"
	}
	u := &Upgrade{Old: abi.Machine, New: version.Machine(kind), ABI: *abi}
	if spec.Machine != "q35" && spec.Machine != "pc" {
		return nil, &ExactMachineError{spec.Name, spec.Machine, u.New}
	}
	u.ABI.Machine, u.ABI.Memory, u.ABI.CPUs = u.New, spec.MemoryMax, spec.CPUsMax
	room := h.withHeadroom(abi, spec.Name, nil)
	u.Memory, u.CPUs = room.Memory, room.CPUs
	if u.Old == u.New {
		return u, nil
	}
	u.Seen, err = compareMachines(ctx, h.QEMU, u.Old, u.New, spec)
	return u, err
}

// Upgrade gives a guest that does not run the newest machine version. The old ABI lock is kept beside the new one. The caller holds the
// guest's lock.
func (h *Host) Upgrade(u *Upgrade, name string) error {
	if u.Nothing() {
		return nil
	}
	old, err := LoadABI(h.ABILock(name))
	if err != nil {
		return err
	}
	if err := saveABI(h.ABILockOf(name, old.Machine), nil, *old); err != nil {
		return fmt.Errorf("keep the old ABI lock: %w", err)
	}
	return saveABI(h.ABILock(name), old, u.ABI)
}

// drivers are the devices that a guest's command line has, each once, in its order.
func drivers(spec *Spec) []string {
	all := []string{"virtio-serial-pci", "virtio-balloon-pci", "virtio-rng-pci", "pvpanic-pci", "VGA", "qemu-xhci"}
	add := func(d string) {
		if !strings.Contains(strings.Join(all, " ")+" ", d+" ") {
			all = append(all, d)
		}
	}
	for _, d := range spec.Disks {
		switch d.Bus {
		case BusSCSI:
			add("virtio-scsi-pci")
		case BusVirtio:
			add("virtio-blk-pci")
		case BusSATA:
		}
	}
	for _, n := range spec.NICs {
		add(nicDevice(n.Model))
	}
	return all
}
