package vm

import (
	"fmt"
	"slices"
	"strconv"

	"kvmctl/internal/units"
)

// pinner gives a guest's devices their places. Those that have one keep it.
type pinner struct {
	*ABI
	spec *Spec
	live *Running // set: the guest runs, and only what is behind a root port can be added (on pc: anywhere)
}

// PinLive is Pin for a guest that runs: what is new to it goes behind a free root port, where it stays at later starts.
func PinLive(old *ABI, spec *Spec, live *Running) (ABI, error) {
	a := *old
	a.NICs, a.Disks = slices.Clone(old.NICs), slices.Clone(old.Disks)
	p := pinner{ABI: &a, spec: spec, live: live}
	if err := p.pin(); err != nil {
		return ABI{}, err
	}
	return a, nil
}

func (p pinner) pin() error {
	if err := p.pinNICs(); err != nil {
		return err
	}
	return p.pinDisks()
}

// hot tells whether a new device has to go behind a root port.
func (p pinner) hot() bool { return p.live != nil && !p.isPC() }

func (p pinner) pinNICs() error {
	old := p.settleCards(len(p.spec.NICs)).NICs
	chosen := alignNICs(old, p.spec.NICs)
	var kept []int
	p.NICs = make([]ABINIC, len(p.spec.NICs))
	for i, k := range chosen {
		if k >= 0 {
			p.NICs[i] = old[k]
			kept = append(kept, k)
		}
	}
	for k, n := range old {
		if !slices.Contains(kept, k) {
			n.Gone = true
			p.NICs = append(p.NICs, n)
		}
	}
	for i, n := range p.spec.NICs {
		x := &p.NICs[i]
		x.Gone, x.Bridge = false, n.Bridge
		if !n.MAC.IsZero() {
			x.MAC = n.MAC
		}
		if x.MAC.IsZero() {
			x.MAC = p.newMAC(i)
		}
		placed := x.Slot > 0 || x.Port > 0
		if placed && p.hot() && x.Port == 0 && !p.live.hasNIC(x.Slot, 0) {
			placed = false // its place on the root bus can be had at a start only
		}
		if placed && p.isPC() && x.Port > 0 {
			placed = false
		}
		if placed {
			continue
		}
		x.Slot, x.Port = 0, 0
		var ok bool
		if p.hot() {
			x.Port, ok = p.freePort()
			if !ok {
				return &NoPortError{fmt.Sprintf("nic %d", i)}
			}
			continue
		}
		if x.Slot, ok = p.freeCardSlot(); !ok {
			return fmt.Errorf("nic %d: at most %d network cards", i, slotNICEnd-slotNIC)
		}
	}
	return nil
}

// alignNICs tells for each card of vm.toml which pinned one it is; -1: a new one. A card is known by the MAC that vm.toml gives it, else
// by its position; where the number changed, by its bridge.
func alignNICs(pinned []ABINIC, nics []NIC) []int {
	chosen := make([]int, len(nics))
	taken := make([]bool, len(pinned))
	take := func(i, k int) { chosen[i], taken[k] = k, true }
	find := func(i int, fits func(ABINIC) bool) {
		if chosen[i] >= 0 {
			return
		}
		for k, x := range pinned {
			if !taken[k] && fits(x) {
				take(i, k)
				return
			}
		}
	}
	left := len(nics)
	for i, n := range nics {
		chosen[i] = -1
		if find(i, func(x ABINIC) bool { return !n.MAC.IsZero() && x.MAC == n.MAC }); chosen[i] >= 0 {
			left--
		}
	}
	there := 0
	for k, x := range pinned {
		if !x.Gone && !taken[k] {
			there++
		}
	}
	if left != there {
		for i, n := range nics {
			find(i, func(x ABINIC) bool { return !x.Gone && x.Bridge == n.Bridge })
		}
	}
	for i := range nics {
		find(i, func(x ABINIC) bool { return !x.Gone })
	}
	for i, n := range nics {
		find(i, func(x ABINIC) bool { return x.Bridge == n.Bridge })
	}
	return chosen
}

// newMAC derives an address that no card of the guest has or had.
func (p pinner) newMAC(i int) units.MAC {
	for n := i; ; n++ {
		mac := units.DeriveMAC(p.UUID, strconv.Itoa(n))
		if !slices.ContainsFunc(p.NICs, func(x ABINIC) bool { return x.MAC == mac }) {
			return mac
		}
	}
}

func (p pinner) freeCardSlot() (int, bool) {
	used := func(slot int) bool { return slices.ContainsFunc(p.NICs, func(x ABINIC) bool { return x.Slot == slot }) }
	for slot := slotNIC; slot < slotNICEnd; slot++ {
		if !used(slot) {
			return slot, true
		}
	}
	for k, x := range p.NICs { // one that is gone makes room
		if x.Gone && x.Slot > 0 {
			p.ABI.NICs = slices.Delete(p.NICs, k, k+1)
			return x.Slot, true
		}
	}
	return 0, false
}

