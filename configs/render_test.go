package configs

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"kvmctl/internal/units"
	"kvmctl/netbridge"
	"kvmctl/vm"
)

func TestRenderWritesWhatDiffersFromTheDefaults(t *testing.T) {
	host := testHost()
	spec := defaultSpec("vm-olorin", host)
	spec.MemoryMax, spec.CPUsMax = defaultMemoryMax(spec.Memory), defaultCPUsMax(spec.CPUs)
	spec.Autostart = true
	spec.VNC.Auto, spec.VNC.Display = false, 1
	disk, nic := defaultDisk(), defaultNIC()
	disk.Image, disk.Size = "/var/lib/kvm/vm-olorin/disk.qcow2", 8*units.GiB
	nic.Bridge = "br0"
	spec.Disks, spec.NICs = []vm.Disk{disk}, []vm.NIC{nic}
	want := "# Guest vm-olorin. `kvmctl check vm-olorin` finds mistakes in this file.\n" +
		`# Relative paths of images and kernels are below /var/lib/kvm/vm-olorin/.
memory = "512M"
cpus = 1
autostart = true

[vnc]
display = 1 # TCP port 5901

[[disk]]
image = "disk.qcow2"
size = "8G"

[[nic]]
bridge = "br0"
`
	if diff := cmp.Diff(want, string(RenderGuest(spec, host))); diff != "" {
		t.Errorf("vm.toml (-want +got):\n%s", diff)
	}
}

// TestRenderedGuestsAreReadBackTheSame makes valid guests at random; the seed is in each failure.
func TestRenderedGuestsAreReadBackTheSame(t *testing.T) {
	for seed := range uint64(3000) {
		r := rand.New(rand.NewPCG(seed, 1))
		host := DefaultHost()
		if r.IntN(2) == 0 {
			host.Root = "/tmp/a root"
			host.Defaults = Defaults{vm.AccelTCG, 3 * time.Minute, netip.MustParseAddr("::1")}
		}
		for i := range 4 {
			name := fmt.Sprintf("br%d", i)
			host.Bridges = append(host.Bridges, netbridge.Bridge{Name: name, MAC: units.DeriveMAC(name), MTU: 1500})
		}
		spec := randomSpec(r, host)
		text := RenderGuest(spec, host)
		got, problems := ParseGuest(host.Root+"/etc/kvm/"+spec.Name+"/vm.toml", spec.Name, text, host)
		if len(problems) > 0 {
			t.Fatalf("seed %d: %v\n%s", seed, problems, text)
		}
		if diff := cmp.Diff(spec, got, compare); diff != "" {
			t.Fatalf("seed %d (-want +got):\n%s\n%s", seed, diff, text)
		}
	}
}

