package guest

import (
	"bytes"
	"compress/gzip"
	"context"
	"embed"
	"errors"
	"fmt"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
)

const busyboxPackage = "busybox-static"

//go:embed rootfs
var rootfs embed.FS

// places says where each of rootfs' files lives in the guest.
var places = map[string]string{
	"init":     "init",
	"inittab":  "etc/inittab",
	"profile":  "etc/profile",
	"button":   "etc/acpi/PWRF/00000080", // where busybox acpid looks for what the power button does
	"poweroff": "sbin/poweroff",
	"reboot":   "sbin/reboot",
	"shutdown": "sbin/shutdown",
	"dhcp":     "lib/dhcp",
	"plug":     "lib/plug",
	"floodisk": "lib/floodisk",
}

// baseEntries is the guest without its agent.
func baseEntries(ctx context.Context, s *store, kernel map[string]file) ([]entry, error) {
	entries := []entry{
		{name: "dev/console", mode: typeChar | 0o600, major: 5, minor: 1},
		{name: "lib/flood", mode: typeFile | 0o755, data: floodEvents()},
	}
	for _, dir := range []string{"proc", "sys", "root"} {
		entries = append(entries, entry{name: dir, mode: typeDir | 0o755})
	}
	for name, place := range places {
		data, err := rootfs.ReadFile("rootfs/" + name)
		if err != nil {
			return nil, fmt.Errorf("read built-in file: %w", err)
		}
		entries = append(entries, entry{name: place, mode: typeFile | 0o755, data: data})
	}
	modules, err := moduleEntries(ctx, kernel)
	if err != nil {
		return nil, err
	}
	busybox, err := busyboxEntries(ctx, s)
	if err != nil {
		return nil, err
	}
	return slices.Concat(entries, modules, busybox), nil
}

// busyboxEntries are the program and a link for each applet, except where the guest has a program of its own.
func busyboxEntries(ctx context.Context, s *store) ([]entry, error) {
	files, err := s.files(ctx, busyboxPackage, func(name string) bool { return path.Base(name) == "busybox" })
	if err != nil {
		return nil, err
	}
	var image []byte
	for _, name := range []string{"bin/busybox", "usr/bin/busybox"} {
		if f, ok := files[name]; ok {
			image = f.data
		}
	}
	if image == nil {
		return nil, &PackageError{busyboxPackage, errors.New("no bin/busybox in it")}
	}
	// It is static: the builder's machine can run it, and only it knows its applets.
	tmp, err := os.MkdirTemp(s.dir, ".tmp-")
	if err != nil {
		return nil, fmt.Errorf("make directory: %w", err)
	}
	defer os.RemoveAll(tmp)
	program := filepath.Join(tmp, "busybox")
	if err := os.WriteFile(program, image, 0o700); err != nil {
		return nil, fmt.Errorf("unpack busybox: %w", err)
	}
	list, err := run(ctx, "", program, "--list")
	if err != nil {
		return nil, &PackageError{busyboxPackage, err}
	}
	own := slices.Collect(maps.Values(places))
	entries := []entry{{name: "bin/busybox", mode: typeFile | 0o755, data: image}}
	for applet := range strings.FieldsSeq(string(list)) {
		dir := "bin/"
		if applet == "init" {
			dir = "sbin/"
		}
		if applet != "busybox" && !slices.Contains(own, "sbin/"+applet) {
			entries = append(entries, entry{name: dir + applet, mode: typeSymlink | 0o777, data: []byte("/bin/busybox")})
		}
	}
	return entries, nil
}

// moduleEntries are the modules of drivers that the kernel has, what they need, and the shell library that loads them.
func moduleEntries(ctx context.Context, kernel map[string]file) ([]entry, error) {
	mods := modulesOf(kernel)
	closures := map[string][]string{}
	for _, d := range drivers {
		if mods.paths[d.module] == "" && (!d.must || mods.builtin[d.module]) {
			continue
		}
		order, err := mods.order(ctx, d.module)
		if err != nil {
			return nil, err
		}
		closures[d.module] = order
	}
	script := modulesScript(
		func(name string) bool { return closures[name] != nil },
		func(name string) []string { return closures[name] },
	)
	return append(mods.entries(), entry{name: "lib/modules.sh", mode: typeFile | 0o644, data: script}), nil
}

