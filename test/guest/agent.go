package guest

import (
	"bytes"
	"context"
	"debug/elf"
	"errors"
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"
)

const (
	agentPackage = "qemu-guest-agent"
	agentBinary  = "usr/sbin/qemu-ga"
	libDir       = "lib/x86_64-linux-gnu" // where Debian's loader looks without any configuration
	loader       = "lib64/ld-linux-x86-64.so.2"
)

// agentEntries are the guest agent and the shared libraries that it needs.
func agentEntries(ctx context.Context, s *store) ([]entry, error) {
	if err := s.need(ctx, agentPackage); err != nil {
		return nil, err
	}
	files, err := s.files(ctx, agentPackage, func(name string) bool { return path.Base(name) == "qemu-ga" })
	if err != nil {
		return nil, err
	}
	binary, ok := files[agentBinary]
	if !ok {
		return nil, &PackageError{agentPackage, fmt.Errorf("no %s in it", agentBinary)}
	}
	libs, err := libraryEntries(ctx, s, []string{agentPackage}, map[string][]byte{agentBinary: binary.data})
	if err != nil {
		return nil, err
	}
	return append(libs, entry{name: "sbin/qemu-ga", mode: typeFile | 0o755, data: binary.data}), nil
}

// libraryEntries are the shared libraries that some binaries need, from the packages that theirs depend on, and from theirs, until nothing is missing.
func libraryEntries(ctx context.Context, s *store, packages []string, binaries map[string][]byte) ([]entry, error) {
	libs := libraries{found: map[string]file{}, used: map[string][]byte{}}
	for _, name := range slices.Sorted(maps.Keys(binaries)) {
		if err := libs.use(binaries[name], name); err != nil {
			return nil, &PackageError{packages[0], err}
		}
	}
	level, seen := packages, slices.Clone(packages)
	for len(libs.missing) > 0 {
		var next []string
		for _, pkg := range level {
			deps, err := s.depends(ctx, pkg)
			if err != nil {
				return nil, err
			}
			for _, dep := range deps {
				if !slices.Contains(seen, dep) {
					seen, next = append(seen, dep), append(next, dep)
				}
			}
		}
		if len(next) == 0 {
			return nil, &PackageError{packages[0], fmt.Errorf("no dependency has %s", strings.Join(libs.missing, ", "))}
		}
		if err := s.need(ctx, next...); err != nil {
			return nil, err
		}
		for _, pkg := range next {
			files, err := s.files(ctx, pkg, func(name string) bool { return strings.Contains(name, "/"+path.Base(libDir)+"/") })
			if err != nil {
				return nil, err
			}
			if err := libs.add(files); err != nil {
				return nil, &PackageError{pkg, err}
			}
		}
		level = next
	}
	var entries []entry
	for soname, data := range libs.used {
		name := libDir + "/" + soname
		if soname == path.Base(loader) {
			name = loader
		}
		entries = append(entries, entry{name: name, mode: typeFile | 0o755, data: data})
	}
	return entries, nil
}

// libraries finds shared libraries by the names that binaries ask for.
type libraries struct {
	found   map[string]file   // by file name
	used    map[string][]byte // by soname
	missing []string          // sonames
}

// use notes what a binary needs.
func (l *libraries) use(image []byte, name string) error {
	f, err := elf.NewFile(bytes.NewReader(image))
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	needed, err := f.ImportedLibraries()
	if err != nil {
		return fmt.Errorf("%s: read what it needs: %w", name, err)
	}
	for _, soname := range append(needed, path.Base(loader)) {
		if l.used[soname] == nil && !slices.Contains(l.missing, soname) {
			l.missing = append(l.missing, soname)
		}
	}
	return nil
}

// add takes a package's libraries and resolves what they can.
func (l *libraries) add(files map[string]file) error {
	for name, f := range files {
		l.found[path.Base(name)] = f
	}
	for again := true; again; {
		again = false
		for _, soname := range slices.Clone(l.missing) {
			data, err := l.lookup(soname)
			if err != nil {
				return err
			}
			if data == nil {
				continue
			}
			l.used[soname] = data
			l.missing = slices.DeleteFunc(l.missing, func(s string) bool { return s == soname })
			if err := l.use(data, soname); err != nil {
				return err
			}
			again = true
		}
	}
	return nil
}

// lookup follows the symlinks from a soname to the library's bytes; nil when no package so far has it.
func (l *libraries) lookup(soname string) ([]byte, error) {
	name := soname
	for range 8 {
		f, ok := l.found[name]
		if !ok {
			return nil, nil
		}
		if f.link == "" {
			return f.data, nil
		}
		name = path.Base(f.link)
	}
	return nil, errors.New(soname + ": too many symlinks")
}
