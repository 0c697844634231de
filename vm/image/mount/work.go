package mount

import (
	"context"
	"errors"
	"fmt"
	"os"
	"syscall"

	"golang.org/x/sys/unix"

	"kvmctl/internal/flock"
	"kvmctl/vm"
	"kvmctl/vm/image"
	"kvmctl/vm/image/parttable"
)

// work is a mount under way.
type work struct {
	m      *Manager
	rec    *Record
	lock   *flock.Lock
	images []opened
	disk   *os.File // the disk as the guest sees it
	size   int64    // bytes
}

// opened is one image of a chain.
type opened struct {
	link   image.Link
	rw, ro *os.File // rw is nil for what is only read
}

// openChain opens an image and what it is based on. Only the image itself is ever written.
func openChain(ctx context.Context, r Request) (all []opened, err error) {
	links, err := image.Chain(ctx, r.Image, r.Format)
	if err != nil {
		return nil, err
	}
	for i, l := range links {
		if i > 0 {
			if err := vm.BackingAllowed(links[0].Path, l.Path); err != nil {
				return all, err
			}
		}
		// The daemon's own lock is what counts; its words would not say who is in the way.
		if err := image.CheckUnlocked(ctx, l.Path, r.RW && i == 0); err != nil {
			return all, err
		}
		o := opened{link: l}
		if o.ro, err = openImage(l.Path, os.O_RDONLY); err != nil {
			return all, err
		}
		all = append(all, o)
		if r.RW && i == 0 {
			if all[i].rw, err = openImage(l.Path, os.O_RDWR); err != nil {
				return all, err
			}
		}
	}
	return all, nil
}

// openImage opens a file or a block device, and never waits for a FIFO.
func openImage(path string, access int) (*os.File, error) {
	f, err := os.OpenFile(path, access|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, fmt.Errorf("open image: %w", err)
	}
	st, err := f.Stat()
	if err == nil && !st.Mode().IsRegular() && st.Mode().Type() != os.ModeDevice {
		err = &image.NotImageError{Path: path, Kind: "something else"}
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// showRaw: a raw image is the disk. The open file, and with it the lock, lives on in the loop device.
func (w *work) showRaw(ctx context.Context) error {
	w.disk = w.images[0].ro
	if w.rec.RW {
		w.disk = w.images[0].rw
	}
	return image.Hold(ctx, w.disk, w.rec.RW)
}

// mount finds the partition and mounts it.
func (w *work) mount(_ context.Context, r Request) error {
	table, err := parttable.Read(w.disk, w.size)
	if err != nil {
		return err
	}
	p, err := choose(table, r.Part, r.RW)
	if err != nil {
		return err
	}
	h, err := plan(p, r.RW)
	if err != nil {
		return err
	}
	w.rec.Part, w.rec.FS = p.Name, p.FS.Kind
	dev, n, err := openLoop(w.disk, w.rec.ID, p.Start, p.Size, r.RW)
	if err != nil {
		return err
	}
	defer dev.Close() // the mount keeps it; without one it ends here
	w.rec.Loop = &n
	if err := w.m.save(w.rec); err != nil {
		return err
	}
	w.m.step("loop device")
	if err := unix.Mount(loopPath(n), r.Dir, h.fstype, h.flags, h.data); err != nil {
		return mountFailed(p, h, err)
	}
	w.m.step("mount")
	w.rec.Ready = true
	return w.m.save(w.rec)
}

// mountFailed says what the kernel's numbers mean here (mount(2)).
func mountFailed(p parttable.Partition, h how, err error) error {
	switch {
	case errors.Is(err, unix.ENODEV):
		return &NoKernelError{FS: p.FS.Kind, Module: h.fstype}
	case errors.Is(err, unix.EROFS) && h.flags&unix.MS_RDONLY == 0:
		return fmt.Errorf("mount partition %s (%s) for writing: %w", p.Name, p.FS.Kind, err)
	}
	return fmt.Errorf("mount partition %s (%s): %w; the kernel's reason: dmesg", p.Name, p.FS.Kind, err)
}

// NoKernelError says that the host's kernel does not know a file system.
type NoKernelError struct{ FS, Module string }

func (e *NoKernelError) Error() string { return "this kernel has no " + e.FS }

// Hint names the module and the kernel that has it.
func (e *NoKernelError) Hint() string {
	return fmt.Sprintf("modprobe %s; Debian's linux-image-amd64 has it, its cloud kernel may not", e.Module)
}

// close lets go of everything that the mount does not need us for.
func (w *work) close() {
	for _, o := range w.images {
		o.ro.Close()
		if o.rw != nil {
			o.rw.Close()
		}
	}
	w.images = nil
	if w.disk != nil {
		w.disk.Close() // of a raw image this was closed above
		w.disk = nil
	}
}

// undo leaves nothing.
func (w *work) undo(ctx context.Context) error {
	w.close()
	return w.m.undo(ctx, w.rec, false)
}
