package lint

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"kvmctl/ha/drbd/conf"
)

// unitDirs are where systemd looks for units, the first that has one counts (systemd.unit(5)).
var unitDirs = []string{"/etc/systemd/system", "/run/systemd/system", "/usr/local/lib/systemd/system", "/usr/lib/systemd/system", "/lib/systemd/system"}

// maxEntries bounds the files of a directory that are looked at.
const maxEntries = 20000

// Gather reads the facts below root, "" for the machine's own. They are files, so that they are the same before systemd runs, after, and
// without it. What is not there says nothing; what cannot be read is an error beside the other facts. Positions begin with label.
func Gather(root, label string) (Facts, error) {
	g := gatherer{conf.Dir(root), root, label, nil}
	var f Facts
	for _, name := range []string{"/sys/module/drbd/version", "/proc/drbd"} {
		if text := g.read(name); f.DRBD == 0 {
			f.DRBD = ParseVersion(text)
		}
	}
	const helper = "/sys/module/drbd/parameters/usermode_helper"
	f.Helper = Setting{strings.TrimSpace(string(g.read(helper))), conf.Position{File: label + helper}}
	f.Mounts = ParseFstab(label+"/etc/fstab", g.read("/etc/fstab"))
	seen := map[string]bool{}
	for _, dir := range unitDirs {
		for _, e := range g.list(dir) {
			name, full := e.Name(), path.Join(dir, e.Name())
			if strings.HasSuffix(name, ".mount") && !seen[name] {
				seen[name] = true
				if g.masked(full) {
					continue
				}
				if m, ok := ParseMountUnit(label+full, name, g.read(full)); ok {
					f.Mounts = append(f.Mounts, m)
				}
			}
			if e.IsDir() && (strings.HasSuffix(name, ".wants") || strings.HasSuffix(name, ".requires")) && !strings.HasPrefix(dir, "/run") {
				for _, link := range g.list(full) {
					unit := link.Name()
					if !slices.ContainsFunc(f.AtBoot, func(k Link) bool { return k.Unit == unit }) && !g.masked(path.Join(unitDirs[0], unit)) {
						f.AtBoot = append(f.AtBoot, Link{unit, conf.Position{File: label + path.Join(full, unit)}})
					}
				}
			}
		}
	}
	f.AtBoot = append(f.AtBoot, g.scripts()...)
	f.Watchdogs = g.watchdogs()
	return f, errors.Join(g.errs...)
}

type gatherer struct {
	source conf.Dir
	root   string
	label  string
	errs   []error
}

// read gives a small file; nil where there is none.
func (g *gatherer) read(name string) []byte {
	text, _, err := g.source.Read(name, maxSmall)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		g.errs = append(g.errs, fmt.Errorf("read %s: %w", g.label+name, err))
	}
	if err != nil {
		return nil
	}
	return text
}

func (g *gatherer) list(dir string) []fs.DirEntry {
	all, err := os.ReadDir(filepath.Join(g.root+"/", dir))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		g.errs = append(g.errs, fmt.Errorf("read %s: %w", g.label+dir, err))
	}
	return all[:min(len(all), maxEntries)]
}

// masked reports that a unit's file is a link to /dev/null.
func (g *gatherer) masked(name string) bool {
	to, err := os.Readlink(filepath.Join(g.root+"/", name))
	return err == nil && to == os.DevNull
}

// scripts are what System V's init begins in runlevels 2 to 5, and systemd for it unless it has a unit of that name.
func (g *gatherer) scripts() (all []Link) {
	for _, level := range []string{"2", "3", "4", "5"} {
		dir := "/etc/rc" + level + ".d"
		for _, e := range g.list(dir) {
			name := e.Name()
			if len(name) < 4 || name[0] != 'S' || name[1] < '0' || name[1] > '9' || name[2] < '0' || name[2] > '9' {
				continue
			}
			unit := name[3:] + ".service"
			if slices.ContainsFunc(all, func(k Link) bool { return k.Unit == unit }) || g.hasUnit(unit) {
				continue
			}
			all = append(all, Link{unit, conf.Position{File: g.label + path.Join(dir, name)}})
		}
	}
	return all
}

// hasUnit reports that systemd runs and has a unit of its own in a script's place.
func (g *gatherer) hasUnit(unit string) bool {
	if _, err := os.Stat(filepath.Join(g.root+"/", "/run/systemd/system")); err != nil {
		return false
	}
	return slices.ContainsFunc(unitDirs, func(dir string) bool {
		_, err := os.Lstat(filepath.Join(g.root+"/", dir, unit))
		return err == nil
	})
}

// watchdogs reads system.conf and what overrides it, in systemd's order: by the name of the file, whatever its directory.
func (g *gatherer) watchdogs() (all []Setting) {
	add := func(name string) {
		if s, ok := ParseWatchdog(g.label+name, g.read(name)); ok {
			all = append(all, s)
		}
	}
	add("/etc/systemd/system.conf")
	over := map[string]string{} // by the file's name
	for _, dir := range []string{"/usr/lib/systemd/system.conf.d", "/usr/local/lib/systemd/system.conf.d", "/run/systemd/system.conf.d", "/etc/systemd/system.conf.d"} {
		for _, e := range g.list(dir) {
			if strings.HasSuffix(e.Name(), ".conf") {
				over[e.Name()] = path.Join(dir, e.Name())
			}
		}
	}
	for _, name := range slices.Sorted(maps.Keys(over)) {
		add(over[name])
	}
	return all
}
