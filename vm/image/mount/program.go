package mount

import (
	"fmt"
	"os"

	"kvmctl/vm"
)

// program is what shows an image: its command line, its descriptors, and the name under which it finds each image.
type program struct {
	argv  []string
	files []*os.File // of the images, from imageFD on
	names []string   // of the images, the first one's first
}

// The descriptors before the images.
const (
	monitorFD = vm.FirstFD
	fuseFD    = vm.FirstFD + 1
	imageFD   = vm.FirstFD + 2
)

func storageDaemon(path string, lent []*os.File) program {
	p := program{argv: []string{path, "--pidfile", vm.HelperPidfile, "--chardev", fmt.Sprintf("socket,id=qmp,fd=%d", monitorFD), "--monitor", "chardev=qmp"}}
	for i, f := range lent {
		p.files = append(p.files, f)
		p.names = append(p.names, fmt.Sprintf("/proc/self/fd/%d", imageFD+i))
	}
	return p
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
