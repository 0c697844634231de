package configs

import (
	"path/filepath"
	"slices"
	"time"

	"kvmctl/configs/strict"
	"kvmctl/internal/units"
	"kvmctl/vm"
)

// The on-disk homes of a guest, below the root.
const (
	configDir = "/etc/kvm"
	stateDir  = "/var/lib/kvm"
)

// memoryBlock is virtio-mem's step: what memory may grow by is a multiple of it.
const memoryBlock = vm.MemoryBlock

// parsed is a guest with what is needed to complain about it later, beside the others.
type parsed struct {
	after  []string // spec.After with the file's indices: an element that could not be read is empty
	spec   vm.Spec
	doc    *strict.Document
	broken bool // its own file has problems, apart from those with other guests
}

// ParseGuest reads a guest's vm.toml. file gives the place of its hooks and password file (beside it), host the root,
// the bridges and the defaults. What is wrong comes back as problems; the spec then holds what could be read.
func ParseGuest(file, name string, text []byte, host Host) (vm.Spec, Problems) {
	p := parseGuest(file, name, text, host)
	p.doc.Problems.Sort()
	return p.spec, p.doc.Problems
}

func parseGuest(file, name string, text []byte, host Host) parsed {
	d := strict.Parse(file, text, guestSchema())
	var raw rawGuest
	if d.Tree != nil {
		strict.Bind(d, guestSchema(), &raw)
	}
	spec := defaultSpec(name, host)
	fill(&spec, &raw, filepath.Dir(file), host)
	if err := CheckName(name); err != nil {
		d.At(0, "", err.Error(), hintOf(err))
	}
	if d.Tree != nil {
		checkGuest(d, &raw, &spec, host)
	}
	return parsed{spec: spec, after: raw.After, doc: d}
}

func hintOf(err error) string {
	if h, ok := err.(interface{ Hint() string }); ok {
		return h.Hint()
	}
	return ""
}

// defaultSpec is a guest whose file says nothing. MemoryMax and CPUsMax follow what is set: see headroom.
func defaultSpec(name string, host Host) vm.Spec {
	return vm.Spec{
		Name:        name,
		Memory:      512 * units.MiB,
		CPUs:        1,
		Accel:       host.Defaults.Accel,
		Machine:     "q35",
		Firmware:    vm.FirmwareBIOS,
		Boot:        []vm.BootDevice{vm.BootDisk, vm.BootCDROM},
		Order:       50,
		StopTimeout: host.Defaults.StopTimeout,
		VNC:         vm.VNC{Enabled: true, Auto: true, Listen: host.Defaults.VNCListen},
		Guest:       vm.Guest{Profile: "linux", Agent: true},
		Hooks:       vm.Hooks{Timeout: hookTime},
	}
}

func defaultDisk() vm.Disk { return vm.Disk{Format: "qcow2", Bus: vm.BusVirtio, Cache: "writeback"} }
func defaultNIC() vm.NIC   { return vm.NIC{Model: "virtio", Queues: 1} }

func defaultMemoryMax(memory units.Size) units.Size { return vm.DefaultMemoryMax(memory) }
func defaultCPUsMax(cpus int) int                   { return vm.DefaultCPUsMax(cpus) }

