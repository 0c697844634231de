package mount

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"kvmctl/internal/flock"
	"kvmctl/internal/mountinfo"
	"kvmctl/vm"
	"kvmctl/vm/image/parttable"
)

// Manager mounts images and undoes it.
type Manager struct {
	Layout  vm.Layout
	UIDBase int    // of the guests; the daemons' uids lie above
	QEMU    string // the guests' QEMU: it shows an image where both daemons are missing or its file system cannot lend it
	Daemon  string // path or name; empty: "qemu-storage-daemon"
	// NBDServer is used where Daemon is missing: path or name; empty: "qemu-nbd".
	NBDServer string
	Step      func(name string)
}

// lockWait is how long an act waits for another kvmctl's; each takes well under a second, but for an image that has to be written out.
const lockWait = 40 * time.Second

func (m *Manager) lock(ctx context.Context) (*flock.Lock, error) {
	if err := vm.MakeDirs(m.Layout.RunRoot(), 0o711); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, lockWait)
	defer cancel()
	l, err := flock.Wait(ctx, m.Layout.MountsLock())
	if errors.Is(err, flock.ErrLocked) {
		return nil, &vm.BusyError{Op: "image mount or umount"}
	}
	return l, err
}

// Request is what should be mounted.
type Request struct {
	Image  string // absolute path
	Format string // qcow2 or raw
	Part   string // empty: the only one that can be mounted
	RW     bool
	Dir    string // absolute path of an empty directory
}

// Mounted is what a mount did.
type Mounted struct {
	Record
	Already bool // it was mounted there before
}

// Parts finds the partitions of an image.
func (m *Manager) Parts(ctx context.Context, image, format string) (parttable.Table, error) {
	l, err := m.lock(ctx)
	if err != nil {
		return parttable.Table{}, err
	}
	defer l.Unlock()
	if _, err := m.settle(ctx); err != nil {
		return parttable.Table{}, err
	}
	w, err := m.begin(ctx, l, Request{Image: image, Format: format})
	if err != nil {
		return parttable.Table{}, err
	}
	table, err := parttable.Read(w.disk, w.size)
	return table, errors.Join(err, w.undo(context.WithoutCancel(ctx)))
}

// Mount mounts a partition of an image; what fails leaves nothing. While the image is mounted no guest can start with it: the locks that QEMU
// itself respects are held. The errors: *DirError, *MountedError, *PartError, *UnmountableError, *ReadOnlyError, those of package image.
func (m *Manager) Mount(ctx context.Context, r Request) (*Mounted, error) {
	l, err := m.lock(ctx)
	if err != nil {
		return nil, err
	}
	defer l.Unlock()
	if _, err := m.settle(ctx); err != nil {
		return nil, err
	}
	if had, err := m.already(r); had != nil || err != nil {
		return had, err
	}
	if err := checkDir(r.Dir); err != nil {
		return nil, err
	}
	w, err := m.begin(ctx, l, r)
	if err != nil {
		return nil, err
	}
	if err := w.mount(ctx, r); err != nil {
		return nil, errors.Join(err, w.undo(context.WithoutCancel(ctx)))
	}
	w.close()
	return &Mounted{Record: *w.rec}, nil
}

// already finds the same mount, and one that forbids it.
func (m *Manager) already(r Request) (*Mounted, error) {
	all, err := m.records()
	if err != nil {
		return nil, err
	}
	for _, rec := range all {
		if !SameFile(rec.Image, r.Image) {
			continue
		}
		if rec.Dir == r.Dir && rec.RW == r.RW && (r.Part == "" || rec.Part == r.Part) {
			return &Mounted{Record: *rec, Already: true}, nil
		}
		if rec.RW || r.RW || rec.Dir == r.Dir {
			return nil, &MountedError{*rec}
		}
	}
	return nil, nil
}

// SameFile tells whether two paths lead to the same image.
func SameFile(a, b string) bool {
	x, err1 := os.Stat(a)
	y, err2 := os.Stat(b)
	return a == b || err1 == nil && err2 == nil && os.SameFile(x, y)
}

// checkDir wants an empty directory that is no mount point.
func checkDir(dir string) error {
	refused := func(reason, hint string) error { return &DirError{dir, reason, hint} }
	st, err := os.Stat(dir)
	switch {
	case errors.Is(err, os.ErrNotExist):
		return refused("does not exist", "mkdir "+dir)
	case err != nil:
		return err
	case !st.IsDir():
		return refused("is no directory", "")
	}
	table, err := mountinfo.Read()
	if err != nil {
		return err
	}
	for _, e := range table {
		if e.Point == dir {
			return refused("is a mount point already", "findmnt "+dir)
		}
	}
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	if names, err := d.Readdirnames(1); err == nil && len(names) > 0 {
		return refused("is not empty", "mkdir "+filepath.Join(dir, "image")+" and mount there")
	}
	return nil
}

// newID names a mount.
func newID() string { return strings.ToLower(rand.Text()[:8]) }

// begin writes down that something is begun, opens the image and makes it readable as the disk that its guest sees.
func (m *Manager) begin(ctx context.Context, l *flock.Lock, r Request) (w *work, err error) {
	w = &work{m: m, lock: l, rec: &Record{Version: recordVersion, ID: newID(), Image: r.Image, Format: r.Format, RW: r.RW, Dir: r.Dir, Made: time.Now()}}
	if err := vm.MakeDirs(m.Layout.MountsDir(), 0o711); err != nil {
		return nil, err
	}
	if err := vm.MakeDirs(m.path(w.rec.ID), 0o711); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, w.undo(context.WithoutCancel(ctx)))
		}
	}()
	if err := m.save(w.rec); err != nil {
		return w, err
	}
	links, err := openChain(ctx, r)
	w.images = links
	if err != nil {
		return w, err
	}
	for _, o := range links[1:] {
		w.rec.Under = append(w.rec.Under, o.link.Path)
	}
	m.step("image")
	if r.Format == "raw" {
		err = w.showRaw(ctx)
	} else {
		err = w.showByDaemon(ctx)
	}
	if err != nil {
		return w, err
	}
	m.step("disk")
	st, err := w.disk.Seek(0, 2)
	if err != nil {
		return w, fmt.Errorf("measure image %s: %w", r.Image, err)
	}
	w.size = st
	return w, nil
}

func (m *Manager) step(name string) {
	if m.Step != nil {
		m.Step(name)
	}
}
