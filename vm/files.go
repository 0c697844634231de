package vm

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"syscall"

	"golang.org/x/sys/unix"

	"kvmctl/internal/units"
	"kvmctl/vm/image"
)

// openFiles is what a start holds open until QEMU has inherited it.
type openFiles struct {
	byName   map[string]*os.File
	recorder net.Conn // our end of the flight recorder
}

func (o *openFiles) close() {
	for _, f := range o.byName {
		f.Close()
	}
	o.byName = nil
	if o.recorder != nil {
		o.recorder.Close()
	}
}

// inOrder gives the files as the wiring numbers them.
func (o *openFiles) inOrder(w *Wiring) ([]*os.File, error) {
	files := make([]*os.File, len(w.names))
	for i, n := range w.names {
		f := o.byName[n]
		if f == nil {
			return nil, fmt.Errorf("descriptor %s was not opened", n)
		}
		files[i] = f
	}
	return files, nil
}

// chains reads the chain of files that each disk consists of. No program is executed: the headers say it.
func chains(ctx context.Context, spec *Spec) ([][]Layer, error) {
	all := make([][]Layer, len(spec.Disks))
	for i, d := range spec.Disks {
		links, err := image.Chain(ctx, d.Image, d.Format)
		if err != nil {
			return nil, &DiskError{Disk: i, Image: d.Image, Err: err}
		}
		for _, l := range links[1:] {
			if err := backingAllowed(links[0].Path, l.Path); err != nil {
				return nil, &DiskError{Disk: i, Image: d.Image, Err: err}
			}
		}
		for _, l := range links {
			all[i] = append(all[i], Layer{Path: l.Path, Format: l.Format})
		}
	}
	return all, nil
}

// DiskError says which disk is the trouble.
type DiskError struct {
	Disk  int
	Image string
	Err   error
}

func (e *DiskError) Error() string { return fmt.Sprintf("disk %d (%s): %v", e.Disk, e.Image, e.Err) }
func (e *DiskError) Unwrap() error { return e.Err }

// Hint is the cause's own, or how to make a missing image.
func (e *DiskError) Hint() string {
	var h interface{ Hint() string }
	if errors.As(e.Err, &h) {
		return h.Hint()
	}
	if errors.Is(e.Err, fs.ErrNotExist) {
		return fmt.Sprintf("make it with `kvmctl image create %s 8G`, or correct `image` in vm.toml", e.Image)
	}
	return ""
}

// open opens everything that the wiring names except the TAPs.
func (h *Host) open(spec *Spec, w *Wiring) (o *openFiles, err error) {
	o = &openFiles{byName: map[string]*os.File{}}
	defer func() {
		if err != nil {
			o.close()
		}
	}()
	if err := h.openChannels(spec, o); err != nil {
		return o, err
	}
	for i, chain := range w.Chains {
		for n, layer := range chain {
			if n == 0 && !spec.Disks[i].ReadOnly {
				if err := o.openImage(fdDisk(i, 0), layer.Path, os.O_RDWR); err != nil {
					return o, &DiskError{Disk: i, Image: layer.Path, Err: err}
				}
			}
			if err := o.openImage(fdDiskRO(i, n), layer.Path, os.O_RDONLY); err != nil {
				return o, &DiskError{Disk: i, Image: layer.Path, Err: err}
			}
		}
	}
	for i, c := range spec.CDROMs {
		if c.Image != "" {
			if err := o.openImage(fdCD(i), c.Image, os.O_RDONLY); err != nil {
				return o, fmt.Errorf("cdrom %d: %w", i, err)
			}
		}
	}
	if spec.Firmware == FirmwareUEFI {
		if err := h.openFirmware(spec, o); err != nil {
			return o, err
		}
	}
	for name, path := range map[string]string{fdKernel: spec.Kernel, fdInitrd: spec.Initrd} {
		if path != "" {
			if o.byName[name], err = openKernel(name, path); err != nil {
				return o, fmt.Errorf("load the %s: %w", name, err)
			}
		}
	}
	return o, nil
}

// openChannels makes the logs, the listening sockets and the recorder's socketpair.
func (h *Host) openChannels(spec *Spec, o *openFiles) (err error) {
	name := spec.Name
	logs := map[string]string{fdRecorderLog: h.run(name, recDirName, eventsName), fdConsoleLog: h.ConsoleLive(name)}
	for fd, path := range logs {
		// Write only: QEMU asks its fdset for exactly that access.
		if o.byName[fd], err = os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600); err != nil {
			return fmt.Errorf("open a log: %w", err)
		}
	}
	sockets := map[string]string{fdQMP: h.QMPSocket(name), fdMonitor: h.MonitorSocket(name), fdConsole: h.ConsoleSocket(name)}
	if spec.Guest.Agent {
		sockets[fdAgent] = h.AgentSocket(name)
	}
	for fd, path := range sockets {
		if o.byName[fd], err = listen(path); err != nil {
			return err
		}
	}
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("make the recorder's socketpair: %w", err)
	}
	o.byName[fdRecorder] = os.NewFile(uintptr(pair[1]), "recorder")
	ours := os.NewFile(uintptr(pair[0]), "recorder")
	defer ours.Close() // FileConn has its own
	o.recorder, err = net.FileConn(ours)
	return err
}

