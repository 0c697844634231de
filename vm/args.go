package vm

import (
	"fmt"
	"net/netip"
	"path/filepath"
	"strconv"
	"strings"

	"kvmctl/internal/units"
)

// Sandbox is QEMU's seccomp policy for every guest. It cannot be combined with -daemonize, which dies under spawn=deny.
const Sandbox = "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny"

// vncSearch is how many displays an automatic search tries beyond its first.
const vncSearch = 99

// Target is where a guest is going to run: what Args needs beyond the guest itself.
type Target struct {
	QEMU    string // path of the binary
	Accel   Accel  // AccelKVM or AccelTCG: the choice is made
	Pidfile string
	Display int // where an automatic search for a VNC display begins
}

// Args gives QEMU's whole command line for a guest, argv[0] included. It is pure: the same values give the same line.
func Args(spec *Spec, abi *ABI, w *Wiring, t Target) []string {
	b := &builder{spec: spec, abi: abi, w: w, t: t}
	b.identity()
	b.machine()
	b.memory()
	b.monitors()
	b.boot()
	b.platformDevices()
	b.disks()
	b.cdroms()
	b.nics()
	b.screen()
	b.argv = append(b.argv, spec.QEMUArgs...)
	return b.argv
}

type builder struct {
	spec *Spec
	abi  *ABI
	w    *Wiring
	t    Target
	argv []string
}

func (b *builder) add(args ...string) { b.argv = append(b.argv, args...) }

func (b *builder) arg(flag string, o *opt) { b.add(flag, o.String()) }

func (b *builder) device(o *opt) { b.arg("-device", o) }

// onBus puts a device at a slot of the root bus.
func (b *builder) onBus(o *opt, slot int) *opt {
	bus := "pcie.0"
	if b.abi.isPC() {
		bus = "pci.0"
	}
	return o.set("bus", bus).set("addr", fmt.Sprintf("0x%02x", slot))
}

// onBusOrPort puts a device at a slot of the root bus, or behind a root port, 1 to 8, where there is one slot.
func (b *builder) onBusOrPort(o *opt, slot, port int) *opt {
	if port == 0 {
		return b.onBus(o, slot)
	}
	return o.set("bus", fmt.Sprintf("port%d", port-1))
}

func (b *builder) identity() {
	b.add(b.t.QEMU)
	b.arg("-name", newOpt("").set("guest", b.spec.Name).on("debug-threads", true))
	b.add("-nodefaults", "-no-user-config", "-S")
	b.add("-uuid", b.abi.UUID)
	b.add("-pidfile", b.t.Pidfile)
	b.add("-sandbox", Sandbox)
	// Without -no-shutdown QEMU ends with its guest; the recorder keeps the reason.
	b.add("-action", "shutdown=poweroff,panic=exit-failure,reboot=reset")
	b.arg("-smbios", newOpt("type=1").set("manufacturer", b.abi.Headers[0]).set("product", b.abi.Headers[1]).set("serial", b.abi.UUID))
}

func (b *builder) machine() {
	m := newOpt(escape(b.abi.Machine)).set("accel", string(b.t.Accel)).on("vmport", false).on("dump-guest-core", false)
	if b.spec.Firmware == FirmwareUEFI {
		m.set("pflash0", "firmware").set("pflash1", "nvram")
	}
	b.arg("-machine", m)
	cpu := "host"
	if b.t.Accel == AccelTCG {
		cpu = "max,la57=off" // five-level paging only costs time under emulation
	}
	b.add("-cpu", cpu)
	b.arg("-smp", newOpt(strconv.Itoa(b.spec.CPUs)).set("sockets", "1").set("cores", strconv.Itoa(b.abi.CPUs)).
		set("threads", "1").set("maxcpus", strconv.Itoa(b.abi.CPUs)))
	// Suspended guests cannot be woken by anything that we offer.
	pm := "ICH9-LPC"
	if b.abi.isPC() {
		pm = "PIIX4_PM"
	}
	b.add("-global", pm+".disable_s3=1", "-global", pm+".disable_s4=1")
	base := "utc"
	if b.spec.Guest.Profile == "windows" {
		base = "localtime"
	}
	b.arg("-rtc", newOpt("").set("base", base).set("driftfix", "slew"))
}

// memory gives the guest its RAM and the headroom to grow into, which has to be in the first command line.
func (b *builder) memory() {
	m := newOpt("").set("size", kib(b.spec.Memory))
	headroom := (b.abi.Memory - b.spec.Memory) / MemoryBlock * MemoryBlock
	if headroom > 0 {
		m.set("maxmem", kib(b.spec.Memory+headroom))
	}
	b.arg("-m", m)
	b.add("-overcommit", "mem-lock=off")
	if headroom > 0 {
		b.arg("-object", newOpt("memory-backend-ram").set("id", "mem1").set("size", kib(headroom)).on("reserve", false))
		b.device(b.onBus(newOpt("virtio-mem-pci").set("id", memoryDevice).set("memdev", "mem1").set("requested-size", "0"), slotMemory))
	}
}

func kib(s units.Size) string { return strconv.FormatInt(int64(s/units.KiB), 10) + "k" }

