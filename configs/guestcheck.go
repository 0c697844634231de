package configs

import (
	"errors"
	"fmt"
	"path/filepath"
	"regexp"
	"strings"
	"sync"

	"kvmctl/configs/strict"
	"kvmctl/internal/nearest"
	"kvmctl/internal/units"
	"kvmctl/vm"
)

var machineType = sync.OnceValue(func() *regexp.Regexp {
	return regexp.MustCompile(`^(q35|pc|pc-(q35|i440fx)-[0-9]{1,3}\.[0-9]{1,3}(\.[0-9]{1,3})?)$`)
})

// Most devices of a kind: the ports of the guest's buses.
const (
	mostDisks  = 16
	mostCDROMs = 4
	mostNICs   = 8
)

// checkGuest finds what no single value shows. It says nothing of values that already have a problem.
func checkGuest(d *strict.Document, raw *rawGuest, s *vm.Spec, host Host) {
	checkMachine(d, raw, s)
	checkBoot(d, raw)
	checkAfter(d, raw.After, s.Name)
	checkReady(d, raw, s)
	checkVNC(d, &raw.VNC, s.VNC)
	checkDisks(d, raw, s)
	checkNICs(d, s, host)
	if a := raw.Guest.Address; a != nil && (a.IsUnspecified() || a.IsMulticast() || a.IsLoopback()) {
		d.Value("guest.address", fmt.Sprintf("%s is no address of a guest", a), "")
	}
	checkQEMUArgs(d, raw.QEMUArgs)
	checkLimits(d, &raw.Limits, s)
}

// checkVNC finds keys of [vnc] of which one makes the other void.
func checkVNC(d *strict.Document, raw *rawVNC, v vm.VNC) {
	checkListen(d, "vnc.listen", raw.Listen)
	if !v.Socket || d.Bad["vnc.socket"] {
		return
	}
	void := func(key, why string) { d.Key("vnc."+key, key+" beside socket = true: "+why, "socket = false") }
	switch {
	case raw.Display != nil && !d.Bad["vnc.display"] && !v.Enabled:
		void("display", `"none" is no screen`)
	case raw.Display != nil && !d.Bad["vnc.display"] && !v.Auto:
		void("display", "a unix socket has no number")
	}
	if raw.Listen != nil {
		void("listen", "a unix socket has no address")
	}
	if raw.TLS != nil {
		void("tls", "nothing of a unix socket leaves the host")
	}
}

func checkMachine(d *strict.Document, raw *rawGuest, s *vm.Spec) {
	memoryOK := !d.Bad["memory"]
	if memoryOK && s.Memory%units.MiB != 0 {
		memoryOK = false
		up := (s.Memory/units.MiB + 1) * units.MiB
		d.Value("memory", fmt.Sprintf("memory %s is no multiple of 1M", s.Memory), fmt.Sprintf("memory = %q", up))
	}
	if raw.MemoryMax != nil && memoryOK {
		growth := s.MemoryMax - s.Memory
		switch {
		case growth < 0:
			d.Value("memory_max", fmt.Sprintf("memory_max %s is less than memory %s", s.MemoryMax, s.Memory),
				fmt.Sprintf("memory_max = %q", defaultMemoryMax(s.Memory)))
		case growth%memoryBlock != 0:
			up := s.Memory + (growth/memoryBlock+1)*memoryBlock
			d.Value("memory_max", fmt.Sprintf("memory_max %s is not memory %s plus a multiple of %s", s.MemoryMax, s.Memory, memoryBlock),
				fmt.Sprintf("memory_max = %q", up))
		}
	}
	if raw.CPUsMax != nil && !d.Bad["cpus"] && s.CPUsMax < s.CPUs {
		d.Value("cpus_max", fmt.Sprintf("cpus_max %d is less than cpus %d", s.CPUsMax, s.CPUs),
			fmt.Sprintf("cpus_max = %d", defaultCPUsMax(s.CPUs)))
	}
	if raw.Machine != nil && !machineType().MatchString(s.Machine) {
		fix := ""
		if n, ok := nearest.Find(s.Machine, []string{"q35", "pc"}); ok {
			fix = fmt.Sprintf("did you mean %q?", n)
		}
		d.Value("machine", fmt.Sprintf(`machine wants "q35", "pc" or a version such as "pc-q35-7.2", got %q`, s.Machine), fix)
	}
	if raw.Kernel == nil && !d.Bad["kernel"] {
		if raw.Initrd != nil {
			d.Key("initrd", "initrd without a kernel", `kernel = "vmlinuz"`)
		}
		if raw.Cmdline != nil {
			d.Key("cmdline", "cmdline without a kernel", `kernel = "vmlinuz"`)
		}
	}
}