// modules finds a kernel's modules, and what each needs.
type modules struct {
	kernel  map[string]file
	paths   map[string]string // of a module, in the kernel's package
	builtin map[string]bool
	images  map[string][]byte // of the modules that were asked for
	infos   map[string]modinfo
}

func modulesOf(kernel map[string]file) *modules {
	m := &modules{kernel: kernel, paths: map[string]string{}, builtin: map[string]bool{}, images: map[string][]byte{}, infos: map[string]modinfo{}}
	for name, f := range kernel {
		if module := moduleName(name); module != "" {
			m.paths[module] = name
		}
		if path.Base(name) == "modules.builtin" {
			for line := range strings.Lines(string(f.data)) {
				m.builtin[moduleName(strings.TrimSpace(line))] = true
			}
		}
	}
	return m
}

// order lists some modules and all that they need, each after what it needs.
func (m *modules) order(ctx context.Context, wanted ...string) ([]string, error) {
	var failed error
	info := func(name string) (modinfo, bool) {
		file, ok := m.paths[name]
		if !ok || failed != nil {
			return modinfo{}, false
		}
		if _, ok := m.infos[name]; !ok {
			image, err := decompress(ctx, file, m.kernel[file].data)
			if err == nil {
				m.images[name] = image
				m.infos[name], err = readModinfo(name, image)
			}
			if err != nil {
				failed = err
				return modinfo{}, false
			}
		}
		return m.infos[name], true
	}
	order, err := loadOrder(wanted, info, func(name string) bool { return m.builtin[name] })
	if failed != nil {
		return nil, failed
	}
	return order, err
}

// entries are the modules that were asked for.
func (m *modules) entries() (all []entry) {
	for _, name := range slices.Sorted(maps.Keys(m.images)) {
		all = append(all, entry{name: "lib/modules/" + name + ".ko", mode: typeFile | 0o644, data: m.images[name]})
	}
	return all
}

// decompress undoes .ko.xz, which newer Debian kernels have: busybox cannot load it.
func decompress(ctx context.Context, name string, data []byte) ([]byte, error) {
	if !strings.HasSuffix(name, ".xz") {
		return data, nil
	}
	out, err := runInput(ctx, data, "xz", "-dc")
	if err != nil {
		return nil, fmt.Errorf("decompress %s (program of debian package xz-utils): %w", name, err)
	}
	return out, nil
}

// pack makes an initramfs, or a part of one (the kernel unpacks several after each other): parents before children, names in order, gzip without a name or a time.
func pack(entries []entry) ([]byte, error) {
	dirs := map[string]bool{}
	for _, e := range entries {
		if e.mode&0o170000 == typeDir {
			dirs[e.name] = true
		}
	}
	for _, e := range slices.Clone(entries) {
		for dir := path.Dir(e.name); dir != "."; dir = path.Dir(dir) {
			if !dirs[dir] {
				dirs[dir] = true
				entries = append(entries, entry{name: dir, mode: typeDir | 0o755})
			}
		}
	}
	entries = slices.Clone(entries)
	slices.SortFunc(entries, func(a, b entry) int { return strings.Compare(a.name, b.name) })
	for i := range entries[1:] {
		if entries[i].name == entries[i+1].name {
			return nil, fmt.Errorf("archive %s: named twice", entries[i].name)
		}
	}
	var out bytes.Buffer
	z, err := gzip.NewWriterLevel(&out, gzip.BestSpeed)
	if err != nil {
		return nil, fmt.Errorf("compress: %w", err)
	}
	if err := writeCPIO(z, entries); err != nil {
		return nil, err
	}
	if err := z.Close(); err != nil {
		return nil, fmt.Errorf("compress: %w", err)
	}
	return out.Bytes(), nil
}