// openImage opens an image without ever hanging on a FIFO or touching a device that is no disk.
func (o *openFiles) openImage(name, path string, access int) error {
	f, err := os.OpenFile(path, access|syscall.O_NONBLOCK, 0)
	if err != nil {
		return err
	}
	o.byName[name] = f
	st, err := f.Stat()
	if err != nil {
		return err
	}
	block := st.Mode()&fs.ModeDevice != 0 && st.Mode()&fs.ModeCharDevice == 0
	if !st.Mode().IsRegular() && !block {
		return fmt.Errorf("%s is a %v, not an image", path, st.Mode().Type())
	}
	return nil
}

// maxKernel bounds a kernel and an initramfs: they are copied to memory.
const maxKernel = units.GiB

// openKernel opens a kernel or an initramfs. QEMU opens it again by path, with the rights of the guest's uid: what everybody may read it
// gets as it is, of what is root's alone a copy in memory. A copy costs 0.6 ms per MiB, and its memory for as long as the guest runs.
func openKernel(name, path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0) // never wait for a FIFO's writer
	if err != nil {
		return nil, err
	}
	st, err := f.Stat()
	switch {
	case err != nil:
	case !st.Mode().IsRegular():
		err = fmt.Errorf("%s is not a regular file", path)
	case st.Mode().Perm()&0o004 != 0 && !ownRules(f):
		return f, nil
	case st.Size() > int64(maxKernel):
		err = fmt.Errorf("%s has %v: it is copied to memory, and kernels are at most %v", path, units.Size(st.Size()), maxKernel)
	}
	defer f.Close()
	if err != nil {
		return nil, err
	}
	return copyToMemory(name, f)
}

// ownRules tells of a file system that may refuse another uid what the mode allows: FUSE shows files to whoever mounted it.
func ownRules(f *os.File) bool {
	var fsys unix.Statfs_t
	return unix.Fstatfs(int(f.Fd()), &fsys) != nil || fsys.Type == unix.FUSE_SUPER_MAGIC
}

// memfd gives an anonymous file with the given content, positioned at its start.
func memfd(name string, content []byte) (*os.File, error) {
	fd, err := unix.MemfdCreate(name, unix.MFD_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("make a memfd: %w", err)
	}
	f := os.NewFile(uintptr(fd), name)
	if _, err := f.WriteAt(content, 0); err != nil {
		f.Close()
		return nil, fmt.Errorf("fill a memfd: %w", err)
	}
	return f, nil
}

// copyToMemory gives a memfd with a file's content.
func copyToMemory(name string, src *os.File) (*os.File, error) {
	dst, err := memfd(name, nil)
	if err != nil {
		return nil, err
	}
	if _, err := io.Copy(dst, io.LimitReader(src, int64(maxKernel))); err != nil {
		dst.Close()
		return nil, fmt.Errorf("copy %s to memory: %w", src.Name(), err)
	}
	return dst, nil
}

// Where Debian's ovmf puts the firmware and the empty variable store that belongs to it.
const (
	ovmfCode = "/usr/share/OVMF/OVMF_CODE_4M.fd"
	ovmfVars = "/usr/share/OVMF/OVMF_VARS_4M.fd"
)

// openFirmware opens OVMF and the guest's own variable store, which the first start copies.
func (h *Host) openFirmware(spec *Spec, o *openFiles) error {
	if err := o.openImage(fdFirmware, ovmfCode, os.O_RDONLY); err != nil {
		return &NoFirmwareError{err}
	}
	path := h.NVRAM(spec.Name)
	if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
		switch err := copyFile(path, ovmfVars); {
		case errors.Is(err, fs.ErrNotExist):
			return &NoFirmwareError{err}
		case err != nil:
			return fmt.Errorf("make the UEFI variables %s: %w", path, err)
		}
	}
	if err := o.openImage(fdNVRAM, path, os.O_RDWR); err != nil {
		return err
	}
	return o.openImage(fdNVRAMRO, path, os.O_RDONLY)
}

// NoFirmwareError says that UEFI was asked for and is not installed.
type NoFirmwareError struct{ Err error }

func (e *NoFirmwareError) Error() string { return fmt.Sprintf("no UEFI firmware: %v", e.Err) }
func (e *NoFirmwareError) Unwrap() error { return e.Err }

// Hint says how to get it.
func (e *NoFirmwareError) Hint() string { return "apt-get install ovmf" }

func copyFile(dst, src string) error {
	in, err := os.Open(src)
	if err != nil {
		return err
	}
	defer in.Close()
	tmp, err := os.CreateTemp(filepath.Dir(dst), ".tmp-")
	if err != nil {
		return err
	}
	defer os.Remove(tmp.Name())
	if _, err := io.Copy(tmp, in); err != nil {
		tmp.Close()
		return err
	}
	if err := errors.Join(tmp.Sync(), tmp.Close()); err != nil {
		return err
	}
	return os.Rename(tmp.Name(), dst)
}