func checkBoot(d *strict.Document, raw *rawGuest) {
	if raw.Boot != nil && len(raw.Boot) == 0 && !d.Bad["boot"] {
		d.Value("boot", "boot is empty: the guest could boot from nothing", `boot = ["disk", "cdrom"]`)
	}
	seen := map[string]bool{}
	for i, b := range raw.Boot {
		if seen[b] && b != "" {
			d.Value(strict.Element("boot", i), fmt.Sprintf("boot has %q twice", b), "")
		}
		seen[b] = true
	}
	if seen["network"] && len(raw.NICs) == 0 && !d.Bad["nic"] {
		d.Value("boot", `boot has "network", but the guest has no [[nic]]`, "")
	}
}

func checkAfter(d *strict.Document, after []string, self string) {
	seen := map[string]bool{}
	for i, name := range after {
		switch {
		case name == "": // could not be read
		case name == self:
			d.Value(strict.Element("after", i), fmt.Sprintf("after names %s itself", self), "")
		case seen[name]:
			d.Value(strict.Element("after", i), fmt.Sprintf("after names %s twice", name), "")
		}
		seen[name] = true
	}
}

// checkReady refuses a sign that the guest could never give.
func checkReady(d *strict.Document, raw *rawGuest, s *vm.Spec) {
	if raw.Ready == nil {
		if raw.ReadyTime != nil && !d.Bad["ready"] {
			d.Key("ready_timeout", "ready_timeout without a ready", `ready = "agent"`)
		}
		return
	}
	if _, err := vm.ParseReady(*raw.Ready); err != nil {
		fix := ""
		if unknown := new(vm.UnknownReadyError); errors.As(err, &unknown) {
			kind, arg, _ := strings.Cut(unknown.Text, ":")
			if n, ok := nearest.Find(kind, []string{"agent", "ping", "tcp", "console"}); ok {
				fix = fmt.Sprintf("did you mean %q?", strings.TrimSuffix(n+":"+arg, ":"))
			}
		}
		d.Value("ready", "ready: "+err.Error(), fix)
		return
	}
	switch {
	case s.Ready.Kind == vm.ReadyAgent && !s.Guest.Agent:
		d.Value("ready", "ready is \"agent\", but [guest] has agent = false", "")
	case s.Ready.NeedsAddress() && len(s.NICs) == 0 && !s.Guest.Address.IsValid() && !d.Bad["nic"] && !d.Bad["guest.address"]:
		d.Value("ready", fmt.Sprintf("ready is %q, but the guest has neither a [[nic]] nor an address", s.Ready), "")
	}
}

