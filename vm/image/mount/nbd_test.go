package mount_test

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"kvmctl/vm"
	"kvmctl/vm/image/mount"
	"kvmctl/vm/image/nbd"
)

// fullKernel, in the environment, says that this kernel is Debian's own, with nbd, and nobody else's: `make e2e` boots one.
const fullKernel = "MOUNT_FULL_KERNEL"

// nbdManager gives a manager without qemu-storage-daemon, and none on a kernel that may have no nbd or share it.
func nbdManager(t *testing.T) *mount.Manager {
	t.Helper()
	m := manager(t)
	m.Daemon = "/none/qemu-storage-daemon"
	if os.Getenv(fullKernel) == "" {
		t.Log("left to make e2e")
		return nil
	}
	if err := nbd.Available(); err != nil {
		t.Fatal(err)
	}
	return m
}

// TestWithoutAnyProgram: it is said which programs are missing and how to get them, and nothing is left.
func TestWithoutAnyProgram(t *testing.T) {
	m := manager(t)
	m.Daemon, m.NBDServer, m.QEMU = "/none/qemu-storage-daemon", "/none/qemu-nbd", ""
	img, dir := m.Layout.Root+"/disk.qcow2", m.Layout.Root+"/mnt"
	run(t, "qemu-img", "create", "-q", "-f", "qcow2", img, "1M")
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	_, err := m.Mount(t.Context(), mount.Request{Image: img, Format: "qcow2", Dir: dir})
	var none *mount.NoDaemonError
	want := `no program to show the image: exec: "/none/qemu-storage-daemon": stat /none/qemu-storage-daemon: no such file or directory; ` +
		`exec: "/none/qemu-nbd": stat /none/qemu-nbd: no such file or directory`
	if !errors.As(err, &none) || none.Error() != want {
		t.Fatalf("got %v, want %s", err, want)
	}
	if hint := "apt-get install qemu-system-common; or apt-get install qemu-utils && modprobe nbd max_part=0"; none.Hint() != hint {
		t.Errorf("got hint %s, want %s", none.Hint(), hint)
	}
	nothingLeft(t, m)
}

// partitioned makes a qcow2 with an ext4 in the one partition of an MBR, at 1 MiB.
func partitioned(t *testing.T, m *mount.Manager) (img, dir string) {
	t.Helper()
	raw, img, dir := m.Layout.Root+"/disk.raw", m.Layout.Root+"/disk.qcow2", m.Layout.Root+"/mnt"
	const start, sectors = 2048, 31 << 11
	run(t, "truncate", "-s", "32M", raw)
	run(t, "mkfs.ext4", "-q", "-E", "offset=1048576", raw, "31M")
	mbr := make([]byte, 66)
	mbr[4] = 0x83
	binary.LittleEndian.PutUint32(mbr[8:], start)
	binary.LittleEndian.PutUint32(mbr[12:], sectors)
	mbr[64], mbr[65] = 0x55, 0xaa
	f, err := os.OpenFile(raw, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteAt(mbr, 446); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	run(t, "qemu-img", "convert", "-O", "qcow2", raw, img)
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	return img, dir
}

// TestNBDReadWriteRead: what TestReadWriteRead promises holds for qemu-nbd.
func TestNBDReadWriteRead(t *testing.T) {
	m := nbdManager(t)
	if m == nil {
		return
	}
	dir := m.Layout.Root + "/mnt"
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	readWriteRead(t, m, "qcow2", "ext4", []string{"mkfs.ext4", "-q"}, dir)
}

// TestNBDABackingFileThatIsInUse: what TestABackingFileThatIsInUse promises holds for qemu-nbd.
func TestNBDABackingFileThatIsInUse(t *testing.T) {
	if m := nbdManager(t); m != nil {
		aBackingFileInUse(t, m)
	}
}

// TestNBDHidesPartitions: what a guest wrote into its partition table is not offered to the rest of the host.
func TestNBDHidesPartitions(t *testing.T) {
	m := nbdManager(t)
	if m == nil {
		return
	}
	img, dir := partitioned(t, m)
	got := mounted(t, m, mount.Request{Image: img, Format: "qcow2", Dir: dir, RW: true})
	if !got.NBD || got.Part != "1" {
		t.Errorf("got %+v", got)
	}
	if shown, _ := filepath.Glob("/sys/block/nbd*/nbd*p*"); len(shown) != 0 {
		t.Errorf("the host sees %v", shown)
	}
	n, ok := nbd.Find(got.ID)
	if !ok {
		t.Fatal("no nbd device is the mount's")
	}
	disk, err := os.Open(nbd.Path(n))
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.Flock(int(disk.Fd()), unix.LOCK_SH|unix.LOCK_NB); !errors.Is(err, unix.EWOULDBLOCK) {
		t.Errorf("udev may look at the disk: %v", err)
	}
	disk.Close()
	umount(t, m, got)
	nothingLeft(t, m)
}

// TestNBDKilledAfterEachStep: what TestKilledAfterEachStep promises holds for qemu-nbd.
func TestNBDKilledAfterEachStep(t *testing.T) {
	m := nbdManager(t)
	if m == nil {
		return
	}
	img, dir := partitioned(t, m)
	for _, step := range []string{"image", "daemon", "handshake", "nbd device", "disk", "loop device", "mount"} {
		killedAt(t, m, img, "qcow2", dir, step)
	}
}

// TestNBDWhoseDaemonIsKilled: nobody waits for a server that is gone, and the next command takes the rest back.
func TestNBDWhoseDaemonIsKilled(t *testing.T) {
	m := nbdManager(t)
	if m == nil {
		return
	}
	img, dir := partitioned(t, m)
	got := mounted(t, m, mount.Request{Image: img, Format: "qcow2", Dir: dir, RW: true})
	if err := os.WriteFile(dir+"/new", []byte(strings.Repeat("x", 1<<20)), 0o600); err != nil {
		t.Error(err)
	}
	p, err := vm.FindOwner(filepath.Join(m.Layout.MountsDir(), got.ID, "pid"), got.UID)
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	n, ok := nbd.Find(got.ID)
	if !ok {
		t.Fatal("no nbd device is the mount's")
	}
	if err := p.Signal(unix.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	reader := exec.CommandContext(t.Context(), "dd", "if="+nbd.Path(n), "of=/dev/null", "bs=4096", "count=1", "iflag=direct")
	if err := reader.Start(); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(5 * time.Millisecond) {
		b, err := os.ReadFile(fmt.Sprintf("/sys/block/nbd%d/inflight", n))
		if err == nil && strings.Join(strings.Fields(string(b)), " ") != "0 0" {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("nobody waits for the daemon: %q, %v", b, err)
		}
	}
	began := time.Now()
	if err := p.Signal(unix.SIGKILL); err != nil {
		t.Fatal(err)
	}
	torn := settled(t, m)
	if err := reader.Wait(); err == nil {
		t.Error("what the dead daemon was asked for was read")
	}
	if took := time.Since(began); took > time.Minute {
		t.Errorf("who read was freed after %v", took)
	}
	var lost *mount.LostError
	if len(torn) != 1 || torn[0].Reason != mount.DaemonEnded || !errors.As(torn[0].Err, &lost) || lost.Reason != mount.DaemonEnded {
		t.Errorf("settled %+v", torn)
	}
	nothingLeft(t, m)
}
