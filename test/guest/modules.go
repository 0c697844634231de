package guest

import (
	"bytes"
	"debug/elf"
	"fmt"
	"path"
	"slices"
	"strings"
)

// modinfo is what a kernel module says about itself in its .modinfo section.
type modinfo struct {
	depends []string // modules that have to be loaded first
	soft    []string // wished for first, left out when the kernel has them built in
}

// parseModinfo reads the NUL-separated key=value records of a .modinfo section. Unknown keys, and records that are none, are left out.
func parseModinfo(section []byte) modinfo {
	var m modinfo
	for rec := range bytes.SplitSeq(section, []byte{0}) {
		key, value, _ := strings.Cut(string(rec), "=")
		switch key {
		case "depends":
			for dep := range strings.SplitSeq(value, ",") {
				if dep != "" {
					m.depends = append(m.depends, canonical(dep))
				}
			}
		case "softdep":
			m.soft = append(m.soft, softPre(value)...)
		}
	}
	return m
}

// softPre is the "pre:" part of "pre: a b post: c".
func softPre(value string) []string {
	var pre []string
	in := false
	for word := range strings.FieldsSeq(value) {
		switch {
		case word == "pre:":
			in = true
		case word == "post:":
			in = false
		case in && validName(canonical(word)):
			pre = append(pre, canonical(word))
		}
	}
	return pre
}

// canonical is a module's name as the kernel has it in /sys/module: file names may have dashes.
func canonical(name string) string { return strings.ReplaceAll(name, "-", "_") }

// moduleName is the name of the module in a file such as kernel/drivers/virtio/virtio_pci.ko or .ko.xz; "" for other files.
func moduleName(file string) string {
	base := strings.TrimSuffix(path.Base(file), ".xz")
	name, ok := strings.CutSuffix(base, ".ko")
	if !ok || !validName(canonical(name)) {
		return ""
	}
	return canonical(name)
}

// validName keeps everything else out of the shell library that is made of the names.
func validName(name string) bool {
	return name != "" && strings.Trim(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_") == ""
}

// readModinfo finds and parses the section in a module's ELF image.
func readModinfo(name string, image []byte) (modinfo, error) {
	f, err := elf.NewFile(bytes.NewReader(image))
	if err != nil {
		return modinfo{}, fmt.Errorf("module %s: %w", name, err)
	}
	section := f.Section(".modinfo")
	if section == nil {
		return modinfo{}, fmt.Errorf("module %s: no .modinfo section", name)
	}
	data, err := section.Data()
	if err != nil {
		return modinfo{}, fmt.Errorf("module %s: read .modinfo: %w", name, err)
	}
	return parseModinfo(data), nil
}

// loadOrder lists wanted and everything it depends on, each module after those that it needs. A hard dependency that info
// does not know must be one of builtin; the kernel's package carries no modules.dep, so .modinfo is the source.
func loadOrder(wanted []string, info func(string) (modinfo, bool), builtin func(string) bool) ([]string, error) {
	var order []string
	state := map[string]int{} // 1: on the way, 2: done
	var visit func(name, by string) error
	visit = func(name, by string) error {
		switch state[name] {
		case 1:
			return fmt.Errorf("module %s: depends on itself through %s", name, by)
		case 2:
			return nil
		}
		m, ok := info(name)
		if !ok {
			if builtin(name) {
				return nil
			}
			return fmt.Errorf("module %s (needed by %s): not in the kernel's package", name, by)
		}
		state[name] = 1
		for _, dep := range m.soft {
			if _, ok := info(dep); ok && state[dep] == 0 {
				if err := visit(dep, name); err != nil {
					return err
				}
			}
		}
		for _, dep := range m.depends {
			if err := visit(dep, name); err != nil {
				return err
			}
		}
		state[name] = 2
		order = append(order, name)
		return nil
	}
	for _, name := range wanted {
		if err := visit(name, "the guest"); err != nil {
			return nil, err
		}
	}
	return order, nil
}

// driver says which modules the guest loads when a device shows up whose modalias matches the shell pattern.
type driver struct {
	pattern string
	module  string
	must    bool // every kernel we boot has it; the others are used where the kernel has them (its flavours differ)
}

// drivers is in the order of the patterns' trial. An empty pattern: loaded by name in init.
var drivers = []driver{
	{"pci:v00001AF4*", "virtio_pci", true},
	{"pci:*bc01sc06i01*", "ahci", false},
	{"pci:v00008086d00007010*", "ata_piix", false},
	{"pci:v00008086d0000100E*", "e1000", false},
	{"pci:v000010ECd00008139*", "8139cp", false},
	{"pci:v00001B36d00000011*", "pvpanic_pci", false}, // tells QEMU that the kernel panicked
	{"virtio:d00000001v*", "virtio_net", true},
	{"virtio:d00000002v*", "virtio_blk", true},
	{"virtio:d00000003v*", "virtio_console", true},
	{"virtio:d00000004v*", "virtio_rng", false},
	{"virtio:d00000005v*", "virtio_balloon", false},
	{"virtio:d00000008v*", "virtio_scsi", true},
	{"virtio:d00000018v*", "virtio_mem", false},
	{"scsi:t-0x00*", "sd_mod", true},
	{"scsi:t-0x05*", "sr_mod", false},
	{"acpi:LNXPWRBN:*", "button", true},
	{"acpi:PNP0C0C:*", "button", true},
	{"", "evdev", true},
	{"", "isofs", false},
	{"", "loop", false}, // for kvmctl image mount inside
	{"", "ufs", false},
	{"", "virtio_rng", false},
}

// modulesScript is the shell library of init: load <module> with what it needs, known <modalias> for the table above.
func modulesScript(present func(string) bool, closure func(string) []string) []byte {
	var b bytes.Buffer
	b.WriteString("load() {\n\tcase $1 in\n")
	var done []string
	for _, d := range drivers {
		if !present(d.module) || slices.Contains(done, d.module) {
			continue
		}
		done = append(done, d.module)
		fmt.Fprintf(&b, "\t%s) set -- %s ;;\n", d.module, strings.Join(closure(d.module), " "))
	}
	b.WriteString("\t*) return 1 ;;\n\tesac\n\tfor m in \"$@\"; do\n" +
		"\t\t[ -d \"/sys/module/$m\" ] || insmod \"/lib/modules/$m.ko\"\n\tdone\n}\n\nknown() {\n\tcase $1 in\n")
	for _, d := range drivers {
		if d.pattern != "" && present(d.module) {
			fmt.Fprintf(&b, "\t%s) load %s ;;\n", d.pattern, d.module)
		}
	}
	b.WriteString("\tesac\n}\n")
	return b.Bytes()
}
