package vm

import (
	"fmt"
	"slices"
	"strconv"
)

// Layer is one file of a disk's image: the first is the image itself, the others its backing files, which are only read.
type Layer struct {
	Path   string
	Format string
}

// Wiring says which open file a guest gets under which descriptor. It is a value: a dry run prints it, a start opens the same
// files in the same order.
type Wiring struct {
	names  []string // descriptor FirstFD+i carries names[i]
	Chains [][]Layer
	fds    map[string]string // of a device that is plugged in: the names under which QEMU got them
}

// FirstFD is the first descriptor that QEMU inherits beyond stdin, stdout and stderr.
const FirstFD = 3

// Names of the descriptors. Disks, CDs and NICs add a number: disk0.0 is image 0 (read-write), disk0.0.ro the same read-only.
const (
	fdRecorder    = "recorder"
	fdRecorderLog = "recorder.log"
	fdQMP         = "qmp"
	fdMonitor     = "monitor"
	fdConsole     = "console"
	fdConsoleLog  = "console.log"
	fdAgent       = "agent"
	fdKernel      = "kernel"
	fdInitrd      = "initrd"
	fdVNCDir      = "vnc.dir"
	fdFirmware    = "firmware"
	fdNVRAM       = "nvram"
	fdNVRAMRO     = "nvram.ro"
)

func fdDisk(disk, layer int) string   { return fmt.Sprintf("disk%d.%d", disk, layer) }
func fdDiskRO(disk, layer int) string { return fmt.Sprintf("disk%d.%d.ro", disk, layer) }
func fdCD(n int) string               { return fmt.Sprintf("cd%d", n) }
func fdNIC(n, queue int) string       { return fmt.Sprintf("nic%d.%d", n, queue) }
func fdVHost(n, queue int) string     { return fmt.Sprintf("nic%d.%d.vhost", n, queue) }

// Wire plans the descriptors of spec, whose disks consist of the given chains of files.
func Wire(spec *Spec, chains [][]Layer) *Wiring {
	w := &Wiring{Chains: chains}
	w.add(fdRecorder, fdRecorderLog, fdQMP, fdMonitor, fdConsole, fdConsoleLog)
	if spec.Guest.Agent {
		w.add(fdAgent)
	}
	if spec.Kernel != "" {
		w.add(fdKernel)
	}
	if spec.Initrd != "" {
		w.add(fdInitrd)
	}
	if spec.Firmware == FirmwareUEFI {
		w.add(fdFirmware, fdNVRAM, fdNVRAMRO)
	}
	if v := spec.VNC; v.Enabled {
		if v.Socket {
			w.add(fdVNCDir)
		}
		if v.TLS != "" {
			w.add(tlsFiles...)
		}
	}
	for i, d := range spec.Disks {
		for layer := range chains[i] {
			if layer == 0 && !d.ReadOnly {
				w.add(fdDisk(i, 0))
			}
			w.add(fdDiskRO(i, layer))
		}
	}
	for i, c := range spec.CDROMs {
		if c.Image != "" {
			w.add(fdCD(i))
		}
	}
	for i, n := range spec.NICs {
		for q := range n.Queues {
			w.add(fdNIC(i, q))
			if n.VHost == VHostOn {
				w.add(fdVHost(i, q))
			}
		}
	}
	return w
}

func (w *Wiring) add(names ...string) { w.names = append(w.names, names...) }

// fd gives the descriptor of a name that Wire planned.
func (w *Wiring) fd(name string) string {
	if given, ok := w.fds[name]; ok {
		return given
	}
	return strconv.Itoa(w.number(name))
}

func (w *Wiring) number(name string) int {
	for i, n := range w.names {
		if n == name {
			return FirstFD + i
		}
	}
	panic("vm: descriptor " + name + " was not planned")
}

// fdset is the path under which QEMU opens a descriptor that -add-fd gave it; a set carries the number of its first descriptor.
func (w *Wiring) fdset(name string) string { return "/dev/fdset/" + w.fd(name) }

// procPath is for what QEMU re-opens by path: kernel and initramfs (openKernel).
func (w *Wiring) procPath(name string) string { return "/proc/self/fd/" + w.fd(name) }

// Names gives what each descriptor is, the first one being FirstFD.
func (w *Wiring) Names() []string { return slices.Clone(w.names) }
