package e2e

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"kvmctl/internal/testenv"
	"kvmctl/test/debguest"
)

// TestImageMountByNBD shows images on a Debian without qemu-storage-daemon, whose kernel has nbd, which that of the tests' machine may lack.
func TestImageMountByNBD(t *testing.T) {
	testenv.Need(t, testenv.E2E, "mmdebstrap", "mke2fs", "go")
	ctx, cancel := context.WithTimeout(t.Context(), 25*time.Minute)
	defer cancel()
	base, err := debguest.Build(ctx, debguest.DefaultDir())
	if err != nil {
		t.Fatal(err)
	}
	bin := t.TempDir()
	for name, args := range map[string][]string{
		"kvmctl":     {"build", "-o", filepath.Join(bin, "kvmctl"), "kvmctl/cmd/kvmctl"},
		"mount.test": {"test", "-c", "-o", filepath.Join(bin, "mount.test"), "kvmctl/vm/image/mount"},
	} {
		cmd := exec.CommandContext(ctx, "go", args...)
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("build %s: %v: %s", name, err, out)
		}
	}
	disk := filepath.Join(t.TempDir(), "debian.img")
	err = base.Image(ctx, disk, "3G", func(root string) error {
		for _, name := range []string{"kvmctl", "mount.test"} {
			b, err := os.ReadFile(filepath.Join(bin, name))
			if err != nil {
				return err
			}
			if err := debguest.WriteFile(root, "usr/local/bin/"+name, string(b), 0o755); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	g, err := base.Boot(ctx, debguest.Options{Disk: disk})
	if err != nil {
		t.Fatal(err)
	}
	defer g.Close()
	for _, step := range []struct{ name, script, want string }{
		{"without the module, and without any QEMU: what to install", `exec 2>&1
mkdir -p /srv/tree /srv/mnt; echo 'from the guest' >/srv/tree/hello
truncate -s 64M /srv/disk.raw; mkfs.ext4 -q -d /srv/tree /srv/disk.raw; qemu-img convert -O qcow2 /srv/disk.raw /srv/disk.qcow2
mv /usr/bin/qemu-storage-daemon /usr/bin/hidden; mv /usr/bin/qemu-system-x86_64 /root
lsmod | grep '^nbd'; kvmctl image mount /srv/disk.qcow2 /srv/mnt; echo exit $?; mv /root/qemu-system-x86_64 /usr/bin`,
			"kvmctl: error: cannot mount /srv/disk.qcow2: no program to show the image: exec: \"qemu-storage-daemon\": executable file not found in $PATH; " +
				"the kernel's module nbd is not loaded\n" +
				"kvmctl: hint: apt-get install qemu-system-common; or apt-get install qemu-utils && modprobe nbd max_part=0\nexit 1\n"},
		{"with the module: mounted for writing, by a qemu-nbd of no rights", `exec 2>&1
modprobe nbd; kvmctl image mount /srv/disk.qcow2 /srv/mnt --rw >/dev/null 2>&1; echo exit $?
cat /srv/mnt/hello; echo 'from the host' >/srv/mnt/new
pid=$(pgrep -x qemu-nbd); [ "$(stat -c %u /proc/$pid)" -gt 60000 ] && grep CapEff /proc/$pid/status | tr -d '\t'
qemu-img info /srv/disk.qcow2 2>&1 | grep -o 'Failed to get shared "write" lock'
kvmctl image umount /srv/mnt >/dev/null 2>&1; echo exit $?`,
			"exit 0\nfrom the guest\nCapEff:0000000000000000\nFailed to get shared \"write\" lock\nexit 0\n"},
		{"nothing is left", nbdLeft, ""},
		{"mounted again for reading: what was written is there", `exec 2>&1
kvmctl image mount /srv/disk.qcow2 /srv/mnt >/dev/null 2>&1; echo exit $?
cat /srv/mnt/new; touch /srv/mnt/hello; cat /sys/block/nbd*/ro | sort -n | tail -n 1`, "exit 0\nfrom the host\ntouch: cannot touch '/srv/mnt/hello': Read-only file system\n1\n"},
		{"its daemon killed: the next command takes the rest back", `exec 2>&1
kill -9 $(pgrep -x qemu-nbd); for i in $(seq 300); do kvmctl image mount >/tmp/log 2>&1; [ -e /run/kvm/.mounts ] || break; sleep 0.1; done; ` + nbdLeft, ""},
		{"the tests of vm/image/mount, killed after each step among them",
			`cd /tmp && mv /usr/bin/hidden /usr/bin/qemu-storage-daemon; MOUNT_FULL_KERNEL=1 KVM_TEST_TIERS=all KVM_TEST_STRICT=1 mount.test -test.v -test.run NBD >log 2>&1
echo $?; grep -c '^--- PASS' log; ! grep '^--- FAIL' log || tail -n 60 log; ` + nbdLeft, "0\n5\n"},
		{"the kernel has nothing to say against it", `dmesg | grep -E 'BUG:|WARNING:|blocked for more|Call Trace' || true`, ""},
	} {
		began := time.Now()
		got, err := g.Run(ctx, step.script)
		if err != nil {
			got += err.Error()
		}
		t.Logf("%s: %v", step.name, time.Since(began).Round(time.Second))
		if got != step.want {
			t.Errorf("%s: got\n%s\nwant\n%s", step.name, indent(got), indent(step.want))
		}
	}
	if err := g.PowerOff(ctx); err != nil {
		t.Error(err)
	}
}

// nbdLeft prints what a mount left: a process, a device, a mount, a record.
const nbdLeft = `pgrep -a 'qemu-[^g]'; losetup -a; cat /sys/block/nbd*/backend 2>/dev/null; grep /srv/mnt /proc/self/mountinfo; ls -d /run/kvm/.mounts 2>/dev/null; true`
