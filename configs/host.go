package configs

import (
	"fmt"
	"net/netip"
	"path/filepath"
	"time"

	"kvmctl/configs/strict"
	"kvmctl/internal/units"
	"kvmctl/netbridge"
	"kvmctl/vm"
)

// Host is what kvm.toml says, every default filled in.
type Host struct {
	Root         string     // in front of every path; "" is the machine's own root
	UIDBase      int        // a guest's uid is this plus its number
	QEMU         string     // absolute path of qemu-system-x86_64
	RecorderSize units.Size // tmpfs of a guest's flight recorder
	ConsoleSize  units.Size // tmpfs of a guest's console log
	HistorySize  units.Size // history.jsonl is rotated at this size
	// ShutdownBudget is the time in which all guests are stopped when the host goes down; 0: what their own times add up to.
	ShutdownBudget time.Duration
	Bridges        []netbridge.Bridge // in the file's order
	Defaults       Defaults
	Hooks          vm.Hooks // for every guest, around the guest's own
	// BridgesUnknown: the file could not be read that far, so a NIC's bridge cannot be missed.
	BridgesUnknown bool
}

// Defaults are what a guest takes where its own file says nothing.
type Defaults struct {
	Accel       vm.Accel
	StopTimeout time.Duration
	VNCListen   netip.Addr
}

// DefaultHost is the host without a kvm.toml.
func DefaultHost() Host {
	return Host{
		UIDBase:      70000,
		QEMU:         "/usr/bin/qemu-system-x86_64",
		RecorderSize: 256 * units.KiB,
		ConsoleSize:  4 * units.MiB,
		HistorySize:  units.MiB,
		Defaults: Defaults{
			Accel:       vm.AccelAuto,
			StopTimeout: 30 * time.Second,
			VNCListen:   netip.AddrFrom4([4]byte{127, 0, 0, 1}),
		},
		Hooks: vm.Hooks{Timeout: hookTime},
	}
}

// hookTime is a hook's time where no file says another.
const hookTime = 30 * time.Second

// defaultMTU is Ethernet's, in bytes.
const defaultMTU = 1500

// ParseHost reads a kvm.toml. machineID makes the bridges' default MACs this machine's own. What is wrong comes back as
// problems, with the defaults in its place. Host.Root is left empty.
func ParseHost(file string, text []byte, machineID string) (Host, Problems) {
	h := DefaultHost()
	d := strict.Parse(file, text, hostSchema())
	if d.Tree == nil {
		h.BridgesUnknown = true
		return h, d.Problems
	}
	var raw rawHost
	strict.Bind(d, hostSchema(), &raw)
	strict.Set(&h.UIDBase, raw.UIDBase)
	strict.Set(&h.QEMU, raw.QEMU)
	strict.Set(&h.RecorderSize, raw.RecorderSize)
	strict.Set(&h.ConsoleSize, raw.ConsoleSize)
	strict.Set(&h.HistorySize, raw.HistorySize)
	strict.SetTime(&h.ShutdownBudget, raw.ShutdownBudget)
	strict.SetAs(&h.Defaults.Accel, raw.Defaults.Accel)
	strict.SetTime(&h.Defaults.StopTimeout, raw.Defaults.StopTimeout)
	strict.Set(&h.Defaults.VNCListen, raw.Defaults.VNCListen)
	fillHooks(&h.Hooks, &raw.Hooks, filepath.Dir(file))
	h.BridgesUnknown = d.Bad["bridge"]
	for _, b := range raw.Bridges {
		if b.Name != nil {
			h.Bridges = append(h.Bridges, bridgeOf(b, machineID))
		}
	}
	checkHost(d, &raw, machineID)
	d.Problems.Sort()
	return h, d.Problems
}

func bridgeOf(raw rawBridge, machineID string) netbridge.Bridge {
	b := netbridge.Bridge{Name: *raw.Name}
	strict.Set(&b.Uplink, raw.Uplink)
	if raw.Address != nil {
		b.Keep, b.Address = raw.Address.Keep, raw.Address.Prefix
	}
	if raw.MAC != nil {
		b.MAC = raw.MAC.MAC
	}
	// With kept addresses the LAN goes on to know the host by its uplink's MAC.
	if b.MAC.IsZero() && !b.Keep {
		b.MAC = units.DeriveMAC(machineID, "bridge", b.Name)
	}
	if b.Uplink == "" {
		b.MTU = defaultMTU
	}
	strict.Set(&b.MTU, raw.MTU)
	strict.Set(&b.STP, raw.STP)
	strict.Set(&b.VLANFiltering, raw.VLANFiltering)
	return b
}

