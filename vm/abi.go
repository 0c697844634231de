package vm

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"strings"

	"kvmctl/internal/atomicfile"
	"kvmctl/internal/units"
)

// ABI is what a guest may rely on to stay as it was at its first start: its identity, its machine and where each device sits.
// It is kept beside the guest's images, in `abi.lock`.
type ABI struct {
	Version int        `json:"version"` // of this file
	UUID    string     `json:"uuid"`
	UID     int        `json:"uid_number"` // uid = gid = uid_base + this
	Machine string     `json:"machine"`    // with its version: pc-q35-7.2
	Headers []string   `json:"smbios"`     // manufacturer, product
	NICs    []ABINIC   `json:"nics"`
	Disks   []ABIDisk  `json:"disks"`
	Memory  units.Size `json:"memory_max"` // the headroom of the first start, which decides the guest's memory map; 0: not known
	CPUs    int        `json:"cpus_max"`   // 0: not known
}

// ABINIC pins a network card; its place in the list is its place in vm.toml, behind those come the cards that are gone.
type ABINIC struct {
	MAC    units.MAC `json:"mac"`
	Slot   int       `json:"slot"`             // PCI slot on the root bus; 0: it is behind a root port
	Port   int       `json:"port,omitempty"`   // 1 … 8: root port of a card that was added while the guest ran
	Bridge string    `json:"bridge,omitempty"` // tells which of several cards was removed
	Gone   bool      `json:"gone,omitempty"`   // not in vm.toml any more; one that comes back finds its place
}

// ABIDisk pins a disk by its image. Entries of disks that are gone stay, so that one that comes back finds its place.
type ABIDisk struct {
	Image  string  `json:"image"`
	Bus    DiskBus `json:"bus"`
	Slot   int     `json:"slot"`             // PCI slot for virtio, unit number for scsi and sata
	Port   int     `json:"port,omitempty"`   // 1 … 8: root port of a virtio disk that was added while the guest ran
	Serial string  `json:"serial,omitempty"` // what the guest's /dev/disk/by-id shows
}

const abiVersion = 1

// PCI slots of the root bus. Everything that exists from the start has a fixed slot; disks and NICs get theirs at first sight.
const (
	slotVGA     = 0x01 // on pc PIIX3 sits there
	slotVGAOnPC = 0x1c // where pc has no root ports
	slotSerial  = 0x02 // virtio-serial: the agent's channel
	slotMemory  = 0x03 // virtio-mem
	slotBalloon = 0x04
	slotRNG     = 0x05
	slotSCSI    = 0x06
	slotUSB     = 0x07
	slotNIC     = 0x08 // … 0x0f
	slotNICEnd  = 0x10
	slotDisk    = 0x10 // … 0x1a
	slotDiskEnd = 0x1b
	slotPanic   = 0x1b
	slotPorts   = 0x1c // 8 root ports, functions 0–7; 0x1d–0x1f belong to q35 itself
	rootPorts   = 8
	maxSATA     = 6  // ports of q35's AHCI
	maxIDE      = 4  // units of pc's IDE
	maxSCSI     = 64 // targets we hand out
)

// Pin gives the ABI of spec on the given machine version: what old already pinned stays, what is new gets the first free place.
// A disk is known by its image; one whose image was renamed keeps the place if it stands at the same position in vm.toml and the
// old image is named no more. qemuMachine is the exact machine version that "q35" or "pc" means today.
func Pin(old *ABI, spec *Spec, qemuMachine, uuid string) (ABI, error) {
	a := ABI{Version: abiVersion, UUID: uuid, Machine: qemuMachine, Memory: spec.MemoryMax, CPUs: spec.CPUsMax,
		Headers: []string{"kvmctl", "Virtual Machine"}}
	if old != nil {
		a = *old
		a.NICs = slices.Clone(old.NICs)
		a.Disks = slices.Clone(old.Disks)
		a.Memory, a.CPUs = headroom(old, spec)
	}
	if spec.Machine != "q35" && spec.Machine != "pc" {
		a.Machine = spec.Machine // the admin names one exactly
	}
	if most := a.portsFor(0); len(spec.CDROMs) > most {
		return ABI{}, fmt.Errorf("%d CD drives: at most %d", len(spec.CDROMs), most)
	}
	p := pinner{ABI: &a, spec: spec}
	if err := p.pin(); err != nil {
		return ABI{}, err
	}
	return a, nil
}

// Room gives the memory and the CPUs that a guest may grow to while it runs, in the machine that it has from its first start on.
func (a *ABI) Room(spec *Spec) (memory units.Size, cpus int) {
	if a == nil {
		return spec.MemoryMax, spec.CPUsMax
	}
	return headroom(a, spec)
}

// headroom keeps that of the first start: a default that follows memory or cpus makes no other machine. More than it there is where the
// guest needs it or its file names it.
func headroom(old *ABI, spec *Spec) (memory units.Size, cpus int) {
	memory, cpus = old.Memory, old.CPUs
	if spec.Memory > memory || spec.MemoryMax != DefaultMemoryMax(spec.Memory) {
		memory = max(memory, spec.MemoryMax)
	}
	if spec.CPUs > cpus || spec.CPUsMax != DefaultCPUsMax(spec.CPUs) {
		cpus = max(cpus, spec.CPUsMax)
	}
	return memory, cpus
}

