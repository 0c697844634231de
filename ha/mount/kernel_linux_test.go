package mount

import (
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestLoopAndSwap has a loop device, which is mounted, and a swap file on the file system: both are named, and are there afterwards.
func TestLoopAndSwap(t *testing.T) {
	l := newLab(t, "ext4")
	l.mounted()
	run(t, "truncate", "-s", "2M", l.Dir+"/an image")
	run(t, "mkfs.ext4", "-q", l.Dir+"/an image")
	upper, mnt := loop(t, l.Dir+"/an image"), t.TempDir()
	if err := unix.Mount(upper, mnt, "ext4", 0, ""); err != nil {
		t.Fatal(err)
	}
	run(t, "dd", "if=/dev/zero", "of="+l.Dir+"/swap", "bs=64k", "count=16", "status=none")
	run(t, "chmod", "600", l.Dir+"/swap")
	run(t, "mkswap", "-q", l.Dir+"/swap")
	run(t, "swapon", l.Dir+"/swap")
	off := false
	defer func() {
		if !off {
			run(t, "swapoff", l.Dir+"/swap")
		}
	}()
	_, err := l.Unmount(within(t, time.Second), l.Mount, true)
	var named []Holder
	for _, h := range busyError(t, err).Holders {
		h.What = strings.NewReplacer(upper, "LOOP", mnt, "MNT").Replace(h.What)
		named = append(named, h)
	}
	l.says("busy", named, "loop: loop device LOOP has its file DIR/an image there, and is mounted on MNT: umount MNT && losetup -d LOOP",
		"swap: DIR/swap is swapped to: swapoff DIR/swap")
	if err := unix.Unmount(mnt, 0); err != nil {
		t.Error(err)
	}
	run(t, "swapoff", l.Dir+"/swap")
	off = true
	run(t, "losetup", "-d", upper)
	l.says("unmounted", l.unmounted())
	run(t, "losetup", upper, l.image) // for the test's end
}

// TestALoopDeviceOnTheDevice does not keep it from being claimed, but open.
func TestALoopDeviceOnTheDevice(t *testing.T) {
	l := newLab(t, "ext4")
	upper := loop(t, l.Device)
	_, err := l.Unmount(within(t, 500*time.Millisecond), l.Mount, true)
	if h := busyError(t, err).Holders; len(h) != 1 || h[0].Kind != Loop || !strings.Contains(h[0].What, upper) {
		t.Errorf("got %v", h)
	}
}

// TestSwapOnTheDevice is what mount(8) calls busy, too.
func TestSwapOnTheDevice(t *testing.T) {
	l := newLab(t, "ext4")
	run(t, "mkswap", l.Device)
	run(t, "swapon", l.Device)
	defer run(t, "swapoff", l.Device)
	for name, f := range map[string]func() error{
		"unmount": func() error { _, err := l.Unmount(within(t, 500*time.Millisecond), l.Mount, true); return err },
		"mount":   func() error { return l.Mounter.Mount(within(t, long), l.Mount) },
	} {
		err := f()
		l.says(name, busyError(t, err).Holders, "swap: DEV is swapped to: swapoff DEV")
	}
}

func TestAnOverlay(t *testing.T) {
	l := newLab(t, "ext4")
	l.mounted()
	for _, d := range []string{"/lower", "/upper", "/work"} {
		if err := os.Mkdir(l.Dir+d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	mnt := t.TempDir()
	if err := unix.Mount("overlay", mnt, "overlay", 0, "lowerdir="+l.Dir+"/lower,upperdir="+l.Dir+"/upper,workdir="+l.Dir+"/work"); err != nil {
		t.Fatal(err)
	}
	got := l.busy(500 * time.Millisecond)
	for i := range got {
		got[i].What = strings.ReplaceAll(got[i].What, mnt, "MNT")
	}
	l.says("busy", got, "overlay: the overlay on MNT has a layer there: umount MNT")
	if err := unix.Unmount(mnt, 0); err != nil {
		t.Fatal(err)
	}
	l.unmounted()
}

// TestExportsAndMappers reads tables as the kernel writes them, of a kernel with nfsd and device-mapper.
func TestExportsAndMappers(t *testing.T) {
	l := newLab(t, "ext4")
	l.mounted()
	dev, err := blockDevice(l.Device)
	if err != nil {
		t.Fatal(err)
	}
	fake := t.TempDir()
	write := func(path, text string) {
		t.Helper()
		path = filepath.Join(fake, path)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(text), 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	l.here.proc, l.here.sys = fake, fake
	spaced := l.Dir + "/a dir"
	if err := os.Mkdir(spaced, 0o755); err != nil {
		t.Fatal(err)
	}
	write("fs/nfsd/exports", "# Version 1.1\n# Path Client(Flags) # IPs\n"+
		strings.ReplaceAll(spaced, " ", `\040`)+"\t10.0.0.0/8(rw,no_root_squash,sync,wdelay)\n"+
		strings.ReplaceAll(spaced, " ", `\040`)+"\t*(ro)\n"+
		l.Dir+"/gone\tvarda(rw)\n"+
		l.Dir+"x\tvarda(rw)\n/\tvarda(rw)\n")
	holders := "dev/block/" + strconv.Itoa(int(dev.major)) + ":" + strconv.Itoa(int(dev.minor)) + "/holders/"
	write(holders+"dm-3", "")
	write(holders+"md0", "")
	write("block/dm-3/dm/name", "vg-a lv\n")
	got, err := l.Holders(within(t, long), l.Mount)
	if err != nil {
		t.Fatal(err)
	}
	l.says("holders", got,
		"export: the NFS server exports DIR/a dir to 10.0.0.0/8 and 1 more: exportfs -u '10.0.0.0/8:DIR/a dir'",
		"export: the NFS server exports DIR/gone to varda: exportfs -u varda:DIR/gone",
		"mapper: device /dev/dm-3 (vg-a lv) lies on the device: dmsetup remove 'vg-a lv'",
		"mapper: device /dev/md0 lies on the device: mdadm --stop /dev/md0")
	l.here = system()
	l.unmounted()
}
