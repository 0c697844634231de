package mount

import (
	"os"
	"path/filepath"
	"runtime"
	"strings"

	"golang.org/x/sys/unix"

	"kvmctl/internal/mountinfo"
)

// aside runs f on a thread of its own, which may enter namespaces and is thrown away; false: the kernel does not let it.
func aside(f func(procfs int)) bool {
	done := make(chan bool)
	go func() {
		defer close(done)
		runtime.LockOSThread()                              // for ever: the thread ends with this goroutine
		if err := unix.Unshare(unix.CLONE_FS); err != nil { // setns(2) asks for it
			done <- false
			return
		}
		procfs, err := unix.Open("/proc", unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
		if err != nil {
			done <- false
			return
		}
		defer unix.Close(procfs)
		f(procfs)
		done <- true
	}()
	return <-done
}

// enter brings the calling thread into the namespace that path leads to.
func enter(path string, kind int) error {
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	return unix.Setns(fd, kind)
}

// tables reads the mounts of namespaces, from within: what a process sees of its own ends at its root directory. Where this process may not
// enter, that is what is read. Namespaces that are gone are left out.
func tables(spaces map[uint64]string) map[uint64][]mountinfo.Entry {
	all := make(map[uint64][]mountinfo.Entry)
	aside(func(procfs int) {
		own, err := unix.Openat(procfs, "thread-self/ns/mnt", unix.O_RDONLY|unix.O_CLOEXEC, 0)
		if err != nil {
			return
		}
		defer unix.Close(own)
		for id, path := range spaces {
			if table, err := tableOf(procfs, id, path); err == nil {
				all[id] = table
			}
			if unix.Setns(own, unix.CLONE_NEWNS) != nil { // the next path means something else in there
				return
			}
		}
	})
	for id, path := range spaces {
		base, ok := strings.CutSuffix(path, "/ns/mnt")
		if _, done := all[id]; done || !ok {
			continue
		}
		if f, err := os.Open(base + "/mountinfo"); err == nil {
			if table, err := mountinfo.Parse(f); err == nil {
				all[id] = table
			}
			f.Close()
		}
	}
	return all
}

// tableOf brings the calling thread into the namespace id that path leads to, and reads its table.
func tableOf(procfs int, id uint64, path string) ([]mountinfo.Entry, error) {
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	defer unix.Close(fd)
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return nil, err
	}
	if st.Ino != id {
		return nil, unix.ESTALE
	}
	if err := unix.Setns(fd, unix.CLONE_NEWNS); err != nil {
		return nil, err
	}
	inside, err := unix.Openat(procfs, "thread-self/mountinfo", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	f := os.NewFile(uintptr(inside), "mountinfo")
	defer f.Close()
	return mountinfo.Parse(f)
}

// pins finds the namespaces that mounts of nsfs keep, and where each can be opened; root is how to get at the table's paths.
func pins(table []mountinfo.Entry, root string) map[uint64]string {
	all := make(map[uint64]string)
	for _, e := range table {
		if e.Type != "nsfs" {
			continue
		}
		if id, ok := parseSpace(e.Root); ok {
			all[id] = filepath.Join(root, e.Point)
		}
	}
	return all
}
