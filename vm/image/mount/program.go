package mount

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"

	"kvmctl/vm"
	"kvmctl/vm/image"
	"kvmctl/vm/image/nbd"
)

// program is what shows an image: its command line, its descriptors, and the name under which it finds each image.
type program struct {
	argv  []string
	files []*os.File // of the images
	names []string   // of the images, the first one's first
	lent  []*os.File // those of files that end with the daemon's start
	nbd   bool       // it speaks NBD, and was told on its command line what to show
}

// The descriptors before the images.
const (
	monitorFD = vm.FirstFD
	fuseFD    = vm.FirstFD + 1
	imageFD   = vm.FirstFD + 2

	nbdImageFD = vm.FirstFD + 1 // after the listening socket
)

// chooseProgram takes qemu-storage-daemon, which is quickly there and has nothing of a machine in it. Where it is missing qemu-nbd has to do,
// with the kernel's help. Neither takes descriptors (7.2 to 9.2 have no add-fd), so the images are lent to the daemon's uid; where that is
// not possible, or both are missing, the guests' own QEMU shows them, from descriptors and without a machine.
func (w *work) chooseProgram() (program, error) {
	daemon, err := exec.LookPath(either(w.m.Daemon, "qemu-storage-daemon"))
	server := ""
	if err != nil {
		var nerr error
		if server, nerr = exec.LookPath(either(w.m.NBDServer, "qemu-nbd")); nerr == nil {
			nerr = nbd.Available()
		}
		if nerr != nil {
			err, server = errors.Join(err, nerr), ""
		}
	}
	if daemon != "" || server != "" {
		lent, lerr := w.lendImages()
		switch {
		case lerr != nil:
			closeAll(lent)
			err = lerr
		case daemon != "":
			return storageDaemon(daemon, lent), nil
		default:
			w.m.step("without qemu-storage-daemon: " + err.Error())
			return nbdServer(server, w.images, lent)
		}
	}
	if _, qerr := os.Stat(w.m.QEMU); w.m.QEMU == "" || qerr != nil {
		return program{}, &NoDaemonError{err}
	}
	w.m.step("without qemu-storage-daemon: " + err.Error())
	return machineless(w.m.QEMU, w.images), nil
}

func either(a, b string) string {
	if a != "" {
		return a
	}
	return b
}

func closeAll(files []*os.File) {
	for _, f := range files {
		f.Close()
	}
}

// lendImages gives the uid of the daemon a way to open each image; see lend.
func (w *work) lendImages() (lent []*os.File, err error) {
	for _, o := range w.images {
		from, want := o.ro, os.FileMode(0o400)
		if o.rw != nil {
			from, want = o.rw, 0o600
		}
		st, err := from.Stat()
		if err != nil {
			return lent, err
		}
		if st.Mode().Perm()&want != want {
			return lent, fmt.Errorf("the mode of %s keeps its owner out", o.link.Path)
		}
		f, err := lend(from, w.rec.UID)
		if err != nil {
			return lent, err
		}
		lent = append(lent, f)
	}
	return lent, nil
}

// lentName is the name of a lent image in the daemon.
func lentName(fd int) string { return fmt.Sprintf("/proc/self/fd/%d", fd) }

func storageDaemon(path string, lent []*os.File) program {
	p := program{lent: lent, argv: []string{path, "--pidfile", vm.HelperPidfile, "--chardev", fmt.Sprintf("socket,id=qmp,fd=%d", monitorFD), "--monitor", "chardev=qmp"}}
	for i, f := range lent {
		p.files = append(p.files, f)
		p.names = append(p.names, lentName(imageFD+i))
	}
	return p
}

// nbdServer ends by itself with its one client. The whole chain is described to it, so that it opens no path that an image names.
func nbdServer(path string, images []opened, lent []*os.File) (program, error) {
	p := program{nbd: true, lent: lent, files: lent, argv: []string{path, "--pid-file=" + vm.HelperPidfile}}
	if images[0].rw == nil {
		p.argv = append(p.argv, "--read-only")
	}
	var below map[string]any // JSON null
	for i := len(images) - 1; i >= 0; i-- {
		p.names = append([]string{lentName(nbdImageFD + i)}, p.names...)
		below = formatNode(images[i], fileNode(images[i], p.names[0]), below)
	}
	tree, err := json.Marshal(below)
	if err != nil {
		return p, err
	}
	p.argv = append(p.argv, "json:"+string(tree))
	return p, nil
}

// fileNode describes what opens an image's file, in the words of blockdev-add.
func fileNode(o opened, name string) map[string]any {
	file := map[string]any{"driver": "file", "filename": name, "read-only": o.rw == nil}
	if st, err := o.ro.Stat(); err == nil && st.Mode().Type() == os.ModeDevice {
		file["driver"] = "host_device"
	}
	return file
}

// formatNode describes an image in a file, based on what is below.
func formatNode(o opened, file, below any) map[string]any {
	format := map[string]any{"driver": o.link.Format, "file": file, "read-only": o.rw == nil}
	if o.link.Format == image.QCOW2 {
		format["backing"] = below // JSON null for none: QEMU must never open a path that an image names
	}
	return format
}

func machineless(qemu string, images []opened) program {
	p := program{argv: []string{qemu, "-nodefaults", "-no-user-config", "-machine", "none", "-display", "none",
		"-sandbox", "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny", "-pidfile", vm.HelperPidfile,
		"-chardev", fmt.Sprintf("socket,id=qmp,fd=%d", monitorFD), "-mon", "chardev=qmp,mode=control"}}
	for i, o := range images {
		for _, f := range []*os.File{o.rw, o.ro} {
			if f != nil {
				p.argv = append(p.argv, "-add-fd", fmt.Sprintf("fd=%d,set=%d", imageFD+len(p.files), i+1))
				p.files = append(p.files, f)
			}
		}
		p.names = append(p.names, fmt.Sprintf("/dev/fdset/%d", i+1))
	}
	return p
}
