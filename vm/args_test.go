package vm

import (
	"flag"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"kvmctl/internal/units"
)

var update = flag.Bool("update", false, "rewrite golden files")

func mac(s string) (m units.MAC) {
	if err := m.UnmarshalText([]byte(s)); err != nil {
		panic(err)
	}
	return m
}

// plainSpec is the least that configs makes of a vm.toml.
func plainSpec(name string) *Spec {
	return &Spec{Name: name, Memory: 512 * units.MiB, MemoryMax: 2 * units.GiB, CPUs: 1, CPUsMax: 2, Accel: AccelAuto, Machine: "q35",
		Firmware: FirmwareBIOS, Boot: []BootDevice{BootDisk}, VNC: VNC{Listen: netip.MustParseAddr("127.0.0.1")}, Guest: Guest{Profile: "linux"}}
}

// argvCase is a guest and what the host says of it.
type argvCase struct {
	name    string
	accel   Accel
	display int
	change  func(*Spec)
	chains  func(*Spec) [][]Layer // nil: each disk is one file
}

var argvCases = []argvCase{
	{name: "minimal", accel: AccelTCG, change: func(s *Spec) {}},
	{name: "kvm", accel: AccelKVM, change: func(s *Spec) {}},
	{name: "no headroom", accel: AccelTCG, change: func(s *Spec) { s.MemoryMax, s.CPUsMax = s.Memory, s.CPUs }},
	{name: "direct boot", accel: AccelTCG, change: func(s *Spec) {
		s.Kernel, s.Initrd, s.Cmdline = "/boot/vmlinuz", "/boot/initrd", `console=ttyS0 init="/bin/a b",c`
	}},
	{name: "kernel without initramfs", accel: AccelTCG, change: func(s *Spec) { s.Kernel = "/boot/vmlinuz" }},
	{name: "full q35", accel: AccelKVM, change: full, chains: func(s *Spec) [][]Layer {
		return [][]Layer{
			{{"/srv/root.qcow2", "qcow2"}, {"/srv/base.qcow2", "qcow2"}, {"/srv/bottom.raw", "raw"}},
			{{"/srv/data.raw", "raw"}},
			{{"/srv/old.qcow2", "qcow2"}},
		}
	}},
	{name: "pc", accel: AccelTCG, change: func(s *Spec) {
		s.Machine = "pc"
		s.Disks = []Disk{
			{Image: "/srv/a.raw", Format: "raw", Bus: BusSATA, Cache: "writeback"},
			{Image: "/srv/b.raw", Format: "raw", Bus: BusVirtio, Cache: "writeback"},
		}
		s.CDROMs = []CDROM{{}, {Image: "/srv/debian.iso"}}
		s.NICs = []NIC{{Bridge: "br0", Model: "rtl8139", Queues: 1}}
	}},
	{name: "exact machine", accel: AccelTCG, change: func(s *Spec) { s.Machine = "pc-q35-6.2" }},
	{name: "uefi", accel: AccelKVM, change: func(s *Spec) {
		s.Firmware = FirmwareUEFI
		s.Disks = []Disk{{Image: "/srv/a.qcow2", Format: "qcow2", Bus: BusVirtio, Cache: "none", Discard: true}}
	}},
	{name: "windows", accel: AccelKVM, change: func(s *Spec) {
		s.Guest = Guest{Profile: "windows", Agent: true}
		s.Disks = []Disk{{Image: "/srv/c.qcow2", Format: "qcow2", Bus: BusSATA, Cache: "writeback"}}
		s.NICs = []NIC{{Bridge: "br0", Model: "e1000", Queues: 1}}
	}},
	{name: "vnc on ipv6 with a password", accel: AccelTCG, change: func(s *Spec) {
		s.VNC = VNC{Enabled: true, Display: 7, Listen: netip.MustParseAddr("fd00::1"), PasswordFile: "/etc/kvm/vm-olorin/vnc"}
	}},
	{name: "vhost", accel: AccelKVM, change: func(s *Spec) {
		s.NICs = []NIC{{Bridge: "br0", Model: "virtio", Queues: 1, VHost: VHostOn}, {Bridge: "br0", Model: "virtio", Queues: 2, VHost: VHostOn},
			{Bridge: "br0", Model: "virtio", Queues: 1, VHost: VHostOff}}
	}},
	{name: "vnc on a socket", accel: AccelTCG, change: func(s *Spec) {
		s.VNC = VNC{Enabled: true, Auto: true, Socket: true, Listen: netip.MustParseAddr("127.0.0.1"), PasswordFile: "/etc/kvm/vm-olorin/vnc"}
	}},
	{name: "vnc by tls where it was", accel: AccelTCG, display: 7, change: func(s *Spec) {
		s.VNC = VNC{Enabled: true, Auto: true, Listen: netip.MustParseAddr("0.0.0.0"), TLS: "/etc/kvm/vm-olorin/tls"}
	}},
	{name: "vnc anywhere", accel: AccelTCG, change: func(s *Spec) { s.VNC.Enabled, s.VNC.Auto = true, true }},
	{name: "own arguments", accel: AccelTCG, change: func(s *Spec) {
		s.QEMUArgs = []string{"-device", "i6300esb", "-watchdog-action", "reset"}
	}},
	{name: "commas and quotes", accel: AccelTCG, change: func(s *Spec) {
		s.Name = `a,b="c',readonly=on`
		s.Cmdline, s.Kernel = `quiet 'x' "y",z`, "/boot/a,b"
		s.Disks = []Disk{{Image: `/srv/a,file=x "q".raw`, Format: "raw", Bus: BusVirtio, Cache: "writeback"}}
	}},
}

