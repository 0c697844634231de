package guest

import (
	"bytes"
	"debug/elf"
	"flag"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "rewrite golden files")

func TestModinfoGivesWhatHasToBeLoadedFirst(t *testing.T) {
	tests := []struct {
		name, section string
		want          modinfo
	}{
		{"virtio_net of Debian's 6.1", "license=GPL\x00depends=virtio_ring,virtio,net_failover\x00retpoline=Y\x00",
			modinfo{depends: []string{"virtio_ring", "virtio", "net_failover"}}},
		{"dashes are underscores", "depends=virtio-ring\x00", modinfo{depends: []string{"virtio_ring"}}},
		{"a soft dependency before and after", "softdep=pre: crc32c x-y post: z\x00depends=\x00",
			modinfo{soft: []string{"crc32c", "x_y"}}},
		{"a wish that is no module's name", "softdep=pre: ,000 a\x00", modinfo{soft: []string{"a"}}},
		{"padding between records", "\x00\x00depends=a\x00\x00\x00", modinfo{depends: []string{"a"}}},
		{"a record without =", "depends\x00nonsense\x00", modinfo{}},
		{"empty", "", modinfo{}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if d := cmp.Diff(tt.want, parseModinfo([]byte(tt.section)), cmp.AllowUnexported(modinfo{})); d != "" {
				t.Errorf("modinfo (-want +got):\n%s", d)
			}
		})
	}
}

func FuzzModinfo(f *testing.F) {
	f.Add([]byte("depends=a,b\x00softdep=pre: c post: d\x00"))
	f.Fuzz(func(t *testing.T, section []byte) {
		m := parseModinfo(section)
		for _, name := range slices.Concat(m.depends, m.soft) {
			if name == "" || strings.ContainsAny(name, ",-\x00") {
				t.Errorf("module name %q out of %q", name, section)
			}
		}
		if _, err := readModinfo("fuzzed", section); err == nil && !bytes.HasPrefix(section, []byte("\x7fELF")) {
			t.Error("a module that is no ELF file was read")
		}
	})
}

func TestModulesLoadAfterWhatTheyNeed(t *testing.T) {
	kernel := map[string]modinfo{
		"net":  {depends: []string{"ring", "fail"}},
		"ring": {depends: []string{"core"}},
		"fail": {soft: []string{"helper", "absent"}, depends: []string{"builtin"}},
		"core": {}, "helper": {},
		"egg": {depends: []string{"hen"}}, "hen": {depends: []string{"egg"}},
		"orphan": {depends: []string{"nowhere"}},
		// udp and tcp wish for each other: only a hard dependency may be a circle's end.
		"tcp": {soft: []string{"udp"}}, "udp": {soft: []string{"tcp"}},
	}
	tests := []struct {
		name, want, err string
		wanted          []string
	}{
		{name: "chain", wanted: []string{"net"}, want: "core ring helper fail net"},
		{name: "shared", wanted: []string{"ring", "net"}, want: "core ring helper fail net"},
		{name: "built into the kernel", wanted: []string{"builtin"}, want: ""},
		{name: "wishes in a circle", wanted: []string{"tcp"}, want: "udp tcp"},
		{name: "circle", wanted: []string{"egg"}, err: "module egg: depends on itself through hen"},
		{name: "missing", wanted: []string{"orphan"}, err: "module nowhere (needed by orphan): not in the kernel's package"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			info := func(name string) (modinfo, bool) { m, ok := kernel[name]; return m, ok }
			got, err := loadOrder(tt.wanted, info, func(name string) bool { return name == "builtin" })
			if tt.err != "" {
				if err == nil || err.Error() != tt.err {
					t.Errorf("error %v, want %s", err, tt.err)
				}
				return
			}
			if err != nil || strings.Join(got, " ") != tt.want {
				t.Errorf("order %q, %v; want %q", got, err, tt.want)
			}
		})
	}
}

func TestModuleNamesComeFromFileNames(t *testing.T) {
	for file, want := range map[string]string{
		"lib/modules/6.1/kernel/drivers/char/hw_random/virtio-rng.ko":    "virtio_rng",
		"usr/lib/modules/6.12/kernel/drivers/virtio/virtio_pci.ko.xz":    "virtio_pci",
		"lib/modules/6.1/modules.builtin":                                "",
		"lib/modules/6.1/$(reboot).ko":                                   "",
		"usr/share/doc/linux-image-6.1.0-56-cloud-amd64/changelog.ko.gz": "",
	} {
		if got := moduleName(file); got != want {
			t.Errorf("%s: %q, want %q", file, got, want)
		}
	}
}

func TestTheGuestsModuleLibrary(t *testing.T) {
	have := map[string][]string{
		"virtio_pci": {"virtio_ring", "virtio", "virtio_pci"},
		"virtio_net": {"virtio_ring", "virtio", "failover", "net_failover", "virtio_net"},
		"button":     {"button"},
		"evdev":      {"evdev"},
	}
	present := func(name string) bool { return have[name] != nil }
	got := modulesScript(present, func(name string) []string { return have[name] })
	golden(t, "testdata/modules.sh", got)
}

func golden(t *testing.T, file string, got []byte) {
	t.Helper()
	if *update {
		if err := os.WriteFile(file, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(string(want), string(got)); d != "" {
		t.Errorf("%s (-want +got):\n%s", file, d)
	}
}

func TestFloodProgramIsAnExecutableOfOneSegment(t *testing.T) {
	image := floodEvents()
	f, err := elf.NewFile(bytes.NewReader(image))
	if err != nil {
		t.Fatal(err)
	}
	p := f.Progs[0]
	if f.Type != elf.ET_EXEC || f.Machine != elf.EM_X86_64 || len(f.Progs) != 1 || p.Flags != elf.PF_R|elf.PF_X ||
		p.Filesz != uint64(len(image)) || f.Entry != p.Vaddr+120 {
		t.Errorf("header %+v, segment %+v", f.FileHeader, p.ProgHeader)
	}
}

func TestEveryBuiltInFileHasAPlace(t *testing.T) {
	dir, err := rootfs.ReadDir("rootfs")
	if err != nil {
		t.Fatal(err)
	}
	var files []string
	for _, e := range dir {
		files = append(files, e.Name())
	}
	if d := cmp.Diff(files, slices.Sorted(maps.Keys(places))); d != "" {
		t.Errorf("rootfs against places (-files +places):\n%s", d)
	}
}
