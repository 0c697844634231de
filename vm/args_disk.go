package vm

import (
	"fmt"
	"strconv"
)

// blockFile is the lowest node of an image: a descriptor of ours, opened by QEMU through its fdset.
type blockFile struct {
	Driver   string     `json:"driver"`
	NodeName string     `json:"node-name"`
	Filename string     `json:"filename"`
	ReadOnly bool       `json:"read-only"`
	Discard  string     `json:"discard,omitempty"`
	Cache    blockCache `json:"cache"`
}

type blockFormat struct {
	Driver   string     `json:"driver"`
	NodeName string     `json:"node-name"`
	File     string     `json:"file"`
	Backing  *string    `json:"backing,omitempty"` // explicit: QEMU must never open a path that an image names
	ReadOnly bool       `json:"read-only"`
	Discard  string     `json:"discard,omitempty"`
	Cache    blockCache `json:"cache"`
}

type blockCache struct {
	Direct  bool `json:"direct"`
	NoFlush bool `json:"no-flush"`
}

func cacheOf(mode string) blockCache {
	return blockCache{Direct: mode == "none", NoFlush: mode == "unsafe"}
}

func (b *builder) disks() {
	if b.usesSCSI() {
		b.device(b.onBus(newOpt("virtio-scsi-pci").set("id", scsiController), slotSCSI))
	}
	for i, d := range b.spec.Disks {
		b.disk(i, d)
	}
}

func (b *builder) usesSCSI() bool {
	for _, d := range b.spec.Disks {
		if d.Bus == BusSCSI {
			return true
		}
	}
	return false
}

// disk renders an image from the bottom of its chain up, then the device on top.
func (b *builder) disk(i int, d Disk) {
	chain := b.w.Chains[i]
	below := "" // the node that the next one backs on
	for n := len(chain) - 1; n >= 0; n-- {
		readOnly := n > 0 || d.ReadOnly
		set := b.imageFDs(i, n, readOnly)
		discard := ""
		if d.Discard && !readOnly {
			discard = "unmap"
		}
		file := blockFile{Driver: "file", NodeName: fmt.Sprintf("disk%d.%d.file", i, n), Filename: set,
			ReadOnly: readOnly, Discard: discard, Cache: cacheOf(d.Cache)}
		b.add("-blockdev", jsonArg(file))
		format := blockFormat{Driver: chain[n].Format, NodeName: fmt.Sprintf("disk%d.%d", i, n), File: file.NodeName,
			ReadOnly: readOnly, Discard: discard, Cache: cacheOf(d.Cache)}
		if below != "" {
			format.Backing = &below
		}
		b.add("-blockdev", jsonArg(format))
		below = format.NodeName
	}
	b.device(b.withBoot(b.diskDevice(i, d, below), BootDisk, i))
}

// imageFDs registers an image's descriptors as one set and gives the set's path.
func (b *builder) imageFDs(disk, layer int, readOnly bool) string {
	first := fdDiskRO(disk, layer)
	if !readOnly {
		first = fdDisk(disk, layer)
		b.arg("-add-fd", newOpt("").set("fd", b.w.fd(first)).set("set", b.w.fd(first)))
	}
	b.arg("-add-fd", newOpt("").set("fd", b.w.fd(fdDiskRO(disk, layer))).set("set", b.w.fd(first)))
	return b.w.fdset(first)
}

func (b *builder) diskDevice(i int, d Disk, node string) *opt {
	return b.diskDeviceAs(fmt.Sprintf("disk%d", i), d, node)
}

// diskDeviceAs gives the device on top of a disk's image an id, which the guest does not see.
func (b *builder) diskDeviceAs(id string, d Disk, node string) *opt {
	at := b.abi.diskOf(d)
	slot := at.Slot
	var o *opt
	switch d.Bus {
	case BusSCSI:
		o = newOpt("scsi-hd").set("id", id).set("drive", node).set("bus", "scsi0.0").set("scsi-id", strconv.Itoa(slot))
	case BusSATA:
		o = b.onIDE(newOpt("ide-hd").set("id", id).set("drive", node), slot)
	default:
		o = b.onBusOrPort(newOpt("virtio-blk-pci").set("id", id).set("drive", node), slot, at.Port)
	}
	return o.set("serial", at.Serial).on("write-cache", d.Cache != "writethrough")
}

// onIDE places a device on AHCI (a bus per port) or on the two IDE channels of pc (two units each).
func (b *builder) onIDE(o *opt, slot int) *opt {
	if b.abi.isPC() {
		return o.set("bus", "ide."+strconv.Itoa(slot/2)).set("unit", strconv.Itoa(slot%2))
	}
	return o.set("bus", "ide."+strconv.Itoa(slot))
}

// cdroms fill AHCI or IDE from its end, so that a disk that comes later does not move them.
func (b *builder) cdroms() {
	last := maxSATA - 1
	if b.abi.isPC() {
		last = maxIDE - 1
	}
	for i, c := range b.spec.CDROMs {
		o := newOpt("ide-cd").set("id", fmt.Sprintf("cd%d", i))
		if c.Image != "" {
			set := b.w.fdset(fdCD(i))
			b.arg("-add-fd", newOpt("").set("fd", b.w.fd(fdCD(i))).set("set", b.w.fd(fdCD(i))))
			node := fmt.Sprintf("cd%d.file", i)
			b.add("-blockdev", jsonArg(blockFile{Driver: "file", NodeName: node, Filename: set, ReadOnly: true}))
			b.add("-blockdev", jsonArg(blockFormat{Driver: "raw", NodeName: fmt.Sprintf("cd%d.0", i), File: node, ReadOnly: true}))
			o.set("drive", fmt.Sprintf("cd%d.0", i))
		}
		b.device(b.withBoot(b.onIDE(o, last-i), BootCDROM, i))
	}
	if b.spec.Firmware == FirmwareUEFI {
		b.firmware()
	}
}

// firmware gives OVMF its code, read only, and the guest's own variable store.
func (b *builder) firmware() {
	b.arg("-add-fd", newOpt("").set("fd", b.w.fd(fdFirmware)).set("set", b.w.fd(fdFirmware)))
	b.add("-blockdev", jsonArg(blockFile{Driver: "file", NodeName: "firmware", Filename: b.w.fdset(fdFirmware), ReadOnly: true}))
	b.arg("-add-fd", newOpt("").set("fd", b.w.fd(fdNVRAM)).set("set", b.w.fd(fdNVRAM)))
	b.arg("-add-fd", newOpt("").set("fd", b.w.fd(fdNVRAMRO)).set("set", b.w.fd(fdNVRAM)))
	b.add("-blockdev", jsonArg(blockFile{Driver: "file", NodeName: "nvram", Filename: b.w.fdset(fdNVRAM)}))
}
