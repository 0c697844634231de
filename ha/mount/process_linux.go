package mount

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"kvmctl/internal/child"
	"kvmctl/internal/proc"
	"kvmctl/internal/smallfile"
)

// target is what holders are sought of.
type target struct {
	dev    number          // of the file system, which is its device's
	nested map[uint64]bool // by their ids: mounts of other file systems that lie on it
	nsfs   number          // the kernel's file system of namespaces
	sockfs number          // and of sockets

	sockets map[uint64]string // bound to names on the file system, by inode
	copies  map[uint64]string // the other mount namespaces that have it mounted, and where
}

// use is what one process has to do with the target.
type use struct {
	open, raw []string          // of the file system, of the device: "is in /srv"
	spaces    map[uint64]string // the mount namespaces of its threads, and where each can be opened
	kept      map[uint64]string // those it has a descriptor of, likewise
}

// Bounds of what is read of one process.
const (
	maxThreads = 1 << 16
	maxMaps    = 64 << 20 // bytes of /proc/PID/maps
)

// look tells what a process has to do with the target. One that ends meanwhile has nothing.
func (t *target) look(pid int) use {
	u := use{spaces: make(map[uint64]string), kept: make(map[uint64]string)}
	base := "/proc/" + strconv.Itoa(pid)
	for i, tid := range numbers(base + "/task") {
		if i >= maxThreads {
			break
		}
		dir := base + "/task/" + strconv.Itoa(tid)
		if id, ok := namespace(dir + "/ns/mnt"); ok {
			u.spaces[id] = dir + "/ns/mnt"
		}
		if tid != pid && same(pid, tid, kcmpFS) && same(pid, tid, kcmpFiles) {
			continue
		}
		t.link(&u, dir+"/cwd", "is in %s")
		t.link(&u, dir+"/root", "has %s as its root directory")
		for _, fd := range numbers(dir + "/fd") {
			path := dir + "/fd/" + strconv.Itoa(fd)
			if t.link(&u, path, "has %s open") != t.nsfs {
				continue
			}
			if id, ok := namespace(path); ok {
				u.kept[id] = path
			}
		}
	}
	t.link(&u, base+"/exe", "runs %s")
	t.maps(&u, base)
	return u
}

// link notes where a link of /proc leads, if that is the target, and gives the number of the file system. It asks no server for anything and
// starts no automount.
func (t *target) link(u *use, path, what string) number {
	var st unix.Statx_t
	const flags = unix.AT_STATX_DONT_SYNC | unix.AT_NO_AUTOMOUNT
	if unix.Statx(unix.AT_FDCWD, path, flags, unix.STATX_TYPE|unix.STATX_INO|unix.STATX_MNT_ID, &st) != nil {
		return number{}
	}
	dev := number{st.Dev_major, st.Dev_minor}
	if socket, ok := t.sockets[st.Ino]; ok && dev == t.sockfs {
		u.open = append(u.open, fmt.Sprintf("has the socket %s open", name(socket)))
		return dev
	}
	raw := st.Mode&unix.S_IFMT == unix.S_IFBLK && number{st.Rdev_major, st.Rdev_minor} == t.dev
	open := dev == t.dev || st.Mask&unix.STATX_MNT_ID != 0 && t.nested[st.Mnt_id]
	if !raw && !open {
		return dev
	}
	to, _ := os.Readlink(path)
	if raw {
		u.raw = append(u.raw, fmt.Sprintf(what, name(to)))
	} else {
		u.open = append(u.open, fmt.Sprintf(what, name(to)))
	}
	return dev
}

// maps notes a file of the file system that a process has mapped: its descriptor may be closed.
func (t *target) maps(u *use, base string) {
	if len(u.open) > 0 { // it is a holder already
		return
	}
	f, err := os.Open(base + "/maps")
	if err != nil {
		return
	}
	defer f.Close()
	s := bufio.NewScanner(io.LimitReader(f, maxMaps))
	s.Buffer(nil, 64<<10)
	for s.Scan() {
		if dev, path, ok := parseMapping(s.Text()); ok && dev == t.dev {
			u.open = append(u.open, fmt.Sprintf("has %s mapped", name(path)))
			return
		}
	}
}

// numbers gives the entries of a directory of /proc that are numbers.
func numbers(dir string) []int {
	f, err := os.Open(dir)
	if err != nil {
		return nil
	}
	defer f.Close()
	names, _ := f.Readdirnames(-1)
	all := make([]int, 0, len(names))
	for _, n := range names {
		if i, err := strconv.Atoi(n); err == nil {
			all = append(all, i)
		}
	}
	return all
}

// namespace gives the number of the mount namespace that a link leads to.
func namespace(path string) (uint64, bool) {
	var buf [64]byte
	n, err := unix.Readlink(path, buf[:])
	if err != nil {
		return 0, false
	}
	return parseSpace(string(buf[:n]))
}

// What kcmp(2) compares.
const (
	kcmpFiles = 2
	kcmpFS    = 3
)

// same reports whether two threads share their descriptors, or their directories; false also when the kernel does not say.
func same(a, b, what int) bool {
	r, _, errno := unix.Syscall6(unix.SYS_KCMP, uintptr(a), uintptr(b), uintptr(what), 0, 0, 0)
	return errno == 0 && r == 0
}

// summary is a list of uses as one phrase.
func summary(uses []string) string {
	if more := len(uses) - 1; more > 0 {
		return fmt.Sprintf("%s, and %d more", uses[0], more)
	}
	return uses[0]
}

// named fills in who a process is; false: it is gone, or a thread of the kernel's.
func named(h Holder) (Holder, bool) {
	base := "/proc/" + strconv.Itoa(h.PID)
	st, err := proc.ReadStat(h.PID)
	if err != nil || st.State == 'Z' || st.State == 'X' {
		return h, false
	}
	if _, err := os.Readlink(base + "/exe"); errors.Is(err, os.ErrNotExist) {
		return h, false
	}
	h.Comm = child.Printable(st.Name)
	if b, err := smallfile.Read(base+"/cgroup", maxCgroup); err == nil {
		h.Unit = strings.Clone(parseUnit(string(b)))
	}
	return h, true
}