// freePort gives a root port, 1 to 8, behind which nothing sits or sat; else one whose device is gone.
func (p pinner) freePort() (int, bool) {
	var busy, had []int
	if p.live != nil {
		busy = append(busy, p.live.Ports...)
	}
	for _, n := range p.NICs {
		if n.Gone {
			had = append(had, n.Port)
		} else {
			busy = append(busy, n.Port)
		}
	}
	for _, d := range p.Disks {
		if p.named(d.Image) {
			busy = append(busy, d.Port)
		} else {
			had = append(had, d.Port)
		}
	}
	for port := 1; port <= rootPorts; port++ {
		if !slices.Contains(busy, port) && !slices.Contains(had, port) {
			return port, true
		}
	}
	for port := 1; port <= rootPorts; port++ {
		if !slices.Contains(busy, port) {
			p.ABI.NICs = slices.DeleteFunc(p.NICs, func(x ABINIC) bool { return x.Gone && x.Port == port })
			p.ABI.Disks = slices.DeleteFunc(p.Disks, func(x ABIDisk) bool { return x.Port == port })
			return port, true
		}
	}
	return 0, false
}

func (p pinner) named(image string) bool {
	return slices.ContainsFunc(p.spec.Disks, func(d Disk) bool { return d.Image == image })
}

func (p pinner) pinDisks() error {
	for i, d := range p.spec.Disks {
		k := slices.IndexFunc(p.Disks, func(x ABIDisk) bool { return x.Image == d.Image && x.Bus == d.Bus })
		switch {
		case k >= 0:
			if p.lostPlace(p.Disks[k]) {
				p.Disks[k].Slot, p.Disks[k].Port = 0, 0
				if err := p.placeDisk(k, i); err != nil {
					return err
				}
			}
		case p.live == nil && i < len(p.Disks) && p.Disks[i].Bus == d.Bus && !p.named(p.Disks[i].Image):
			k = i
			p.Disks[i].Image = d.Image // renamed or moved
		default:
			p.ABI.Disks = append(p.Disks, ABIDisk{Image: d.Image, Bus: d.Bus, Slot: -1})
			k = len(p.Disks) - 1
			if err := p.placeDisk(k, i); err != nil {
				return err
			}
		}
		if k = slices.IndexFunc(p.Disks, func(x ABIDisk) bool { return x.Image == d.Image && x.Bus == d.Bus }); p.Disks[k].Serial == "" {
			p.Disks[k].Serial = p.newSerial(i)
		}
		if d.Bus == BusSATA && p.diskOf(d).Slot >= p.portsFor(len(p.spec.CDROMs)) {
			return fmt.Errorf("disk %d: its place on bus %q is the CD drive's; another bus may have one", i, d.Bus)
		}
	}
	return nil
}

// lostPlace tells of a virtio disk whose place cannot be had: on the root bus while the guest runs without it, or behind a port of a
// machine without ports.
func (p pinner) lostPlace(x ABIDisk) bool {
	if x.Bus != BusVirtio {
		return false
	}
	return p.hot() && x.Port == 0 && !p.live.hasImage(x.Image) || p.isPC() && x.Port > 0
}

// placeDisk gives the k-th pinned disk, the i-th of vm.toml, a place.
func (p pinner) placeDisk(k, i int) error {
	x := p.Disks[k]
	if x.Bus == BusVirtio && p.hot() {
		port, ok := p.freePort()
		if !ok {
			return &NoPortError{fmt.Sprintf("disk %d", i)}
		}
		k = slices.IndexFunc(p.Disks, func(y ABIDisk) bool { return y.Image == x.Image && y.Bus == x.Bus }) // others may have made room
		p.Disks[k].Slot, p.Disks[k].Port = 0, port
		return nil
	}
	slot, err := p.freeSlot(x.Bus)
	if err != nil {
		return fmt.Errorf("disk %d: %w", i, err)
	}
	p.Disks[k].Slot = slot
	return nil
}

func (p pinner) freeSlot(bus DiskBus) (int, error) {
	first, end := p.places(bus)
	if bus == BusSATA {
		end = p.portsFor(len(p.spec.CDROMs))
	}
	for slot := first; slot < end; slot++ {
		if !slices.ContainsFunc(p.Disks, func(x ABIDisk) bool { return x.Bus == bus && x.Port == 0 && x.Slot == slot }) {
			return slot, nil
		}
	}
	return 0, fmt.Errorf("no place is left on bus %q (%d at most); another bus may have one", bus, end-first)
}

// newSerial gives a disk the serial number of its first position, or the next that is free.
func (p pinner) newSerial(i int) string {
	for n := i; ; n++ {
		serial := "disk" + strconv.Itoa(n)
		if !slices.ContainsFunc(p.Disks, func(x ABIDisk) bool { return x.Serial == serial }) {
			return serial
		}
	}
}

// NoPortError says that every root port is in use: nothing more can be added while the guest runs.
type NoPortError struct{ Device string }

func (e *NoPortError) Error() string {
	return fmt.Sprintf("%s: all %d root ports are in use", e.Device, rootPorts)
}
