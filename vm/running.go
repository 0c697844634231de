package vm

import (
	"slices"

	"kvmctl/internal/units"
)

// Running is what QEMU says of a guest that runs.
type Running struct {
	Base      units.Size // memory of the start
	Requested units.Size // asked of virtio-mem on top
	Plugged   units.Size // given by virtio-mem: the guest's driver took it
	Growth    units.Size // the most that virtio-mem has
	Balloon   units.Size // what the balloon leaves of Base

	CPUs   []CPU // of all that the run may have
	Disks  []RunningDisk
	CDROMs []RunningCD
	Cards  []RunningCard
	Taken  []string // names that no new device can have
	Stale  []string // block nodes that a killed kvmctl left without their device
	Sets   []int    // descriptor sets of those
	Ports  []int    // root ports, 1 to 8, behind which something sits
	SCSI   bool     // it has a SCSI controller
	PC     bool     // the machine has no root ports: every PCI slot takes a device

	VNC         bool
	VNCPassword bool // it asks for one
}

// Memory is what the guest has, as far as QEMU knows.
func (r *Running) Memory() units.Size { return min(r.Balloon, r.Base) + r.Plugged }

// Wanted is what the guest was asked to have, whether or not it took it already.
func (r *Running) Wanted() units.Size { return min(r.Balloon, r.Base) + r.Requested }

// CPUCount is how many CPUs are plugged in.
func (r *Running) CPUCount() int {
	n := 0
	for _, c := range r.CPUs {
		if c.Path != "" {
			n++
		}
	}
	return n
}

// CPU is one that is there or may be added.
type CPU struct {
	Path  string         // in QEMU's object tree; empty: not plugged in
	Type  string         // QEMU's device
	Props map[string]int // where it sits: socket-id, core-id, thread-id
}

// RunningDisk is an attached disk.
type RunningDisk struct {
	ID     string // QEMU's
	Image  string // path of its image: as vm.toml has it where it is the same file, else as the kernel has it
	Port   int    // root port, 1 to 8; 0: none
	SCSI   bool
	Serial string
	Nodes  []string // block nodes, the topmost first
	Sets   []int    // descriptor sets of its files
}

// RunningCD is a CD drive.
type RunningCD struct {
	ID     string
	Image  string // empty: no disc
	Nodes  []string
	Sets   []int
	Open   bool // its tray
	Locked bool // by the guest
}

// RunningCard is a network card.
type RunningCard struct {
	ID   string
	MAC  units.MAC
	Slot int // PCI slot on the root bus, or
	Port int // root port, 1 to 8
}

func (r *Running) hasNIC(slot, port int) bool {
	return slices.ContainsFunc(r.Cards, func(c RunningCard) bool { return c.Slot == slot && c.Port == port })
}

func (r *Running) hasImage(image string) bool {
	return slices.ContainsFunc(r.Disks, func(d RunningDisk) bool { return d.Image == image })
}

// unpluggable tells whether a disk can be taken out while the guest runs.
func (r *Running) unpluggable(d RunningDisk) bool { return d.Port > 0 || d.SCSI || r.PC }
