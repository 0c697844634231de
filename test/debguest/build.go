package debguest

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"kvmctl/internal/flock"
)

// suite and mirror are where the packages come from; apt's own configuration of this machine does not matter.
const (
	suite  = "bookworm"
	mirror = "http://deb.debian.org/debian"
)

// packages are what the guest has beyond Debian's essential ones. Nothing recommended comes along.
var packages = []string{
	"systemd", "systemd-sysv", "systemd-container", "dbus", "udev", "libpam-systemd", "linux-image-amd64", "initramfs-tools", "busybox-static", "kmod",
	"qemu-guest-agent", "qemu-system-x86", "qemu-utils", "openssh-server", "openssh-client", "iproute2", "iputils-ping", "procps",
	"util-linux", "login", "needrestart", "zstd", "ucarp",
}

// excluded keeps out what no test needs and every image would have to carry. The kernel's modules stay but for hardware nobody has.
var excluded = []string{
	"/usr/share/man/*", "/usr/share/doc/*", "/usr/share/locale/*", "/usr/share/info/*", "/lib/modules/*/kernel/sound/*",
	"/lib/modules/*/kernel/drivers/gpu/*", "/lib/modules/*/kernel/drivers/media/*", "/lib/modules/*/kernel/drivers/infiniband/*",
	"/lib/modules/*/kernel/drivers/iio/*", "/lib/modules/*/kernel/drivers/staging/*", "/lib/modules/*/kernel/drivers/usb/*",
	"/lib/modules/*/kernel/drivers/net/wireless/*", "/lib/modules/*/kernel/drivers/net/ethernet/*", "/lib/modules/*/kernel/drivers/hid/*",
	"/lib/modules/*/kernel/drivers/hwmon/*", "/lib/modules/*/kernel/drivers/platform/*",
}

// tune runs in the finished tree, as `sh -c tune sh TREE`: root logs in on the serial port, nothing runs by timer, and the journal is
// kept, so that a boot can be asked about the one before.
const tune = `set -e
cd "$1"
echo debian >etc/hostname
printf '127.0.0.1 localhost debian\n' >etc/hosts
: >etc/fstab
: >etc/machine-id
chroot . passwd -d root >/dev/null
mkdir -p etc/systemd/system/serial-getty@ttyS0.service.d etc/systemd/system.conf.d var/log/journal root/.ssh
printf '[Service]\nExecStart=\nExecStart=-/sbin/agetty --autologin root --noclear 115200 ttyS0 linux\n' >etc/systemd/system/serial-getty@ttyS0.service.d/autologin.conf
printf '[Manager]\nDefaultTimeoutStartSec=300s\nDefaultDeviceTimeoutSec=300s\nShowStatus=yes\n' >etc/systemd/system.conf.d/slow.conf
for t in apt-daily.timer apt-daily-upgrade.timer e2scrub_all.timer fstrim.timer dpkg-db-backup.timer systemd-tmpfiles-clean.timer e2scrub_reap.service; do
	ln -sf /dev/null etc/systemd/system/$t
done
ssh-keygen -q -t ed25519 -N '' -f root/.ssh/id_ed25519
cp root/.ssh/id_ed25519.pub root/.ssh/authorized_keys
chmod 700 root root/.ssh
rm -rf var/cache/apt/* var/lib/apt/lists/*
`

// early runs before any package is configured, so that the initramfs has the drivers of QEMU's machine and no others.
const early = `mkdir -p "$1/etc/initramfs-tools/conf.d" && printf 'MODULES=list\nCOMPRESS=zstd\n' >"$1/etc/initramfs-tools/conf.d/kvmctl" &&
printf 'virtio_pci\nvirtio_blk\next4\nvirtio_console\n' >"$1/etc/initramfs-tools/modules"`

// Base is an installed Debian as a directory tree, shared and never written to.
type Base struct {
	Tree   string // the root directory
	Kernel string // vmlinuz, a path inside Tree
	Initrd string // initrd.img, likewise
}

