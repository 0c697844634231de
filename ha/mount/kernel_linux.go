package mount

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"kvmctl/internal/mountinfo"
)

// kernel names what of the kernel itself holds the file system or its device: dirs are where it is mounted. None of it is undone here: each
// is an act of somebody's who has to know.
func (t *target) kernel(h here, table []mountinfo.Entry, dirs []string) []Holder {
	all := t.exports(h, dirs)
	all = append(all, t.loops(h, table, dirs)...)
	all = append(all, t.mappers(h)...)
	return append(all, t.swaps(h, dirs)...)
}

// exports names what the NFS server exports: the two files say the same where both are.
func (t *target) exports(h here, dirs []string) []Holder {
	clients := make(map[string]int)
	var order []export
	for _, file := range []string{"/fs/nfsd/exports", "/fs/nfs/exports"} {
		exports := parseExports(read(h.proc+file, maxExports))
		for _, e := range exports {
			if !t.has(e.path, dirs) {
				continue
			}
			if clients[e.path]++; clients[e.path] == 1 {
				order = append(order, e)
			}
		}
		if len(exports) > 0 {
			break
		}
	}
	var all []Holder
	for _, e := range order {
		who := name(e.client)
		if more := clients[e.path] - 1; more > 0 {
			who += fmt.Sprintf(" and %d more", more)
		}
		all = append(all, Holder{Kind: Export, What: fmt.Sprintf("the NFS server exports %s to %s: exportfs -u %s", name(e.path), who, quote(e.client+":"+e.path))})
	}
	return all
}

// loops names the loop devices whose files lie on the file system, or which show its device.
func (t *target) loops(h here, table []mountinfo.Entry, dirs []string) []Holder {
	files, _ := filepath.Glob(h.sys + "/block/loop*/loop/backing_file")
	var all []Holder
	for _, f := range files {
		dev := "/dev/" + filepath.Base(filepath.Dir(filepath.Dir(f)))
		backing := strings.TrimSuffix(read(f, 8<<10), "\n")
		if on, ok := t.backs(dev); ok && !on || !ok && !t.has(backing, dirs) {
			continue
		}
		what := fmt.Sprintf("loop device %s has its file %s there", dev, name(backing))
		undo := "losetup -d " + dev
		if n, err := blockDevice(dev); err == nil {
			for _, e := range of(table, n) {
				what += ", and is mounted on " + name(e.Point)
				undo = "umount " + quote(e.Point) + " && " + undo
			}
		}
		all = append(all, Holder{Kind: Loop, What: what + ": " + undo})
	}
	return all
}

// backs tells whether a loop device's file lies on the file system or is its device, as the kernel has it by number; !ok: it does not say.
func (t *target) backs(dev string) (on, ok bool) {
	fd, err := unix.Open(dev, unix.O_RDONLY|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return false, false
	}
	defer unix.Close(fd)
	info, err := unix.IoctlLoopGetStatus64(fd)
	if err != nil {
		return false, false
	}
	for _, n := range []uint64{info.Device, info.Rdevice} {
		if (number{unix.Major(n), unix.Minor(n)}) == t.dev {
			return true, true
		}
	}
	return false, true
}

// mappers names the devices of device-mapper and md that lie on the device.
func (t *target) mappers(h here) []Holder {
	dir := h.sys + "/dev/block/" + strconv.FormatUint(uint64(t.dev.major), 10) + ":" + strconv.FormatUint(uint64(t.dev.minor), 10) + "/holders"
	entries, _ := os.ReadDir(dir)
	var all []Holder
	for _, e := range entries {
		what, undo := "device /dev/"+name(e.Name()), "mdadm --stop /dev/"+quote(e.Name())
		if dm := strings.TrimSpace(read(h.sys+"/block/"+e.Name()+"/dm/name", 1<<10)); dm != "" {
			what, undo = what+" ("+name(dm)+")", "dmsetup remove "+quote(dm)
		}
		all = append(all, Holder{Kind: Mapper, What: what + " lies on the device: " + undo})
	}
	return all
}

// swaps names what is swapped to.
func (t *target) swaps(h here, dirs []string) []Holder {
	var all []Holder
	for _, path := range parseSwaps(read(h.proc+"/swaps", maxSwaps)) {
		if t.has(path, dirs) {
			all = append(all, Holder{Kind: Swap, What: fmt.Sprintf("%s is swapped to: swapoff %s", name(path), quote(path))})
		}
	}
	return all
}

// has reports whether a path of the kernel's lies on the file system, or is its device. What it cannot look at, a deleted file or one in
// another mount namespace, is told by its name.
func (t *target) has(path string, dirs []string) bool {
	var st unix.Statx_t
	if unix.Statx(unix.AT_FDCWD, path, unix.AT_STATX_DONT_SYNC|unix.AT_NO_AUTOMOUNT, unix.STATX_TYPE, &st) == nil {
		return number{st.Dev_major, st.Dev_minor} == t.dev ||
			st.Mode&unix.S_IFMT == unix.S_IFBLK && number{st.Rdev_major, st.Rdev_minor} == t.dev
	}
	for _, dir := range dirs {
		if inside(path, dir) {
			return true
		}
	}
	return false
}

// read gives up to limit bytes of a file of the kernel's; nothing where there is none.
func read(path string, limit int64) string {
	f, err := os.Open(path)
	if err != nil {
		return ""
	}
	defer f.Close()
	b, _ := io.ReadAll(io.LimitReader(f, limit))
	return string(b)
}
