package agentcmd

import (
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"kvmctl/ha/drbd/create"
	"kvmctl/internal/mountinfo"
	"kvmctl/internal/smallfile"
)

// usersOf names who has a block device to himself, but for the DRBD device own: open(2) with O_EXCL is refused then.
func usersOf(disk, own string) (users []create.User, err error) {
	fd, err := unix.Open(disk, unix.O_RDONLY|unix.O_EXCL|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err == nil {
		return nil, unix.Close(fd)
	}
	if !errors.Is(err, unix.EBUSY) {
		return nil, fmt.Errorf("open %s: %w", disk, err)
	}
	number, err := deviceNumber(disk)
	if err != nil {
		return nil, fmt.Errorf("look who uses %s: %w", disk, err)
	}
	users = usersOfNumber(number)
	parts, _ := filepath.Glob("/sys/dev/block/" + number + "/*/partition")
	for _, p := range parts {
		text, err := smallfile.Read(filepath.Join(filepath.Dir(p), "dev"), 64)
		if err != nil {
			continue
		}
		for _, u := range usersOfNumber(strings.TrimSpace(string(text))) {
			u.Who = filepath.Base(filepath.Dir(p)) + " " + u.Who
			users = append(users, u)
		}
	}
	if len(users) == 0 {
		return []create.User{{Who: "the kernel says that it is busy", End: "lsblk " + disk}}, nil
	}
	return slices.DeleteFunc(users, func(u create.User) bool { return u.Who == "part of "+own }), nil
}

// usersOfNumber names who uses the device major:minor; who it is is for people only, so what cannot be read is left out.
func usersOfNumber(number string) (users []create.User) {
	mounts, _ := mountinfo.Read()
	for _, e := range mounts {
		if fmt.Sprintf("%d:%d", e.Major, e.Minor) == number {
			users = append(users, create.User{Who: "mounted at " + e.Point, End: "umount " + quote(e.Point)})
		}
	}
	swaps, _ := smallfile.Read("/proc/swaps", 1<<16)
	for line := range strings.Lines(string(swaps)) {
		path, _, _ := strings.Cut(line, " ")
		path = mountinfo.Unescape(strings.TrimSpace(path))
		if n, err := deviceNumber(path); err == nil && n == number {
			users = append(users, create.User{Who: "used as swap", End: "swapoff " + quote(path)})
		}
	}
	holders, _ := filepath.Glob("/sys/dev/block/" + number + "/holders/*")
	for _, h := range holders {
		users = append(users, create.User{Who: "part of " + filepath.Base(h), End: "lsblk /dev/" + filepath.Base(h)})
	}
	return users
}

var errNoDevice = errors.New("not a block device")

// deviceNumber is the major:minor of a block device.
func deviceNumber(path string) (string, error) {
	var stat unix.Stat_t
	if err := unix.Stat(path, &stat); err != nil {
		return "", err
	}
	if stat.Mode&unix.S_IFMT != unix.S_IFBLK {
		return "", errNoDevice
	}
	return fmt.Sprintf("%d:%d", unix.Major(uint64(stat.Rdev)), unix.Minor(uint64(stat.Rdev))), nil
}