// Build gives the tree in the cache directory dir, with more packages of Debian's if wanted, and makes it first when it is not there, which takes some
// minutes, the network and root. Builders in other processes wait for each other until ctx ends.
func Build(ctx context.Context, dir string, more ...string) (*Base, error) {
	if dir == "" {
		return nil, errors.New("build the Debian guest: no cache directory: set KVM_TEST_CACHE")
	}
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, fmt.Errorf("build the Debian guest: %w", err)
	}
	all := append(slices.Clone(packages), more...)
	tree := filepath.Join(dir, "tree-"+recipe(all))
	if b, err := baseIn(tree); err == nil {
		return b, nil
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, fmt.Errorf("build the Debian guest: %w", err)
	}
	lock, err := flock.Wait(ctx, filepath.Join(dir, "lock"))
	if err != nil {
		return nil, fmt.Errorf("build the Debian guest: wait for another builder in %s: %w", dir, err)
	}
	defer lock.Unlock()
	if b, err := baseIn(tree); err == nil { // by that other builder
		return b, nil
	}
	tmp := tree + ".tmp"
	if err := os.RemoveAll(tmp); err != nil { // of a builder that was killed
		return nil, fmt.Errorf("build the Debian guest: %w", err)
	}
	args := []string{"--mode=root", "--variant=minbase", "--components=main", "--format=directory",
		`--aptopt=APT::Install-Recommends "false"`, `--aptopt=APT::Sandbox::User "root"`, "--include=" + strings.Join(all, ","),
		"--extract-hook=" + early, "--customize-hook=" + tune}
	for _, path := range excluded {
		args = append(args, "--dpkgopt=path-exclude="+path)
	}
	if err := run(ctx, "mmdebstrap", append(args, suite, tmp, mirror)...); err != nil {
		return nil, fmt.Errorf("build the Debian guest: %w", errors.Join(err, os.RemoveAll(tmp)))
	}
	if err := os.Rename(tmp, tree); err != nil {
		return nil, fmt.Errorf("build the Debian guest: %w", err)
	}
	return baseIn(tree)
}

// DefaultDir is the directory debguest of the tests' cache: .cache/debguest beside the go.mod at or above the working directory, or
// $KVM_TEST_CACHE/debguest.
func DefaultDir() string {
	if dir := os.Getenv("KVM_TEST_CACHE"); dir != "" {
		return filepath.Join(dir, "debguest")
	}
	dir, err := os.Getwd()
	for err == nil {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return filepath.Join(dir, ".cache", "debguest")
		}
		if dir == filepath.Dir(dir) {
			break
		}
		dir = filepath.Dir(dir)
	}
	return ""
}

func baseIn(tree string) (*Base, error) {
	kernels, err := filepath.Glob(filepath.Join(tree, "boot", "vmlinuz-*"))
	if err != nil || len(kernels) != 1 {
		return nil, fmt.Errorf("%s has %d kernels", tree, len(kernels))
	}
	b := &Base{Tree: tree, Kernel: kernels[0], Initrd: strings.Replace(kernels[0], "vmlinuz-", "initrd.img-", 1)}
	if _, err := os.Stat(b.Initrd); err != nil {
		return nil, err
	}
	return b, nil
}

// recipe names everything that goes into the tree, but for what Debian has of the packages at the time.
func recipe(packages []string) string {
	h := sha256.New()
	fmt.Fprintln(h, suite, packages, excluded, tune, early)
	return hex.EncodeToString(h.Sum(nil))[:12]
}

// run executes a program; its error carries the end of what it said.
func run(ctx context.Context, name string, args ...string) error {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Env = append(os.Environ(), "LC_ALL=C", "DEBIAN_FRONTEND=noninteractive")
	out, err := cmd.CombinedOutput()
	if err == nil {
		return nil
	}
	lines := bytes.Split(bytes.TrimSpace(out), []byte("\n"))
	return fmt.Errorf("run %s: %w: %s", name, err, bytes.Join(lines[max(0, len(lines)-5):], []byte("\n  ")))
}
