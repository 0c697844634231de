package vm

import (
	"errors"
	"net/netip"
	"strings"
	"testing"
)

func TestQEMUsLastWordsInOurs(t *testing.T) {
	spec := plainSpec("g")
	spec.Disks = []Disk{virtioDisk("/a"), {Image: "/b", Bus: BusVirtio, ReadOnly: true}, virtioDisk("/c")}
	spec.VNC = VNC{Enabled: true, Display: 7, Listen: netip.MustParseAddr("::1")}
	w := Wire(spec, [][]Layer{{{"/a", "qcow2"}, {"/base", "raw"}}, {{"/b", "raw"}}, {{"/c", "raw"}}})
	auto := *spec
	auto.VNC.Auto = true
	custom := *spec
	custom.QEMUArgs = []string{"-x"}
	lock := func(name string) string {
		return `qemu: -device virtio-blk-pci: Failed to get "write" lock` + "\nIs another process using the image [" + w.fdset(name) + "]?"
	}
	hinted := func(err error) string {
		var h interface{ Hint() string }
		if errors.As(err, &h) {
			return h.Hint()
		}
		return ""
	}
	const locked = "an image is in use by another QEMU: "
	for _, tt := range []struct {
		name       string
		spec       *Spec
		said       string
		want, hint string
	}{
		{"the first image", spec, lock("disk0.0"), locked + "/a", "see who has it open: fuser -v /a"},
		{"its backing file", spec, lock("disk0.1.ro"), locked + "/base", "see who has it open: fuser -v /base"},
		{"a read-only image", spec, lock("disk1.0.ro"), locked + "/b", "see who has it open: fuser -v /b"},
		{"the last image", spec, lock("disk2.0"), locked + "/c", "see who has it open: fuser -v /c"},
		{"an image that QEMU does not name", spec, `Failed to get shared "write" lock`, locked + "/a, /b, /c", "see who has it open: fuser -v /a"},
		{"a reader's lock", spec, `Failed to get "consistent read" lock`, locked + "/a, /b, /c", "see who has it open: fuser -v /a"},
		{"a fixed display", spec, "qemu: -vnc [::1]:7: Failed to bind socket: Address already in use",
			"the VNC display at [::1]:5907 is taken by another process", "see who: ss -ltnp; or set `display = \"auto\"` under [vnc] in vm.toml"},
		{"no display is free", &auto, "qemu: -vnc [::1]:0,to=99: Failed to find an available port: Address already in use",
			"100 VNC displays in a row are taken", "see who: ss -ltnp; or set a `display` above them under [vnc] in vm.toml"},
		{"an old machine", spec, "qemu: unsupported machine type\nUse -machine help", "QEMU ended before it was ready (exit status 1): qemu: unsupported machine type\n  Use -machine help",
			"this QEMU no longer has the machine that the guest was first started with; install one that has it"},
		{"no memory", spec, "qemu: cannot set up guest memory 'pc.ram': Cannot allocate memory",
			"QEMU ended before it was ready (exit status 1): qemu: cannot set up guest memory 'pc.ram': Cannot allocate memory",
			"the host has not that much memory: see `free -m`, then lower `memory` in vm.toml"},
		{"arguments of the admin's own", &custom, "qemu: -x: invalid option", "QEMU ended before it was ready (exit status 1): qemu: -x: invalid option",
			"the guest has qemu_args of its own in vm.toml: try without them"},
		{"anything else", spec, "qemu: oh", "QEMU ended before it was ready (exit status 1): qemu: oh", ""},
		{"nothing", spec, "", "QEMU ended before it was ready: exit status 1", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			e := &LaunchError{Exit: "exit status 1"}
			if tt.said != "" {
				e.Stderr = strings.Split(tt.said, "\n")
			}
			err := reword(e, tt.spec, w)
			if err.Error() != tt.want || hinted(err) != tt.hint {
				t.Errorf("got  %q\nwant %q\nhint %q\nwant %q", err, tt.want, hinted(err), tt.hint)
			}
		})
	}
}
