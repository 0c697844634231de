package configs

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"kvmctl/configs/strict"
	"kvmctl/internal/units"
	"kvmctl/netbridge"
	"kvmctl/vm"
)

// compare looks at netip values and bytes by value.
var compare = cmp.Options{cmpopts.EquateComparable(netip.Addr{}, netip.Prefix{})}

const testFile = "/etc/kvm/vm-olorin/vm.toml"

// testHost is a host with the bridge br0.
func testHost() Host {
	h := DefaultHost()
	h.Bridges = []netbridge.Bridge{{Name: "br0", MAC: units.DeriveMAC("here", "bridge", "br0"), MTU: 1500, VLANFiltering: true}}
	return h
}

func TestTheGuestReferenceLoads(t *testing.T) {
	got, problems := ParseGuest(testFile, "vm-olorin", []byte(GuestReference), testHost())
	for _, p := range problems {
		t.Error(p)
	}
	want := vm.Spec{
		Name: "vm-olorin", Description: "DHCP and DNS, standby",
		Memory: 512 * units.MiB, MemoryMax: 2 * units.GiB, CPUs: 2, CPUsMax: 4,
		Accel: vm.AccelAuto, Machine: "q35", Firmware: vm.FirmwareBIOS,
		Kernel: "/var/lib/kvm/vm-olorin/vmlinuz", Initrd: "/var/lib/kvm/vm-olorin/initrd.img", Cmdline: "console=ttyS0 root=/dev/vda1",
		Boot: []vm.BootDevice{vm.BootDisk, vm.BootCDROM}, Autostart: true, Order: 50, After: []string{"vm-varda"},
		StartDelay: 5 * time.Second, Ready: vm.Ready{Kind: vm.ReadyTCP, Port: 389, Timeout: 2 * time.Minute}, StopTimeout: 30 * time.Second,
		VNC: vm.VNC{Enabled: true, Display: 1, Listen: netip.MustParseAddr("127.0.0.1"), PasswordFile: "/etc/kvm/vm-olorin/vnc.password",
			TLS: "/etc/kvm/vm-olorin/vnc.tls"},
		Disks:  []vm.Disk{{Image: "/var/lib/kvm/vm-olorin/disk.qcow2", Size: 8 * units.GiB, Format: "qcow2", Bus: vm.BusVirtio, Cache: "writeback", Discard: true}},
		CDROMs: []vm.CDROM{{Image: "/srv/iso/debian-12.iso"}},
		NICs: []vm.NIC{{Bridge: "br0", MAC: units.MAC{0x52, 0x54, 0, 0x12, 0x34, 0x56}, Model: "virtio", Queues: 2,
			VLAN: 30, Trunk: units.VLANs{{First: 10, Last: 10}, {First: 20, Last: 29}}, CARP: []int{1}, Rate: 100 * units.Mbit}},
		Guest: vm.Guest{Profile: "linux", Agent: true, Address: netip.MustParseAddr("10.2.0.210")},
		Hooks: vm.Hooks{
			PreStart: "/etc/kvm/vm-olorin/pre-start", PostStart: "/etc/kvm/vm-olorin/post-start",
			PreStop: "/etc/kvm/vm-olorin/pre-stop", PostStop: "/etc/kvm/vm-olorin/post-stop",
			OnCrash: "/etc/kvm/vm-olorin/on-crash", Timeout: 30 * time.Second,
		},
		QEMUArgs: []string{"-rtc", "base=localtime"},
		Limits:   vm.Limits{CPU: 150, CPUWeight: 200, Memory: 2 * units.GiB, IOWeight: 50, Tasks: 200},
	}
	if diff := cmp.Diff(want, got, compare); diff != "" {
		t.Errorf("spec (-want +got):\n%s", diff)
	}
}