// full has something of everything.
func full(s *Spec) {
	s.CPUs, s.CPUsMax = 4, 8
	s.Disks = []Disk{
		{Image: "/srv/root.qcow2", Format: "qcow2", Bus: BusVirtio, Cache: "none", Discard: true},
		{Image: "/srv/data.raw", Format: "raw", Bus: BusSCSI, Cache: "writethrough"},
		{Image: "/srv/old.qcow2", Format: "qcow2", Bus: BusSATA, Cache: "unsafe", Discard: true, ReadOnly: true},
	}
	s.CDROMs = []CDROM{{Image: "/srv/debian.iso"}, {}}
	s.NICs = []NIC{
		{Bridge: "br0", Model: "virtio", Queues: 4},
		{Bridge: "br1", Model: "e1000", Queues: 1, MAC: mac("52:54:00:12:34:56")},
	}
	s.Boot = []BootDevice{BootNetwork, BootCDROM, BootDisk}
	s.VNC.Enabled, s.VNC.Display = true, 3
	s.Guest.Agent = true
}

// line works out a case as Prepare does.
func (c argvCase) line(t *testing.T) ([]string, *Wiring) {
	t.Helper()
	s := plainSpec("vm-olorin")
	c.change(s)
	version := QEMUVersion{Major: 7, Minor: 2, Micro: 22}
	abi, err := Pin(nil, s, version.Machine(s.Machine), "0b6c1b9e-8c9b-4b1e-9d0a-0123456789ab")
	if err != nil {
		t.Fatal(err)
	}
	var layers [][]Layer
	if c.chains != nil {
		layers = c.chains(s)
	} else {
		for _, d := range s.Disks {
			layers = append(layers, []Layer{{d.Image, d.Format}})
		}
	}
	w := Wire(s, layers)
	return Args(s, &abi, w, Target{QEMU: "/usr/bin/qemu-system-x86_64", Accel: c.accel, Pidfile: "/run/kvm/" + s.Name + "/qemu.pid", Display: c.display}), w
}

