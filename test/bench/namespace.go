package main

import (
	"errors"
	"fmt"
	"os"
	"os/user"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// giveKVM shows /dev/kvm as Debian's udev does: 0660 root:kvm. Where it belongs to root alone libvirt's QEMU can use it and libvirtd
// thinks that it cannot, so that every `virsh start` asks QEMU for its abilities anew: twice as long, and not libvirt's fault.
func giveKVM() error {
	const node = "/run/bench-kvm"
	var st unix.Stat_t
	group, err := user.LookupGroup("kvm")
	if err != nil || unix.Stat("/dev/kvm", &st) != nil {
		return nil // nothing to give, or nobody to give it to
	}
	gid, err := strconv.Atoi(group.Gid)
	if err != nil {
		return err
	}
	return errors.Join(unix.Mknod(node, unix.S_IFCHR|0o660, int(st.Rdev)), unix.Chown(node, 0, gid), unix.Chmod(node, 0o660),
		unix.Mount(node, "/dev/kvm", "", unix.MS_BIND, ""))
}

// processes gives the pid, program and command line of everything that runs in the namespaces except the bench itself.
func processes() ([]process, error) {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil, err
	}
	var all []process
	for _, e := range entries {
		var p process
		if _, err := fmt.Sscanf(e.Name(), "%d", &p.pid); err != nil || p.pid == 1 || p.pid == os.Getpid() {
			continue
		}
		dir := "/proc/" + e.Name()
		exe, err := os.Readlink(dir + "/exe")
		if err != nil {
			continue // it ended meanwhile, or is a zombie
		}
		line, _ := os.ReadFile(dir + "/cmdline")
		p.exe, p.line = strings.TrimSuffix(exe, " (deleted)"), strings.ReplaceAll(string(line), "\x00", " ")
		all = append(all, p)
	}
	return all, nil
}

type process struct {
	pid  int
	exe  string
	line string
}
