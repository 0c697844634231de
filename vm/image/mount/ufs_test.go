package mount_test

import (
	"context"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"kvmctl/internal/testenv"
	"kvmctl/test/guest"
	"kvmctl/vm/vmtest"
)

// ufsScript runs in the guest: a shell with our own kvmctl and two disks that makefs made.
const ufsScript = `. /lib/modules.sh
load loop
load ufs
mkdir -p /mnt /etc/kvm
cd /root
for disk in vdb vdc; do
	./kvmctl image parts /dev/$disk 2>&1
	./kvmctl image mount /dev/$disk /mnt 2>&1
	cat /mnt/etc/rc.conf
	touch /mnt/etc/new 2>&1
	./kvmctl image umount /mnt 2>&1
	./kvmctl image mount /dev/$disk /mnt --rw 2>&1
	echo "exit $?"
done
ls -A /run/kvm
echo END OF UFS
`

const ufsWant = `PART   TYPE  START  SIZE  FILESYSTEM  LABEL  NOTE
whole  -     0      8M    ufs2        -
kvmctl: image /dev/vdb (ufs2) is mounted read-only on /mnt
hostname="varda"
touch: /mnt/etc/new: Read-only file system
kvmctl: image /dev/vdb is unmounted from /mnt
kvmctl: error: cannot mount /dev/vdb: partition whole is UFS2, which Linux can only read
kvmctl: hint: without --rw it can be read; to change it: a nuageinit seed (kvmctl install <vm> --cloud-init FILE), or single-user mode on kvmctl console <vm>
exit 3
PART  TYPE         START  SIZE  FILESYSTEM  LABEL  NOTE
1a    freebsd ufs  40K    8M    ufs1        -
kvmctl: partition 1a of image /dev/vdc (ufs1) is mounted read-only on /mnt
hostname="varda"
touch: /mnt/etc/new: Read-only file system
kvmctl: image /dev/vdc is unmounted from /mnt
kvmctl: error: cannot mount /dev/vdc: partition 1a is UFS1, which Linux can only read
kvmctl: hint: without --rw it can be read; to change it: a nuageinit seed (kvmctl install <vm> --cloud-init FILE), or single-user mode on kvmctl console <vm>
exit 3
`

// TestUFSIsReadInAGuest: this machine's kernel may have no ufs, Debian's linux-image-amd64 has. So kvmctl itself runs in a guest with that
// kernel, on a UFS2 that fills its disk and a UFS1 in a disklabel in a slice.
func TestUFSIsReadInAGuest(t *testing.T) {
	testenv.Need(t, testenv.QEMU, "makefs", "tar", "go")
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	images, err := guest.BuildWith(ctx, guest.DefaultDir(), "linux-image-amd64")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	tree := filepath.Join(dir, "tree")
	for path, text := range map[string]string{tree + "/etc/rc.conf": "hostname=\"varda\"\n", dir + "/tools/run": ufsScript} {
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	build := exec.CommandContext(ctx, "go", "build", "-o", dir+"/tools/kvmctl", "kvmctl/cmd/kvmctl")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	run(t, "tar", "-C", dir+"/tools", "-cf", dir+"/tools.tar", "kvmctl", "run")
	run(t, "makefs", "-t", "ffs", "-o", "version=2", "-s", "8m", dir+"/ufs2", tree)
	run(t, "makefs", "-t", "ffs", "-o", "version=1", "-s", "8m", dir+"/ufs1", tree)
	atFreeBSDsPlace(t, dir+"/ufs2")
	inSlice(t, dir+"/ufs1", dir+"/slice")

	cmd := exec.CommandContext(ctx, "qemu-system-x86_64", "-accel", "tcg", "-m", "512", "-nographic", "-no-reboot", "-nodefaults", "-serial", "stdio",
		"-kernel", images.Kernel, "-initrd", images.Initrd, "-append", "console=ttyS0 quiet no_timer_check",
		"-drive", "if=virtio,format=raw,readonly=on,file="+dir+"/tools.tar",
		"-drive", "if=virtio,format=raw,file="+dir+"/ufs2", "-drive", "if=virtio,format=raw,file="+dir+"/slice")
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out := &seen{want: make(chan struct{}), word: guest.Prompt}
	cmd.Stdout, cmd.Stderr = out, out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = cmd.Process.Kill(); _ = cmd.Wait() }()
	select {
	case <-out.want:
	case <-time.After(vmtest.Patience):
		t.Fatalf("no prompt:\n%s", out.text())
	}
	if _, err := io.WriteString(in, "tar -C /root -xf /dev/vda && sh /root/run; /sbin/poweroff\n"); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil {
		t.Fatalf("QEMU: %v\n%s", err, out.text())
	}
	got := strings.ReplaceAll(out.text(), "\r", "")
	_, got, _ = strings.Cut(got, "/sbin/poweroff\n")
	got, _, ended := strings.Cut(got, ".mounts.lock\nEND OF UFS\n")
	if diff := cmp.Diff(ufsWant, got); diff != "" || !ended {
		t.Errorf("(-want +got):\n%s\nall of it:\n%s", diff, out.text())
	}
}

// atFreeBSDsPlace puts the superblock of a UFS2 where FreeBSD's newfs does and where alone Linux looks for it (fs/ufs/super.c, SBLOCK_UFS2): at
// 64 KiB. Debian's makefs leaves it where a UFS1 has it; that place is free in a file system with so little in it.
func atFreeBSDsPlace(t *testing.T, path string) {
	t.Helper()
	const super, has, wants = 8 << 10, 8 << 10, 64 << 10
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	b := make([]byte, 2*super)
	if _, err := f.ReadAt(b[super:], wants); err != nil {
		t.Fatal(err)
	}
	if strings.Trim(string(b[super:]), "\x00") != "" {
		t.Fatal("there are data at 64 KiB")
	}
	if _, err := f.ReadAt(b[:super], has); err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteAt(b[:super], wants); err != nil {
		t.Fatal(err)
	}
}

// inSlice puts a file system into partition a of a FreeBSD disklabel in slice 1 of an MBR.
func inSlice(t *testing.T, fs, disk string) {
	t.Helper()
	data, err := os.ReadFile(fs)
	if err != nil {
		t.Fatal(err)
	}
	const slice, first = 64, 80 // sectors
	d := make([]byte, first*512+len(data))
	copy(d[first*512:], data)
	count := uint32(len(data) / 512)
	put32 := func(at int, v uint32) {
		d[at], d[at+1], d[at+2], d[at+3] = byte(v), byte(v>>8), byte(v>>16), byte(v>>24)
	}
	d[446+4] = 0xa5
	put32(446+8, slice)
	put32(446+12, count+first-slice)
	d[510], d[511] = 0x55, 0xaa
	label := (slice + 1) * 512
	put32(label, 0x82564557)
	put32(label+132, 0x82564557)
	put32(label+40, 512)
	d[label+138] = 3
	put32(label+148, count)
	put32(label+152, first-slice)
	d[label+160] = 7
	put32(label+180, count+first-slice) // c, the whole of it
	var sum [2]byte
	for i := label; i < label+148+3*16; i += 2 {
		sum[0] ^= d[i]
		sum[1] ^= d[i+1]
	}
	copy(d[label+136:], sum[:])
	if err := os.WriteFile(disk, d, 0o600); err != nil {
		t.Fatal(err)
	}
}