// flagALine renders argv with a flag and its value a line, and what the descriptors are.
func flagALine(argv []string, w *Wiring) string {
	var b strings.Builder
	for i, a := range argv {
		switch {
		case i == 0:
		case strings.HasPrefix(a, "-"):
			b.WriteString("\n")
		default:
			b.WriteString(" ")
		}
		b.WriteString(shellQuote(a))
	}
	b.WriteString("\n")
	for i, n := range w.Names() {
		b.WriteString("# fd " + strconv.Itoa(FirstFD+i) + ": " + n + "\n")
	}
	return b.String()
}

func TestQEMUsCommandLineIsExactlyTheGoldenOne(t *testing.T) {
	for _, c := range argvCases {
		t.Run(c.name, func(t *testing.T) {
			argv, w := c.line(t)
			again, _ := c.line(t)
			if d := cmp.Diff(argv, again); d != "" {
				t.Errorf("the second call gives another line: %s", d)
			}
			golden := filepath.Join("testdata", "argv", strings.ReplaceAll(c.name, " ", "-")+".golden")
			got := flagALine(argv, w)
			if *update {
				if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(string(want), got); d != "" {
				t.Errorf("(-want +got)\n%s", d)
			}
		})
	}
}

func TestEveryGoldenLineHasItsCase(t *testing.T) {
	files, err := os.ReadDir(filepath.Join("testdata", "argv"))
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		if !slices.ContainsFunc(argvCases, func(c argvCase) bool { return strings.ReplaceAll(c.name, " ", "-")+".golden" == f.Name() }) {
			t.Errorf("%s belongs to no case", f.Name())
		}
	}
}

// Each descriptor that was planned is named once for each role it has, and nothing else is.
func TestDescriptorsAreConsecutiveAndAllUsed(t *testing.T) {
	for _, c := range argvCases {
		t.Run(c.name, func(t *testing.T) {
			argv, w := c.line(t)
			names := w.Names()
			sorted := slices.Sorted(slices.Values(names))
			if len(slices.Compact(sorted)) != len(names) {
				t.Errorf("a name twice: %q", names)
			}
			used := map[int]bool{}
			for i, a := range argv {
				for _, f := range fdsOf(a, argv[max(0, i-1)]) {
					if f < FirstFD || f >= FirstFD+len(names) {
						t.Errorf("%q names descriptor %d, which was not planned", a, f)
					}
					used[f] = true
				}
			}
			for i, n := range names {
				if !used[FirstFD+i] && !slices.Contains(tlsFiles, n) { // QEMU finds these by links in a directory
					t.Errorf("descriptor %d (%s) is handed over and not named", FirstFD+i, n)
				}
			}
		})
	}
}

// fdsOf finds the descriptors in an argument: fd=N, fds=N:M, /proc/self/fd/N.
func fdsOf(arg, flag string) []int {
	var all []int
	if rest, ok := strings.CutPrefix(arg, "/proc/self/fd/"); ok && (flag == "-kernel" || flag == "-initrd") {
		n, _ := strconv.Atoi(rest)
		return []int{n}
	}
	if rest, ok := strings.CutPrefix(arg, "unix:/proc/self/fd/"); ok && flag == "-vnc" {
		dir, _, _ := strings.Cut(rest, "/")
		n, _ := strconv.Atoi(dir)
		return []int{n}
	}
	if flag != "-add-fd" && flag != "-chardev" && flag != "-netdev" {
		return nil
	}
	for _, field := range strings.Split(arg, ",") {
		key, value, _ := strings.Cut(field, "=")
		if key == "fd" || key == "fds" || key == "vhostfd" || key == "vhostfds" {
			for _, v := range strings.Split(value, ":") {
				n, _ := strconv.Atoi(v)
				all = append(all, n)
			}
		}
	}
	return all
}

func TestACommandLineCanBePastedIntoAShell(t *testing.T) {
	got := CommandLine([]string{"/usr/bin/qemu", "-name", "a b", "it's", "", "$HOME", "a=b,c", "`x`", "-append", `"q"`})
	want := `/usr/bin/qemu -name 'a b' 'it'\''s' '' '$HOME' a=b,c '` + "`x`" + `' -append '"q"'`
	if got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}