func checkDisks(d *strict.Document, raw *rawGuest, s *vm.Spec) {
	type use struct {
		path     string
		writable bool
	}
	uses := map[string]use{}
	claim := func(path, image string, writable bool) {
		image = filepath.Clean(image)
		first, ok := uses[image]
		if !ok {
			uses[image] = use{path, writable}
			return
		}
		if first.writable || writable {
			line, _ := d.Position(first.path)
			d.Value(path, fmt.Sprintf("%s is in use twice: line %d has it too, and one of them writes", image, line), "")
		}
	}
	sata := 0
	for i, disk := range s.Disks {
		path := strict.Element("disk", i)
		if raw.Disks[i].Image == nil {
			if !d.Bad[path+".image"] {
				d.Value(path, "a [[disk]] without an image", `image = "disk.qcow2"`)
			}
		} else {
			claim(path+".image", disk.Image, !disk.ReadOnly)
		}
		if disk.Size%512 != 0 {
			d.Value(path+".size", fmt.Sprintf("disk.size %s is no multiple of 512 bytes", disk.Size),
				fmt.Sprintf("size = %q", (disk.Size/512+1)*512))
		}
		if disk.Bus == vm.BusSATA {
			sata++
		}
	}
	for i, cd := range s.CDROMs {
		if cd.Image != "" {
			claim(strict.Element("cdrom", i)+".image", cd.Image, false)
		}
	}
	atMost(d, "disk", len(s.Disks), mostDisks)
	atMost(d, "cdrom", len(s.CDROMs), mostCDROMs)
	ports := 6 // of q35's AHCI
	if s.Machine == "pc" || strings.HasPrefix(s.Machine, "pc-i440fx") {
		ports = 4 // two IDE channels
	}
	if sata > 0 && sata+len(s.CDROMs) > ports && len(s.CDROMs) <= mostCDROMs {
		d.Value("disk", fmt.Sprintf("%d SATA disks and CD drives, but a machine %q has %d ports for them", sata+len(s.CDROMs), s.Machine, ports), `bus = "scsi"`)
	}
}

func checkNICs(d *strict.Document, s *vm.Spec, host Host) {
	atMost(d, "nic", len(s.NICs), mostNICs)
	macs := strict.Firsts[units.MAC]{}
	for i, nic := range s.NICs {
		path := strict.Element("nic", i)
		switch {
		case nic.Bridge != "":
			checkDeclared(d, path+".bridge", nic.Bridge, host)
		case !d.Bad[path+".bridge"]:
			name := "br0"
			if len(host.Bridges) > 0 {
				name = host.Bridges[0].Name
			}
			d.Value(path, "a [[nic]] without a bridge", fmt.Sprintf("bridge = %q", name))
		}
		if nic.Queues > 1 && nic.Model != "virtio" && !d.Bad[path+".model"] {
			d.Value(path+".queues", fmt.Sprintf("nic.queues %d: a NIC of model %q has one queue", nic.Queues, nic.Model), "queues = 1")
		}
		checkNIC(d, path, nic, host)
		if nic.MAC.IsZero() {
			continue
		}
		if line, ok := macs.Taken(d, nic.MAC, path+".mac"); ok {
			d.Value(path+".mac", fmt.Sprintf("nic.mac %s is also in line %d", nic.MAC, line), `mac = "auto"`)
		}
		for _, b := range host.Bridges {
			if b.MAC == nic.MAC {
				d.Value(path+".mac", fmt.Sprintf("nic.mac %s is that of the bridge %q", nic.MAC, b.Name), `mac = "auto"`)
			}
		}
	}
}

func checkDeclared(d *strict.Document, path, bridge string, host Host) {
	if host.BridgesUnknown {
		return
	}
	names := make([]string, len(host.Bridges))
	for i, b := range host.Bridges {
		if names[i] = b.Name; b.Name == bridge {
			return
		}
	}
	if why := checkBridgeName(bridge); why != "" {
		d.Value(path, fmt.Sprintf("bad bridge name %q: %s", bridge, why), "")
		return
	}
	file := host.Root + configDir + "/kvm.toml"
	fix := fmt.Sprintf(`printf '\n[[bridge]]\nname = "%s"\n' >>%s`, bridge, strict.ShellWord(file))
	if n, ok := nearest.Find(bridge, names); ok {
		fix = fmt.Sprintf("did you mean %q? else: %s", n, fix)
	}
	d.Value(path, fmt.Sprintf("no [[bridge]] %q is declared in %s", bridge, file), fix)
}

func atMost(d *strict.Document, table string, n, most int) {
	if n > most {
		d.Value(strict.Element(table, most), fmt.Sprintf("%d [[%s]] tables: a guest has at most %d", n, table, most), "")
	}
}
