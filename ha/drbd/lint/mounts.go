package lint

import (
	"fmt"
	"path"
	"slices"
	"strconv"
	"strings"

	"kvmctl/ha/drbd/conf"
)

// resourceOf stands before a resource's name.
const resourceOf = "resource "

// devices gives what the volumes of this host are called, and the disks below them; of every host where this one is not known.
func (l *linter) devices() (drbd, below map[string]string) {
	drbd, below = map[string]string{}, map[string]string{}
	for _, r := range l.in.Here.Resources {
		for _, h := range r.Hosts {
			if l.in.Host != "" && len(h.Names) > 0 && !h.Called(l.in.Host) {
				continue
			}
			for _, v := range r.VolumesOn(h) {
				name := resourceOf + r.Name.Text
				drbd[path.Join("/dev/drbd/by-res", r.Name.Text, strconv.Itoa(v.Number))] = name
				drbd[path.Join("/dev/drbd/by-res", r.Name.Text)] = name
				if v.Device.Text != "" {
					drbd[device(v.Device.Text)] = name
				}
				if v.Minor >= 0 {
					drbd["/dev/drbd"+strconv.Itoa(v.Minor)] = name
				}
				if v.Disk.Text != "" && v.Disk.Text != "none" {
					drbd[path.Join("/dev/drbd/by-disk", strings.TrimPrefix(v.Disk.Text, "/dev/"))] = name
					below[device(v.Disk.Text)] = name
				}
			}
		}
	}
	return drbd, below
}

// device gives one of the names of a device: device mapper's of a logical volume is as good as /dev/vg/lv.
func device(name string) string {
	name = path.Clean(name)
	mapped, ok := strings.CutPrefix(name, "/dev/mapper/")
	if !ok {
		return name
	}
	const dash = "\x00" // a dash of the volume's or the group's own name is doubled
	vg, lv, ok := strings.Cut(strings.ReplaceAll(mapped, "--", dash), "-")
	if !ok || strings.Contains(lv, "-") {
		return name
	}
	return strings.ReplaceAll("/dev/"+vg+"/"+lv, dash, "-")
}

// mountedBy gives the group that mounts a directory.
func (l *linter) mountedBy(dir string) (group string, ok bool) {
	for _, g := range l.in.Groups {
		if slices.ContainsFunc(g.Mounts, func(m GroupMount) bool { return path.Clean(dir) == path.Clean(m.Dir) }) {
			return g.Name, true
		}
	}
	return "", false
}

// mounts tells what is mounted behind the agent's back.
func (l *linter) mounts() {
	drbd, below := l.devices()
	for _, m := range l.in.Mounts {
		what := device(m.What)
		auto, by := !slices.Contains(m.Options, "noauto"), ""
		if slices.Contains(m.Options, "x-systemd.automount") || slices.Contains(m.Options, "comment=systemd.automount") {
			auto = true
		}
		at, better := m.At, "noauto"
		var other conf.Position
		if m.Unit != "" {
			auto = false
			for _, unit := range []string{m.Unit, strings.TrimSuffix(m.Unit, ".mount") + ".automount"} {
				if k, on := l.begins(unit); on {
					auto, by, other, better = true, unit+" ", k.At, "systemctl disable "+unit
				}
			}
		}
		where := m.Where
		if where == "" {
			where = "no directory"
		}
		switch r, ok := drbd[what]; {
		case ok && auto:
			l.all = append(l.all, Finding{Danger, at, other, by + "mounts " + m.What + " on " + where + " at boot",
				"the device of " + r + " is the active node's: elsewhere the mount fails and stops the boot, or DRBD 9 promotes for it", better})
			continue
		case ok:
			continue
		}
		if r, ok := below[what]; ok {
			s := Warning
			if auto {
				s = Danger
			}
			l.all = append(l.all, Finding{s, at, other, by + "mounts " + m.What + " on " + where,
				"the disk below " + r + ": what is written there passes DRBD by, and the peer never has it", "the DRBD device, with noauto"})
		} else if g, ok := l.mountedBy(m.Where); ok && auto {
			l.all = append(l.all, Finding{Danger, at, other, by + "mounts " + m.What + " on " + m.Where + " at boot",
				fmt.Sprintf("group %q mounts its own device there on the active node; by a UUID or a label even the disk below it may be found", g), better})
		}
	}
}
