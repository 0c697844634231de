package vm

import (
	"net/netip"
	"time"

	"kvmctl/internal/units"
)

// Spec is a valid guest: package configs makes it from a vm.toml with every default filled in.
type Spec struct {
	Name        string
	Description string
	Memory      units.Size
	MemoryMax   units.Size // headroom for growth while running; ≥ Memory
	CPUs        int
	CPUsMax     int // headroom for growth while running; ≥ CPUs
	Accel       Accel
	Machine     string // "q35", "pc", or an exact machine version such as "pc-q35-7.2"
	Firmware    Firmware

	// Direct boot: paths of a kernel and an initramfs, and the kernel's command line. All empty: the firmware boots.
	Kernel  string
	Initrd  string
	Cmdline string

	Boot        []BootDevice // in order
	Autostart   bool
	Order       int      // lower starts earlier, stops later
	After       []string // guests that have to be ready first
	StartDelay  time.Duration
	Ready       Ready         // by what it shows that it is ready
	StopTimeout time.Duration // the guest's own time on the stop ladder

	VNC    VNC
	Disks  []Disk
	CDROMs []CDROM
	NICs   []NIC
	Guest  Guest
	Hooks  Hooks
	Limits Limits

	QEMUArgs []string // the admin's own, appended as they are; non-empty marks the guest `custom`
}

// Custom reports whether the guest runs with QEMU arguments of the admin's own.
func (s *Spec) Custom() bool { return len(s.QEMUArgs) > 0 }

// Accel is the accelerator asked for.
type Accel string

// The accelerators: AccelAuto takes KVM where the probe proves it usable, else TCG.
const (
	AccelAuto Accel = "auto"
	AccelKVM  Accel = "kvm"
	AccelTCG  Accel = "tcg"
)

// Firmware is what runs before the guest's boot loader.
type Firmware string

// The firmwares: SeaBIOS and OVMF.
const (
	FirmwareBIOS Firmware = "bios"
	FirmwareUEFI Firmware = "uefi"
)

// BootDevice is a class of devices to boot from.
type BootDevice string

// The classes of boot devices.
const (
	BootDisk    BootDevice = "disk"
	BootCDROM   BootDevice = "cdrom"
	BootNetwork BootDevice = "network"
)

// VNC is the guest's screen.
type VNC struct {
	Enabled      bool
	Auto         bool // take the first free display
	Display      int  // when not Auto: TCP port 5900+Display
	Listen       netip.Addr
	Socket       bool   // a unix socket in place of a TCP port: no display number, nothing on the network
	PasswordFile string // first line: at most 8 bytes (RFC 6143, 7.2.2: the protocol uses no more)
	TLS          string // directory with ca-cert.pem, server-cert.pem and server-key.pem; "": no TLS
}

// DiskBus is how the guest sees a disk.
type DiskBus string

// The disk buses.
const (
	BusVirtio DiskBus = "virtio"
	BusSCSI   DiskBus = "scsi" // virtio-scsi
	BusSATA   DiskBus = "sata" // AHCI on q35, IDE on pc
)

// Disk is one disk of a guest.
type Disk struct {
	Image    string     // absolute path
	Size     units.Size // of the image when `create` makes it; 0: unknown
	Format   string     // qcow2 or raw
	Bus      DiskBus
	Cache    string // none, writeback, writethrough, unsafe
	Discard  bool
	ReadOnly bool
}

// CDROM is one CD drive; an empty Image is an empty drive.
type CDROM struct {
	Image string
}

// NIC is one network card. Its TAP is made elsewhere and arrives as file descriptors; VLAN to Rate say how it is to be made.
type NIC struct {
	Bridge string
	MAC    units.MAC   `json:",omitzero"` // zero: taken from the ABI lock, where the first start derives it
	Model  string      // virtio, e1000, rtl8139
	Queues int         // ≥ 1; more than one only for virtio
	VHost  VHost       // more than off only for virtio
	VLAN   int         // id of what the guest sends without a tag; 0: the bridge's own
	Trunk  units.VLANs // what the guest sends and gets with a tag; then VLAN 0 is none
	Spoof  bool        // the guest may send from any address
	CARP   []int       // vhids (1 to 255) whose addresses it may send from as well
	Rate   units.Rate  `json:",omitzero"` // each way; 0: no limit
	Number int         // of its TAP and of its device; its position when the guest starts
}

// VHost says whether the kernel moves a NIC's frames (vhost-net) instead of QEMU.
type VHost string

// The choices for vhost-net. With VHostAuto it is used where KVM runs the guest and the device can be opened: under emulation
// QEMU would not notice code that the kernel wrote into the guest's memory.
const (
	VHostAuto VHost = ""
	VHostOn   VHost = "on"
	VHostOff  VHost = "off"
)

// String gives the word that a file has.
func (v VHost) String() string {
	if v == VHostAuto {
		return "auto"
	}
	return string(v)
}

// Guest is what the host may expect inside.
type Guest struct {
	Profile string     // linux, freebsd, windows, other
	Agent   bool       // a channel for the QEMU guest agent
	Address netip.Addr // zero: asked of the agent, else of the neighbour table
}

// Hooks are executables of the admin's, absolute paths; empty: none.
type Hooks struct {
	PreStart  string // a non-zero exit refuses the start
	PostStart string
	PreStop   string
	PostStop  string // after each end, however it came; those set at the start count
	OnCrash   string // before PostStop, after an end that nobody asked for
	Timeout   time.Duration
}