// monitors wires the flight recorder, the tool's monitor and people's monitor, the console and the agent's channel.
func (b *builder) monitors() {
	for _, log := range []string{fdRecorderLog, fdConsoleLog} {
		b.arg("-add-fd", newOpt("").set("fd", b.w.fd(log)).set("set", b.w.fd(log)))
	}
	b.arg("-chardev", newOpt("socket").set("id", "rec").set("fd", b.w.fd(fdRecorder)).
		set("logfile", b.w.fdset(fdRecorderLog)).on("logappend", true))
	b.add("-mon", "chardev=rec,mode=control")
	b.listener("qmp", fdQMP)
	b.add("-mon", "chardev=qmp,mode=control")
	b.listener("mon", fdMonitor)
	b.add("-mon", "chardev=mon,mode=control")
	b.arg("-chardev", newOpt("socket").set("id", "con").set("fd", b.w.fd(fdConsole)).on("server", true).on("wait", false).
		set("logfile", b.w.fdset(fdConsoleLog)).on("logappend", true))
	b.device(newOpt("isa-serial").set("id", "serial0").set("chardev", "con"))
	b.device(b.onBus(newOpt("virtio-serial-pci").set("id", "vserial0"), slotSerial))
	if b.spec.Guest.Agent {
		b.listener(agentChardev, fdAgent)
		b.device(newOpt("virtserialport").set("id", agentPort).set("bus", "vserial0.0").set("nr", "1").set("chardev", agentChardev).
			set("name", "org.qemu.guest_agent.0"))
	}
}

const (
	memoryDevice   = "virtiomem0"
	scsiController = "scsi0"
	agentPort      = "agent0"
	agentChardev   = "agent"
)

func (b *builder) listener(id, fd string) {
	b.arg("-chardev", newOpt("socket").set("id", id).set("fd", b.w.fd(fd)).on("server", true).on("wait", false))
}

func (b *builder) boot() {
	b.add("-boot", "strict=on")
	if b.spec.Kernel != "" {
		b.add("-kernel", b.w.procPath(fdKernel))
		if b.spec.Initrd != "" {
			b.add("-initrd", b.w.procPath(fdInitrd))
		}
		if b.spec.Cmdline != "" {
			b.add("-append", b.spec.Cmdline)
		}
	}
}

// bootIndex gives the n-th device of a class its place in the boot order; 0 means "never".
func (b *builder) bootIndex(class BootDevice, n int) int {
	for i, c := range b.spec.Boot {
		if c == class {
			return 1 + i*32 + n
		}
	}
	return 0
}

func (b *builder) withBoot(o *opt, class BootDevice, n int) *opt {
	if i := b.bootIndex(class, n); i > 0 {
		o.set("bootindex", strconv.Itoa(i))
	}
	return o
}

func (b *builder) platformDevices() {
	b.device(b.onBus(newOpt("virtio-balloon-pci").set("id", "balloon0").on("deflate-on-oom", true).on("free-page-reporting", true), slotBalloon))
	b.add("-object", "rng-builtin,id=rng0")
	b.device(b.onBus(newOpt("virtio-rng-pci").set("id", "vrng0").set("rng", "rng0"), slotRNG))
	b.device(b.onBus(newOpt("pvpanic-pci").set("id", "pvpanic0"), slotPanic))
	if b.abi.isPC() {
		return // every slot of pci.0 takes a hotplugged device
	}
	for i := range rootPorts {
		o := newOpt("pcie-root-port").set("id", fmt.Sprintf("port%d", i)).set("bus", "pcie.0").
			set("addr", fmt.Sprintf("0x%02x.%d", slotPorts, i)).set("chassis", strconv.Itoa(i+1))
		if i == 0 {
			o.on("multifunction", true)
		}
		b.device(o)
	}
}

func (b *builder) screen() {
	vga := slotVGA
	if b.abi.isPC() {
		vga = slotVGAOnPC
	}
	b.device(b.onBus(newOpt("VGA").set("id", "video0"), vga))
	b.device(b.onBus(newOpt("qemu-xhci").set("id", "usb0"), slotUSB))
	b.add("-device", "usb-tablet,id=tablet0,bus=usb0.0")
	v := b.spec.VNC
	if !v.Enabled {
		b.add("-display", "none")
		return
	}
	o := newOpt(vncAddr(v.Listen) + ":" + strconv.Itoa(v.Display))
	switch {
	case v.Socket:
		o = newOpt("unix:" + b.w.procPath(fdVNCDir) + "/" + vncSockName)
	case v.Auto: // QEMU's own search is atomic: it binds what it finds
		o = newOpt(vncAddr(v.Listen)+":"+strconv.Itoa(b.t.Display)).set("to", strconv.Itoa(b.t.Display+vncSearch))
	}
	if v.TLS != "" {
		b.arg("-object", newOpt("tls-creds-x509").set("id", "vnctls").set("dir", filepath.Join(filepath.Dir(b.t.Pidfile), tlsDirName)).
			set("endpoint", "server").on("verify-peer", false))
		o.set("tls-creds", "vnctls")
	}
	if v.PasswordFile != "" {
		o.on("password", true)
	}
	b.arg("-vnc", o)
}

func vncAddr(a netip.Addr) string {
	if a.Is6() {
		return "[" + a.String() + "]"
	}
	return a.String()
}

// CommandLine renders argv as a line that a shell reads back unchanged.
func CommandLine(argv []string) string {
	quoted := make([]string, len(argv))
	for i, a := range argv {
		quoted[i] = shellQuote(a)
	}
	return strings.Join(quoted, " ")
}

func shellQuote(s string) string {
	if s != "" && strings.Trim(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_=+./:,@%") == "" {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}