func randomSpec(r *rand.Rand, host Host) vm.Spec {
	one := func(words ...string) string { return words[r.IntN(len(words))] }
	flag := func() bool { return r.IntN(2) == 0 }
	text := func() string {
		return one("", "x", `quote " and \ and '`, "äöü €", "# no comment", "a = 1", "]]", "a,b", "very long "+fmt.Sprint(r.Uint64()))
	}
	serial := 0
	path := func(dir string) string {
		serial++
		return fmt.Sprintf(one(host.Root+"/var/lib/kvm/vm1/%s%d.img", "/etc/kvm/vm1/%s%d", host.Root+"/etc/kvm/vm1/%s%d", "/srv/../x/%s%d", "/dev/drbd%s%d"), dir, serial)
	}
	s := defaultSpec("vm1", host)
	s.Description = text() + one("", "\nsecond\tline")
	s.Memory = units.Size(4+r.IntN(4096)) * units.MiB
	s.MemoryMax = s.Memory + units.Size(r.IntN(100))*memoryBlock
	s.CPUs = 1 + r.IntN(20)
	s.CPUsMax = s.CPUs + r.IntN(20)
	if flag() {
		s.MemoryMax, s.CPUsMax = defaultMemoryMax(s.Memory), defaultCPUsMax(s.CPUs)
	}
	s.Accel = vm.Accel(one("auto", "kvm", "tcg"))
	s.Machine = one("q35", "pc", "pc-q35-7.2", "pc-i440fx-2.12")
	s.Firmware = vm.Firmware(one("bios", "uefi"))
	if flag() {
		s.Kernel, s.Initrd, s.Cmdline = path("k"), path("i"), text()
	}
	if flag() {
		s.Boot = []vm.BootDevice{vm.BootCDROM, vm.BootDisk}[:1+r.IntN(2)]
	}
	s.Autostart, s.Order = flag(), r.IntN(100)
	if flag() {
		s.After = []string{"vm2", "vm3"}[:1+r.IntN(2)]
	}
	s.StartDelay = time.Duration(r.IntN(3600)) * time.Second
	s.StopTimeout = time.Duration(r.Int64N(int64(time.Hour)))
	s.VNC.PasswordFile = one("", host.Root+"/etc/kvm/vm1/vnc", "/root/vnc")
	s.VNC.TLS = one("", host.Root+"/etc/kvm/vm1/tls", "/root/tls")
	switch r.IntN(4) {
	case 3:
		s.VNC.Socket, s.VNC.TLS = true, ""
	case 0:
		s.VNC.Auto, s.VNC.Display = false, r.IntN(59636)
	case 1:
		s.VNC.Auto, s.VNC.Enabled = false, false
	}
	if flag() && !s.VNC.Socket {
		s.VNC.Listen = netip.MustParseAddr(one("0.0.0.0", "::", "10.2.0.1", "fe80::1"))
	}
	for range r.IntN(4) {
		d := vm.Disk{
			Image: path("d"), Size: units.Size(r.IntN(1000)) * 512, Format: one("qcow2", "raw"), Bus: vm.DiskBus(one("virtio", "scsi")),
			Cache: one("none", "writeback", "writethrough", "unsafe"), Discard: flag(), ReadOnly: flag(),
		}
		if d.Size == 0 && flag() {
			d.Bus = vm.BusSATA
		}
		s.Disks = append(s.Disks, d)
	}
	for range r.IntN(3) {
		s.CDROMs = append(s.CDROMs, vm.CDROM{Image: one("", path("c"))})
	}
	for i := range r.IntN(4) {
		n := vm.NIC{Bridge: host.Bridges[r.IntN(4)].Name, Model: one("virtio", "e1000", "rtl8139"), Queues: 1}
		if n.Model == "virtio" {
			n.Queues = 1 + r.IntN(16)
			n.VHost = vm.VHost(one("", "on", "off"))
		}
		if flag() {
			n.MAC = units.DeriveMAC("nic", fmt.Sprint(i))
		}
		s.NICs = append(s.NICs, n)
	}
	s.Guest = vm.Guest{Profile: one("linux", "freebsd", "windows", "other"), Agent: flag()}
	if flag() {
		s.Guest.Address = netip.MustParseAddr(one("10.2.0.210", "fd00::1"))
	}
	if r.IntN(2) == 0 {
		s.Limits = vm.Limits{CPU: r.IntN(1000), CPUWeight: r.IntN(10001), Memory: vm.LeastMemoryLimit(s.Memory) + units.Size(r.IntN(1000)),
			IOWeight: r.IntN(10001), Tasks: vm.LeastTasks(s.CPUsMax) + r.IntN(100)}
	}
	s.Hooks = vm.Hooks{Timeout: time.Duration(1+r.IntN(100)) * time.Second}
	if flag() {
		s.Hooks.PreStart, s.Hooks.PostStart, s.Hooks.PreStop, s.Hooks.PostStop, s.Hooks.OnCrash = path("h"), path("h"), path("h"), path("h"), path("h")
	}
	if flag() {
		s.QEMUArgs = []string{"-rtc", "base=localtime", "-fw_cfg", text()}
	}
	if flag() {
		ready, err := vm.ParseReady(one("agent", "ping", "tcp:389", `console:^a "b" \\d+ login: $`))
		if err != nil {
			panic(err)
		}
		ready.Timeout = time.Second + time.Duration(r.Int64N(int64(time.Hour)))
		if ready.Kind == vm.ReadyConsole || ready.Kind == vm.ReadyAgent && s.Guest.Agent || ready.NeedsAddress() && len(s.NICs) > 0 {
			s.Ready = ready
		}
	}
	return s
}
