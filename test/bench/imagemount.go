package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// imageMount is the figure of `image mount`: from nothing to the first file that was read, against the same by raw tools.
type imageMount struct {
	u     *ours
	image string // qcow2, with one file system at an offset
	dir   string
	disk  string // where the raw tools have what the daemon shows
}

const (
	mountOffset = 1 << 20 // bytes
	mountSize   = 256 << 20
	mountedFile = "hello"
)

// newImageMount makes the image.
func newImageMount(ctx context.Context, u *ours) (*imageMount, error) {
	home := filepath.Join(u.root, "mount")
	m := &imageMount{u: u, image: home + "/disk.qcow2", dir: home + "/mnt", disk: home + "/disk"}
	for _, dir := range []string{m.dir, home + "/tree"} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return nil, err
		}
	}
	err := errors.Join(os.WriteFile(filepath.Join(home, "tree", mountedFile), []byte("hello\n"), 0o644), os.WriteFile(m.disk, nil, 0o600))
	if err != nil {
		return nil, err
	}
	raw := home + "/disk.raw"
	for _, argv := range [][]string{
		{"truncate", "-s", strconv.Itoa(mountOffset + mountSize), raw},
		{"mkfs.ext4", "-q", "-d", home + "/tree", "-E", "offset=" + strconv.Itoa(mountOffset), raw, strconv.Itoa(mountSize>>10) + "k"},
		{"sh", "-c", "echo 2048,524288,83 | sfdisk -q --no-reread " + raw},
		{"qemu-img", "convert", "-O", "qcow2", raw, m.image},
	} {
		if _, err := output(ctx, argv...); err != nil {
			return nil, err
		}
	}
	return m, nil
}

// read ends the clock.
func (m *imageMount) read(began time.Time) (time.Duration, error) {
	b, err := os.ReadFile(filepath.Join(m.dir, mountedFile))
	d := time.Since(began)
	if err == nil && string(b) != "hello\n" {
		err = fmt.Errorf("read %q", b)
	}
	return d, err
}

// once is kvmctl's way.
func (m *imageMount) once(ctx context.Context) (time.Duration, error) {
	began := time.Now()
	if _, err := m.u.run(ctx, "image", "mount", m.image, m.dir); err != nil {
		return 0, err
	}
	d, err := m.read(began)
	_, uerr := m.u.run(ctx, "image", "umount", m.dir)
	return d, errors.Join(err, uerr)
}

// floor is the same as root by hand, where the partition is known beforehand: nothing is looked up, locked, written down or kept apart.
func (m *imageMount) floor(ctx context.Context) (d time.Duration, err error) {
	pidfile := m.disk + ".pid"
	began := time.Now()
	if _, err := output(ctx, "qemu-storage-daemon", "--daemonize", "--pidfile", pidfile,
		"--blockdev", "driver=file,node-name=f,read-only=on,filename="+m.image, "--blockdev", "driver=qcow2,node-name=q,read-only=on,file=f",
		"--export", "type=fuse,id=e,node-name=q,writable=off,allow-other=off,mountpoint="+m.disk); err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, endByPidfile(ctx, pidfile)) }()
	loop, err := output(ctx, "losetup", "--find", "--show", "--read-only", "--offset", strconv.Itoa(mountOffset), "--sizelimit", strconv.Itoa(mountSize), m.disk)
	if err != nil {
		return 0, err
	}
	loop = strings.TrimSpace(loop)
	defer func() {
		_, lerr := output(ctx, "losetup", "-d", loop)
		err = errors.Join(err, lerr)
	}()
	if _, err := output(ctx, "mount", "-t", "ext4", "-o", "ro,noload,nodev,nosuid,noexec", loop, m.dir); err != nil {
		return 0, err
	}
	d, err = m.read(began)
	return d, errors.Join(err, unix.Unmount(m.dir, 0))
}

// endByPidfile ends a daemon of ours and waits for it: on its way out it unmounts what it shows.
func endByPidfile(ctx context.Context, pidfile string) error {
	b, err := os.ReadFile(pidfile)
	if err != nil {
		return err
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(b)))
	if err != nil {
		return err
	}
	if err := unix.Kill(pid, unix.SIGTERM); err != nil {
		return err
	}
	return waitFor(ctx, "qemu-storage-daemon's end", 10*time.Second, func() (bool, error) { return unix.Kill(pid, 0) == unix.ESRCH, nil })
}

// imageMounts adds the figure.
func (b *bench) imageMounts(ctx context.Context) error {
	m, err := newImageMount(ctx, b.ours)
	if err != nil {
		return err
	}
	s, err := inTurn(ctx, b.o.runs, contender{"qemu-storage-daemon, losetup, mount", m.floor}, contender{"kvmctl image mount", m.once})
	if err != nil {
		return err
	}
	b.report.add(row{what: "`qemu-storage-daemon`, `losetup`, `mount` → first file read", times: s[0]})
	b.report.add(row{what: "`kvmctl image mount` → first file read", times: s[1], got: times(s[1], s[0])})
	return nil
}