func TestTheHostReferenceHoldsTheDefaults(t *testing.T) {
	got, problems := ParseHost("/etc/kvm/kvm.toml", []byte(HostReference), "here")
	for _, p := range problems {
		t.Error(p)
	}
	want := testHost()
	want.Bridges[0] = netbridge.Bridge{Name: "br0", Uplink: "eth0", Keep: true, MTU: 1500, VLANFiltering: true}
	want.Hooks = vm.Hooks{PreStart: "/etc/kvm/pre-start", PostStart: "/etc/kvm/post-start", PreStop: "/etc/kvm/pre-stop",
		PostStop: "/etc/kvm/post-stop", OnCrash: "/etc/kvm/on-crash", Timeout: 30 * time.Second}
	if diff := cmp.Diff(want, got, compare); diff != "" {
		t.Errorf("host (-want +got):\n%s", diff)
	}
}

func TestAnEmptyGuestHoldsTheDefaults(t *testing.T) {
	got, problems := ParseGuest(testFile, "vm-olorin", nil, testHost())
	for _, p := range problems {
		t.Error(p)
	}
	want := vm.Spec{
		Name: "vm-olorin", Memory: 512 * units.MiB, MemoryMax: 2 * units.GiB, CPUs: 1, CPUsMax: 2,
		Accel: vm.AccelAuto, Machine: "q35", Firmware: vm.FirmwareBIOS,
		Boot: []vm.BootDevice{vm.BootDisk, vm.BootCDROM}, Order: 50, StopTimeout: 30 * time.Second,
		VNC:   vm.VNC{Enabled: true, Auto: true, Listen: netip.MustParseAddr("127.0.0.1")},
		Guest: vm.Guest{Profile: "linux", Agent: true}, Hooks: vm.Hooks{Timeout: 30 * time.Second},
	}
	if diff := cmp.Diff(want, got, compare); diff != "" {
		t.Errorf("spec (-want +got):\n%s", diff)
	}
}

// TestTheReferencesNameEveryKeyOnce holds the structs against the files: each key is set exactly once, nothing else is,
// and the comment above it tells its range, its values and its default.
func TestTheReferencesNameEveryKeyOnce(t *testing.T) {
	for _, tt := range []struct {
		name, text string
		schema     *strict.Schema
	}{{"vm.toml", GuestReference, guestSchema()}, {"kvm.toml", HostReference, hostSchema()}} {
		t.Run(tt.name, func(t *testing.T) {
			want := map[string]int{}
			fields := map[string]strict.Field{}
			var walk func(prefix string, s *strict.Schema)
			walk = func(prefix string, s *strict.Schema) {
				for _, f := range s.Fields {
					want[prefix+f.Name] = 1
					fields[prefix+f.Name] = f
					if f.Sub != nil {
						walk(prefix+f.Name+".", f.Sub)
					}
				}
			}
			walk("", tt.schema)

			got := map[string]int{}
			table, comment := "", ""
			for line := range strings.Lines(tt.text) {
				line = strings.TrimSpace(line)
				switch {
				case strings.HasPrefix(line, "#"):
					comment += strings.TrimPrefix(line, "#")
				case strings.HasPrefix(line, "["):
					table = strings.Trim(line, "[]")
					got[table]++
					table += "."
					comment = ""
				case strings.Contains(line, " = "):
					key := table + strings.Fields(line)[0]
					got[key]++
					for _, phrase := range phrases(fields[key]) {
						if !strings.Contains(comment, phrase) {
							t.Errorf("the comment of %s lacks %q:%s", key, phrase, comment)
						}
					}
					comment = ""
				case line == "":
					comment = ""
				}
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("keys of the structs and of the file (-structs +file):\n%s", diff)
			}
		})
	}
}

func phrases(f strict.Field) []string {
	out := []string{}
	if f.Span != "" {
		out = append(out, fmt.Sprintf("Range: %s.", f.Span))
	}
	for _, c := range f.Choices {
		if f.Kind == strict.KindStrings || f.Kind == strict.KindString {
			out = append(out, strict.Quote(c))
		}
	}
	if f.Name != "image" && f.Name != "bridge" && f.Name != "name" {
		out = append(out, "Default: ")
	}
	return out
}