// withHeadroom fills in what an older kvmctl did not write down: from the command line of the machine that is meant or runs, else from what
// the last start asked for. What is not known then is new.
func (h *Host) withHeadroom(old *ABI, name string, argv []string) *ABI {
	if old == nil || old.Memory > 0 && old.CPUs > 0 {
		return old
	}
	a := *old
	if argv == nil {
		argv, _ = h.StartedArgv(name) // it does not run
	}
	if z, err := sizeOf(argv); err == nil {
		a.Memory, a.CPUs = z.MemoryMax, z.CPUsMax
	} else if rec, err := h.LoadRecord(name); err == nil {
		a.Memory, a.CPUs = rec.Started.MemoryMax, rec.Started.CPUsMax
	}
	return &a
}

// portsFor gives the number of SATA (on pc: IDE) places that so many CD drives, which sit at the end, leave to disks.
func (a *ABI) portsFor(cdroms int) int {
	if a.isPC() {
		return maxIDE - cdroms
	}
	return maxSATA - cdroms
}

// places gives the range of a bus's places; end is the first that is none.
func (a *ABI) places(bus DiskBus) (first, end int) {
	switch bus {
	case BusVirtio:
		return slotDisk, slotDiskEnd
	case BusSCSI:
		return 0, maxSCSI
	case BusSATA:
		return 0, a.portsFor(0)
	}
	return 0, 0
}

// diskOf gives the pinned place of a disk; Pin made sure that there is one.
func (a *ABI) diskOf(d Disk) ABIDisk {
	for _, x := range a.Disks {
		if x.Image == d.Image && x.Bus == d.Bus {
			return x
		}
	}
	panic("vm: disk " + d.Image + " was not pinned")
}

// isPC reports whether the machine is of the i440fx kind, which has no PCI Express.
func (a *ABI) isPC() bool { return strings.HasPrefix(a.Machine, "pc-i440fx") || a.Machine == "pc" }

// maxABI bounds the file, in bytes; a real one has some hundreds.
const maxABI = 256 << 10

// LoadABI reads a guest's ABI lock; fs.ErrNotExist before the first start.
func LoadABI(path string) (*ABI, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxABI+1))
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", path, err)
	}
	if len(b) > maxABI {
		return nil, fmt.Errorf("read %s: it is larger than %d bytes", path, maxABI)
	}
	var a ABI
	if err := json.Unmarshal(b, &a); err != nil {
		return nil, fmt.Errorf("read %s: %w", path, err)
	}
	if a.Version != abiVersion {
		return nil, fmt.Errorf("read %s: version %d is not one that this kvmctl knows", path, a.Version)
	}
	if err := a.check(); err != nil {
		return nil, fmt.Errorf("read %s: %w", path, err)
	}
	return &a, nil
}

// check refuses what Pin never wrote: places out of range or given twice would end as a QEMU that does not start.
func (a *ABI) check() error {
	if a.UID < 1 || a.Machine == "" || a.UUID == "" {
		return errors.New("uuid, uid_number or machine is missing")
	}
	if a.Memory < 0 || a.Memory > mostMemory || a.CPUs < 0 || a.CPUs > MostCPUs {
		return fmt.Errorf("no machine has room for %v and %d CPUs", a.Memory, a.CPUs)
	}
	if len(a.Headers) != 2 {
		return errors.New("smbios: want manufacturer and product")
	}
	ports := map[int]bool{}
	onPort := func(slot, port int) bool { // a place behind a root port that nothing else has
		ok := slot == 0 && port > 0 && port <= rootPorts && !ports[port]
		ports[port] = true
		return ok
	}
	for i, n := range a.NICs {
		if n.MAC.IsZero() {
			return fmt.Errorf("nic %d: no mac", i)
		}
		onBus := n.Port == 0 && n.Slot >= slotNIC && n.Slot < slotNICEnd &&
			!slices.ContainsFunc(a.NICs[:i], func(x ABINIC) bool { return x.Slot == n.Slot })
		if !onBus && !onPort(n.Slot, n.Port) {
			return fmt.Errorf("nic %d: no card sits at slot %d%s", i, n.Slot, portName(n.Port))
		}
	}
	for i, d := range a.Disks {
		first, end := a.places(d.Bus)
		onBus := d.Port == 0 && d.Slot >= first && d.Slot < end &&
			!slices.ContainsFunc(a.Disks[:i], func(x ABIDisk) bool { return x.Bus == d.Bus && x.Port == 0 && x.Slot == d.Slot })
		if !onBus && (d.Bus != BusVirtio || !onPort(d.Slot, d.Port)) {
			return fmt.Errorf("disk %q: no %s disk sits at %d%s", d.Image, d.Bus, d.Slot, portName(d.Port))
		}
	}
	return nil
}

func portName(port int) string {
	if port == 0 {
		return ""
	}
	return fmt.Sprintf(" of root port %d", port)
}

// saveABI writes the lock durably if it differs from what is there.
func saveABI(path string, old *ABI, a ABI) error {
	b, err := json.MarshalIndent(a, "", "  ")
	if err != nil {
		return err
	}
	if old != nil {
		if was, err := json.MarshalIndent(*old, "", "  "); err == nil && string(was) == string(b) {
			return nil
		}
	}
	return atomicfile.Write(path, append(b, '\n'), 0o644)
}

// loadABI is LoadABI with nil for "none yet".
func loadABI(path string) (*ABI, error) {
	a, err := LoadABI(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	return a, err
}
