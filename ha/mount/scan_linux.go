package mount

import (
	"context"
	"fmt"
	"maps"
	"strings"

	"golang.org/x/sys/unix"

	"kvmctl/internal/mountinfo"
)

// Holders tells who holds m's file system or its device, killing nobody. Errors: ErrNoDevice, ErrHangs.
func (x *Mounter) Holders(ctx context.Context, m Mount) ([]Holder, error) {
	var all []Holder
	err := x.act(ctx, m.Device, func(ctx context.Context) error {
		dev, err := blockDevice(m.Device)
		if err != nil {
			return err
		}
		hs, _, err := x.holders(ctx, m, dev)
		if err == nil {
			all = hs
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("look for who holds %s: %w", m.Device, err)
	}
	return all, nil
}

// holders looks everywhere.
func (x *Mounter) holders(ctx context.Context, m Mount, dev number) ([]Holder, *target, error) {
	table, err := mountinfo.Read()
	if err != nil {
		return nil, nil, err
	}
	dir, err := directory(m.Dir)
	if err != nil {
		dir = m.Dir
	}
	t, pids := newTarget(table, dev), numbers("/proc")
	t.sockets = sockets(pids, dev)
	uses := make(map[int]use)
	for _, pid := range pids {
		if ctx.Err() != nil {
			return nil, nil, context.Cause(ctx)
		}
		uses[pid] = t.look(pid)
	}
	dirs := []string{dir}
	for _, e := range of(table, dev) {
		dirs = append(dirs, e.Point)
	}
	all := mounts(table, dir, dev)
	for _, e := range overlays(table, dirs) {
		all = append(all, Holder{Kind: Overlay, What: fmt.Sprintf("the overlay on %s has a layer there: umount %s", name(e.Point), quote(e.Point))})
	}
	all = append(all, t.kernel(x.here, table, dirs)...)
	all = append(all, t.others(table, dir, uses)...)
	return append(all, t.processes(pids, uses)...), t, nil
}

func newTarget(table []mountinfo.Entry, dev number) *target {
	t := &target{dev: dev, nested: make(map[uint64]bool), copies: make(map[uint64]string)}
	for _, e := range undo(table, dev) {
		if device(e) != dev {
			t.nested[e.ID] = true
		}
	}
	t.nsfs = statDevice("/proc/self/ns/mnt")
	if s, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0); err == nil {
		t.sockfs = statDevice(fmt.Sprintf("/proc/self/fd/%d", s))
		unix.Close(s)
	}
	return t
}

// statDevice gives the file system that a link of /proc leads to.
func statDevice(path string) number {
	var st unix.Statx_t
	if unix.Statx(unix.AT_FDCWD, path, 0, 0, &st) != nil {
		return number{}
	}
	return number{st.Dev_major, st.Dev_minor}
}

// processes names those that hold it. Those of process 1's mount namespace are held for its holders as a whole: everything runs there.
func (t *target) processes(pids []int, uses map[int]use) []Holder {
	var all []Holder
	for _, pid := range pids {
		h := Holder{PID: pid}
		switch u := uses[pid]; {
		case len(u.open) > 0:
			h.Kind, h.What = Open, summary(u.open)
		case len(u.raw) > 0:
			h.Kind, h.What = Raw, summary(u.raw)
		case t.lives(u) != "":
			h.Kind, h.What = Space, "lives in another mount namespace, which has it on "+t.lives(u)
		default:
			continue
		}
		if h, ok := named(h); ok {
			all = append(all, h)
		}
	}
	return all
}

// lives gives where one of the namespaces that a process lives in has the file system; empty: none has.
func (t *target) lives(u use) string {
	for id := range u.spaces {
		if where := t.copies[id]; where != "" {
			return where
		}
	}
	return ""
}

// others reads the tables of all other mount namespaces and notes those that have the file system mounted; those without a process, and process
// 1's, are named by what keeps them.
func (t *target) others(own []mountinfo.Entry, dir string, uses map[int]use) []Holder {
	self, _ := namespace("/proc/thread-self/ns/mnt")
	lived, kept := make(map[uint64]string), make(map[uint64]string)
	for pid, u := range uses {
		for id, path := range u.spaces {
			if lived[id] == "" || pid == 1 {
				lived[id] = path
			}
		}
		for id, path := range u.kept {
			kept[id] = path
		}
	}
	delete(lived, self)
	all := tables(lived)
	for id, path := range pins(own, "/") {
		kept[id] = path
	}
	for id, table := range all {
		for pinned, path := range pins(table, strings.TrimSuffix(lived[id], "ns/mnt")+"root") {
			kept[pinned] = path
		}
	}
	only := maps.Clone(kept)
	maps.DeleteFunc(only, func(id uint64, _ string) bool { return id == self || all[id] != nil })
	maps.Copy(all, tables(only))
	all[self] = own
	main, ok := top(own, dir)
	if !ok || device(main) != t.dev {
		main = mountinfo.Entry{}
	}
	var named []Holder
	for id, table := range all {
		if id == self {
			continue
		}
		left := remaining(own, main, table, t.dev, all)
		if len(left) == 0 {
			continue
		}
		where := name(left[0].Point)
		if path := lived[id]; strings.HasPrefix(path, "/proc/1/") {
			named = append(named, keeper(1, "its mount namespace has it on "+where+": nsenter -t 1 -m umount "+quote(left[0].Point)))
			continue
		} else if path != "" {
			t.copies[id] = where
		}
		if path := kept[id]; path != "" {
			named = append(named, keeperOf(path, where))
		}
	}
	return named
}

// keeper is a process that keeps a mount namespace.
func keeper(pid int, what string) Holder {
	h, _ := named(Holder{Kind: Kept, PID: pid, What: what})
	return h
}

// keeperOf names who keeps a mount namespace: /proc/PID/task/TID/fd/N, or where it is mounted.
func keeperOf(path, where string) Holder {
	var pid, tid, fd int
	if n, _ := fmt.Sscanf(path, "/proc/%d/task/%d/fd/%d", &pid, &tid, &fd); n == 3 {
		return keeper(pid, fmt.Sprintf("keeps by descriptor %d a mount namespace that has it on %s", fd, where))
	}
	return Holder{Kind: Kept, What: fmt.Sprintf("%s keeps a mount namespace that has it on %s: umount %s", name(path), where, quote(path))}
}

// mounts names what of the own table holds the file system beside the mount at dir.
func mounts(table []mountinfo.Entry, dir string, dev number) []Holder {
	var all []Holder
	main := false
	for _, e := range undo(table, dev) {
		if !main && e.Point == dir && e.Root == "/" && device(e) == dev {
			main = true
			continue
		}
		all = append(all, beside(e, dev))
	}
	return all
}

// beside names a mount of the file system, or on it.
func beside(e mountinfo.Entry, dev number) Holder {
	if device(e) != dev {
		return Holder{Kind: Nested, What: fmt.Sprintf("%s (%s) is mounted on it: umount %s", name(e.Point), e.Type, quote(e.Point))}
	}
	return Holder{Kind: Bind, What: fmt.Sprintf("it is mounted on %s too: umount %s", name(e.Point), quote(e.Point))}
}
