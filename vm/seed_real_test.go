package vm_test

import (
	"path/filepath"
	"strings"
	"testing"

	"kvmctl/vm"
	"kvmctl/vm/seed"
	"kvmctl/vm/vmtest"
)

// A real kernel finds the seed by its label's place and reads it back exactly. (The tiny guest's kernel has no AHCI, so the image is a disk.)
func TestAGuestReadsItsSeed(t *testing.T) {
	t.Parallel()
	h := newSite(t)
	path := filepath.Join(h.Root, "seed.iso")
	sd := &seed.Seed{UserData: []byte("#cloud-config\npassword: mellon\n"), NetworkConfig: []byte("version: 2\n")}
	sd.MetaData = seed.DefaultMetaData("vm-olorin", sd)
	if err := seed.Write(path, sd); err != nil {
		t.Fatal(err)
	}
	s := vmtest.Spec(t, h.Host, "vm-olorin")
	s.Disks = []vm.Disk{{Image: path, Format: "raw", Bus: vm.BusVirtio, Cache: "writeback", ReadOnly: true}}
	h.start(s)
	h.types(s.Name, ". /lib/modules.sh; load isofs; mkdir /cd; mount -t iso9660 -o ro /dev/vda /cd && cd /cd && ls && tail -n 2 user-data meta-data network-config; echo se''en",
		"seen")
	said := h.console(s.Name)
	for _, want := range []string{"meta-data       network-config  user-data\r\n", "#cloud-config\r\npassword: mellon\r\n",
		"local-hostname: vm-olorin\r\n", "version: 2\r\n"} {
		if !strings.Contains(said, want) {
			t.Errorf("it did not say %q in %q", want, said)
		}
	}
	h.types(s.Name, "dd if=/dev/vda bs=1 skip=32808 count=6 2>/dev/null | tr a-z A-Z", "CIDATA")
	h.stop(s, byForce)
}