// fill puts what was set over the defaults.
func fill(s *vm.Spec, raw *rawGuest, beside string, host Host) {
	state := filepath.Join(host.Root+stateDir, s.Name)
	strict.Set(&s.Description, raw.Description)
	strict.Set(&s.Memory, raw.Memory)
	s.MemoryMax = defaultMemoryMax(s.Memory)
	strict.Set(&s.MemoryMax, raw.MemoryMax)
	strict.Set(&s.CPUs, raw.CPUs)
	s.CPUsMax = defaultCPUsMax(s.CPUs)
	strict.Set(&s.CPUsMax, raw.CPUsMax)
	strict.SetAs(&s.Accel, raw.Accel)
	strict.Set(&s.Machine, raw.Machine)
	strict.SetAs(&s.Firmware, raw.Firmware)
	setPath(&s.Kernel, raw.Kernel, state)
	setPath(&s.Initrd, raw.Initrd, state)
	strict.Set(&s.Cmdline, raw.Cmdline)
	if raw.Boot != nil {
		s.Boot = nil
		for _, b := range readable(raw.Boot) {
			s.Boot = append(s.Boot, vm.BootDevice(b))
		}
	}
	strict.Set(&s.Autostart, raw.Autostart)
	strict.Set(&s.Order, raw.Order)
	s.After = append(s.After, readable(raw.After)...)
	strict.SetTime(&s.StartDelay, raw.StartDelay)
	s.Ready = parseReady(raw)
	strict.SetTime(&s.StopTimeout, raw.StopTimeout)
	s.QEMUArgs = append(s.QEMUArgs, raw.QEMUArgs...)
	fillVNC(&s.VNC, &raw.VNC, beside)
	for _, r := range raw.Disks {
		d := defaultDisk()
		setPath(&d.Image, r.Image, state)
		strict.Set(&d.Size, r.Size)
		strict.Set(&d.Format, r.Format)
		strict.SetAs(&d.Bus, r.Bus)
		strict.Set(&d.Cache, r.Cache)
		strict.Set(&d.Discard, r.Discard)
		strict.Set(&d.ReadOnly, r.ReadOnly)
		s.Disks = append(s.Disks, d)
	}
	for _, r := range raw.CDROMs {
		var c vm.CDROM
		setPath(&c.Image, r.Image, state)
		s.CDROMs = append(s.CDROMs, c)
	}
	for _, r := range raw.NICs {
		n := defaultNIC()
		strict.Set(&n.Bridge, r.Bridge)
		if r.MAC != nil {
			n.MAC = r.MAC.MAC
		}
		strict.Set(&n.Model, r.Model)
		strict.Set(&n.Queues, r.Queues)
		if r.VHost != nil && *r.VHost != vm.VHostAuto.String() {
			n.VHost = vm.VHost(*r.VHost)
		}
		strict.Set(&n.VLAN, r.VLAN)
		n.Trunk = r.Trunk
		strict.Set(&n.Spoof, r.Spoof)
		n.CARP = r.CARP
		strict.Set(&n.Rate, r.Rate)
		s.NICs = append(s.NICs, n)
	}
	strict.Set(&s.Guest.Profile, raw.Guest.Profile)
	strict.Set(&s.Guest.Agent, raw.Guest.Agent)
	strict.Set(&s.Guest.Address, raw.Guest.Address)
	fillHooks(&s.Hooks, &raw.Hooks, beside)
	fillLimits(&s.Limits, &raw.Limits)
}

// defaultReadyTime is what a guest may take to be ready: a Debian guest on hardware takes 20 s, a fat Windows a minute and more.
const defaultReadyTime = 2 * time.Minute

// parseReady reads `ready` where it is set and sound; what is wrong with it, checkReady tells.
func parseReady(raw *rawGuest) (r vm.Ready) {
	if raw.Ready == nil {
		return r
	}
	r, err := vm.ParseReady(*raw.Ready)
	if err != nil {
		return vm.Ready{}
	}
	r.Timeout = defaultReadyTime
	strict.SetTime(&r.Timeout, raw.ReadyTime)
	return r
}

// readable leaves out the elements of a list that have a problem: bind made them empty.
func readable(elements []string) []string {
	return slices.DeleteFunc(slices.Clone(elements), func(s string) bool { return s == "" })
}

// fillHooks puts the hooks of a guest, or of the host, over the defaults.
func fillHooks(h *vm.Hooks, raw *rawHooks, beside string) {
	setPath(&h.PreStart, raw.PreStart, beside)
	setPath(&h.PostStart, raw.PostStart, beside)
	setPath(&h.PreStop, raw.PreStop, beside)
	setPath(&h.PostStop, raw.PostStop, beside)
	setPath(&h.OnCrash, raw.OnCrash, beside)
	strict.SetTime(&h.Timeout, raw.Timeout)
}

func fillVNC(v *vm.VNC, raw *rawVNC, beside string) {
	if d := raw.Display; d != nil {
		v.Enabled, v.Auto, v.Display = !d.None, d.Auto, d.Number
	}
	strict.Set(&v.Listen, raw.Listen)
	strict.Set(&v.Socket, raw.Socket)
	setPath(&v.PasswordFile, raw.PasswordFile, beside)
	setPath(&v.TLS, raw.TLS, beside)
}

// setPath takes an absolute path as it is and a relative one from dir.
func setPath(to *string, from *string, dir string) {
	switch {
	case from == nil || *from == "":
	case filepath.IsAbs(*from):
		*to = *from
	default:
		*to = filepath.Join(dir, *from)
	}
}