// checkHost finds what no single value shows.
func checkHost(d *strict.Document, raw *rawHost, machineID string) {
	// Guests get uids from uid_base on; 65534 is nobody's and 65535 is -1 in 16 bits.
	if u := raw.UIDBase; u != nil && *u > 65535-10000 && *u <= 65535 {
		d.Value("uid_base", fmt.Sprintf("uid_base %d: the uids behind it reach 65534 (nobody)", *u), "uid_base = 70000")
	}
	if raw.QEMU != nil && !filepath.IsAbs(*raw.QEMU) {
		d.Value("qemu", fmt.Sprintf("qemu wants an absolute path, got %q", *raw.QEMU), `qemu = "/usr/bin/qemu-system-x86_64"`)
	}
	checkListen(d, "defaults.vnc_listen", raw.Defaults.VNCListen)
	names, macs, addresses := strict.Firsts[string]{}, strict.Firsts[units.MAC]{}, strict.Firsts[netip.Addr]{}
	for i, b := range raw.Bridges {
		path := strict.Element("bridge", i)
		if b.Name == nil {
			if !d.Bad[path+".name"] {
				d.Value(path, "a [[bridge]] without a name", `name = "br0"`)
			}
			continue
		}
		if why := checkBridgeName(*b.Name); why != "" {
			d.Value(path+".name", fmt.Sprintf("bad bridge name %q: %s", *b.Name, why), "")
		}
		if line, ok := names.Taken(d, *b.Name, path+".name"); ok {
			d.Value(path+".name", fmt.Sprintf("bridge %q is declared twice: line %d has it too", *b.Name, line), "")
			continue
		}
		if !d.Bad[path+".mac"] {
			at := path + ".mac"
			if b.MAC == nil || b.MAC.MAC.IsZero() {
				at = path + ".name" // derived: the name is what makes it
			}
			mac := bridgeOf(b, machineID).MAC
			if line, ok := macs.Taken(d, mac, at); ok && !mac.IsZero() {
				d.Value(at, fmt.Sprintf("bridge %q has the MAC address %s of the bridge in line %d", *b.Name, mac, line), `mac = "auto"`)
			}
		}
		if a := b.Address; a != nil && !a.Keep {
			checkBridgeAddress(d, path+".address", a.Prefix)
			if line, ok := addresses.Taken(d, a.Prefix.Addr(), path+".address"); ok {
				d.Value(path+".address", fmt.Sprintf("bridge %q has the address %s of the bridge in line %d", *b.Name, a.Prefix.Addr(), line), "")
			}
		}
	}
	checkUplinks(d, raw.Bridges)
}

func checkBridgeAddress(d *strict.Document, path string, p netip.Prefix) {
	a := p.Addr()
	one := ""
	if next := p.Masked().Addr().Next(); next.IsValid() && p.Contains(next) {
		one = fmt.Sprintf("address = %q", netip.PrefixFrom(next, p.Bits()))
	}
	switch {
	case a.IsUnspecified(), a.IsMulticast(), a.IsLoopback(), p.Bits() == 0:
		d.Value(path, fmt.Sprintf("%s is no address for a bridge", p), "")
	case p.Bits() < a.BitLen()-1 && a == p.Masked().Addr():
		d.Value(path, fmt.Sprintf("%s is the network itself, not the host's address in it", p), one)
	case a.Is4() && p.Bits() < 31 && !p.Contains(a.Next()):
		d.Value(path, fmt.Sprintf("%s is the network's broadcast address", p), one)
	}
}

func checkListen(d *strict.Document, path string, a *netip.Addr) {
	if a != nil && a.IsMulticast() {
		d.Value(path, fmt.Sprintf("%s is a multicast address: nothing can listen there", a), strict.Last(path)+` = "127.0.0.1"`)
	}
}
