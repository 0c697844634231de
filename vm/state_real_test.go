package vm_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"kvmctl/internal/runner"
	"kvmctl/internal/testenv"
	"kvmctl/internal/units"
	"kvmctl/vm"
	"kvmctl/vm/image"
	"kvmctl/vm/vmtest"
)

// command runs a program in the namespace.
func (r *tapRoom) command(name string, args ...string) (out []byte, err error) {
	err = r.inside(func() (err error) {
		out, err = exec.Command(name, args...).CombinedOutput()
		return err
	})
	return out, err
}

// dial connects from within the namespace.
func (r *tapRoom) dial(address string) (c net.Conn, err error) {
	err = r.inside(func() (err error) {
		// Not net.Dial: its sockets are made by whichever thread.
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return err
		}
		f := os.NewFile(uintptr(fd), "tcp")
		defer f.Close()
		to, err := net.ResolveTCPAddr("tcp4", address)
		if err != nil {
			return err
		}
		if err := unix.Connect(fd, &unix.SockaddrInet4{Port: to.Port, Addr: [4]byte(to.IP.To4())}); err != nil {
			return err
		}
		c, err = net.FileConn(f)
		return err
	})
	return c, err
}

// A guest's connections outlive a save: the peer sends on the same one, and the guest answers.
func TestAConnectionGoesOnAfterARestore(t *testing.T) {
	t.Parallel()
	testenv.Need(t, testenv.QEMU, "ip", "ping")
	h := newSite(t)
	room := newTapRoom(t)
	must := func(name string, args ...string) {
		t.Helper()
		if out, err := room.command(name, args...); err != nil {
			t.Fatalf("%s %v: %v: %s", name, args, err, out)
		}
	}
	must("ip", "link", "add", "br0", "address", "02:00:00:00:00:77", "type", "bridge")
	must("ip", "addr", "add", "10.77.0.1/24", "dev", "br0")
	must("ip", "link", "set", "br0", "up")
	h.Network = func(ctx context.Context, s *vm.Spec, uid int) ([][]*os.File, error) {
		taps, err := room.network(ctx, s, uid)
		if err == nil {
			must("ip", "link", "set", "kvtest.0", "master", "br0", "up")
		}
		return taps, err
	}
	s := vmtest.Spec(t, h.Host, "vm-olorin", "ip=10.77.0.2/24")
	s.NICs = []vm.NIC{{Bridge: "br0", Model: "virtio", Queues: 1}}
	h.start(s)
	h.ready(s.Name)
	h.types(s.Name, `nc -l -p 7 -e cat & echo list''ens`, "listens")
	var c net.Conn
	h.until("the guest takes a connection", func() bool {
		var err error
		c, err = room.dial("10.77.0.2:7")
		return err == nil
	})
	defer c.Close()
	in := bufio.NewReader(c)
	echo := func(word string) {
		t.Helper()
		if err := c.SetDeadline(time.Now().Add(vmtest.Patience)); err != nil {
			t.Fatal(err)
		}
		if _, err := fmt.Fprintln(c, word); err != nil {
			t.Fatal(err)
		}
		if line, err := in.ReadString('\n'); err != nil || line != word+"\n" {
			t.Fatalf("said %q, heard %q, %v", word, line, err)
		}
	}
	echo("before")
	if _, err := h.Save(h.within(), s, vm.SaveOptions{}); err != nil {
		t.Fatal(err)
	}
	h.nothingRuns(s.Name)
	if _, err := fmt.Fprintln(c, "meanwhile"); err != nil { // TCP keeps it and sends it again
		t.Fatal(err)
	}
	if st := h.start(s); st.State.Restored == "" {
		t.Fatalf("%+v", st)
	}
	if err := c.SetDeadline(time.Now().Add(vmtest.Patience)); err != nil {
		t.Fatal(err)
	}
	if line, err := in.ReadString('\n'); err != nil || line != "meanwhile\n" {
		t.Fatalf("heard %q, %v", line, err)
	}
	echo("after")
	must("ping", "-c", "2", "-W", "20", "10.77.0.2")
	h.stop(s, byForce)
}

// The UEFI variables are a file beside the disks: a save, a snapshot of either kind and a turning back take them along.
func TestAUEFIGuestIsSavedAndTurnedBackWithItsVariables(t *testing.T) {
	t.Parallel()
	h := newSite(t)
	tool := image.Tool{Runner: runner.Exec{}}
	s := vmtest.Spec(t, h.Host, "vm-olorin")
	s.Firmware = vm.FirmwareUEFI
	s.Disks = []vm.Disk{{Image: h.image("qcow2"), Format: "qcow2", Bus: vm.BusVirtio, Cache: "writeback"}}
	h.start(s)
	h.ready(s.Name)
	h.counts(s.Name)
	if memory, err := h.CreateSnapshot(h.within(), tool, s, "live"); err != nil || !memory {
		t.Fatalf("%v, %v", memory, err)
	}
	if _, err := h.Save(h.within(), s, vm.SaveOptions{}); err != nil {
		t.Fatal(err)
	}
	n := h.counted(s.Name)

	// The store was written to meanwhile: the guest would go on with another than the one that it knows.
	store := h.NVRAM(s.Name)
	was, err := os.ReadFile(store)
	if err != nil {
		t.Fatal(err)
	}
	st, err := os.Stat(store)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Chtimes(store, time.Time{}, time.Now()); err != nil {
		t.Fatal(err)
	}
	h.refusesToStart(s, "disk "+store+" was written to since the guest was saved: going on from there would destroy what is on it")
	if err := os.Chtimes(store, time.Time{}, st.ModTime()); err != nil {
		t.Fatal(err)
	}
	if st := h.start(s); st.State.Restored == "" {
		t.Errorf("%+v", st)
	}
	h.until("the counter goes on", func() bool { return h.counted(s.Name) > n+3 })
	if _, err := h.RestoreSnapshot(h.within(), tool, s, "live", vm.RestoreOptions{}); err != nil {
		t.Fatal(err)
	}
	n = h.counted(s.Name)
	h.until("the counter goes on", func() bool { return h.counted(s.Name) > n+3 })
	h.stop(s, byForce)

	// Off: the last byte of the store is no variable's.
	scribble := func(b byte) {
		t.Helper()
		f, err := os.OpenFile(store, os.O_WRONLY, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		if _, err := f.WriteAt([]byte{b}, int64(len(was))-1); err != nil {
			t.Fatal(err)
		}
	}
	last := func() byte {
		t.Helper()
		b, err := os.ReadFile(store)
		if err != nil || len(b) != len(was) {
			t.Fatalf("%d bytes, %v", len(b), err)
		}
		return b[len(b)-1]
	}
	scribble(0x11)
	if _, err := h.CreateSnapshot(h.within(), tool, s, "off"); err != nil {
		t.Fatal(err)
	}
	scribble(0x22)
	if _, err := h.RestoreSnapshot(h.within(), tool, s, "off", vm.RestoreOptions{}); err != nil {
		t.Fatal(err)
	}
	if b := last(); b != 0x11 {
		t.Errorf("after the snapshot of a guest that was off: %#x", b)
	}
	if _, err := h.RestoreSnapshot(h.within(), tool, s, "live", vm.RestoreOptions{DisksOnly: true}); err != nil {
		t.Fatal(err)
	}
	if b := last(); b != was[len(was)-1] {
		t.Errorf("after the disks of one that ran: %#x", b)
	}
	for _, name := range []string{"off", "live"} {
		if err := h.DeleteSnapshot(h.within(), tool, s, name); err != nil {
			t.Error(err)
		}
	}
	if left, _ := os.ReadDir(h.SnapshotDir(s.Name)); len(left) > 0 {
		t.Errorf("left: %v", left)
	}
}

// lockingSector is a boot sector that locks the tray of the last IDE drive and stands still, as a system does that has a disc mounted. (The
// tests' Linux has no driver for it.)
func lockingSector() []byte {
	code := []byte{
		0xfa,       // cli
		0x31, 0xc0, // xor ax, ax
		0x8e, 0xd8, // mov ds, ax
		0xfc,                         // cld
		0xba, 0x76, 0x01, 0xb0, 0xb0, // mov dx, 0x176; mov al, 0xb0: the second drive
		0xee,             // out dx, al
		0xba, 0x77, 0x01, // mov dx, 0x177
		0xec, 0xa8, 0x80, 0x75, 0xfb, // until it is not busy
		0xba, 0x74, 0x01, 0xb0, 0x00, 0xee, // no data
		0xba, 0x75, 0x01, 0xee,
		0xba, 0x77, 0x01, 0xb0, 0xa0, 0xee, // PACKET (ATA/ATAPI-4, 8.21)
		0xec, 0xa8, 0x80, 0x75, 0xfb, 0xa8, 0x08, 0x74, 0xf7, // until it takes it
		0xbe, 0x00, 0x7d, // mov si, 0x7d00
		0xb9, 0x06, 0x00, // mov cx, 6
		0xba, 0x70, 0x01, // mov dx, 0x170
		0xf3, 0x6f, // rep outsw
		0xf4, 0xeb, 0xfd, // hlt, for ever
	}
	sector := make([]byte, 1<<20)
	copy(sector, code)
	copy(sector[0x100:], []byte{0x1e, 0, 0, 0, 1}) // PREVENT ALLOW MEDIUM REMOVAL (SPC-2, 7.12)
	sector[510], sector[511] = 0x55, 0xaa
	return sector
}

// A guest that has a disc mounted keeps it, and is told so in words; whoever insists takes it away.
func TestALockedTrayOpensByForceOnly(t *testing.T) {
	t.Parallel()
	testenv.Need(t, testenv.QEMU, "mkfs.ext4")
	h := newSite(t)
	disc, other := h.Root+"/a.iso", h.Root+"/b.iso"
	for _, path := range []string{disc, other} {
		if out, err := exec.Command("mkfs.ext4", "-q", "-b", "2048", path, "8M").CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
	}
	s := h.bare("vm-olorin")
	s.Machine = "pc" // whose drives take commands in six words
	s.CDROMs = []vm.CDROM{{Image: disc}}
	s.Disks = []vm.Disk{{Image: h.Root + "/boot.raw", Format: "raw", Bus: vm.BusVirtio, Cache: "writeback"}}
	if err := os.WriteFile(s.Disks[0].Image, lockingSector(), 0o644); err != nil {
		t.Fatal(err)
	}
	h.start(s)
	h.until("the guest has locked the drive", func() bool {
		c, closeMonitor, err := h.Monitor(h.within(), s.Name)
		if err != nil {
			return false
		}
		defer closeMonitor()
		out, err := c.HMP(h.within(), "info block")
		return err == nil && strings.Contains(out, "Removable device: locked, tray closed")
	})
	for _, image := range []string{"", other} {
		next := *s
		next.CDROMs = []vm.CDROM{{Image: image}}
		outcomes, err := applied(h.Host, &next)
		if err != nil || len(outcomes) != 1 {
			t.Fatalf("%+v, %v", outcomes, err)
		}
		var locked *vm.LockedDiscError
		if !errors.As(outcomes[0].Err, &locked) || errText(locked) != "the guest has locked the drive: the disc is mounted" ||
			locked.Hint() != "eject it inside the guest; or kvmctl set vm-olorin --force, and it loses what it reads from there" {
			t.Errorf("to %q: %+v", image, outcomes[0])
		}
		if pending := h.pendingOf(&next); !slices.Equal(pending, []string{"cdrom.0.image now"}) {
			t.Errorf("to %q: pending %q", image, pending)
		}
	}
	for _, image := range []string{other, ""} {
		next := *s
		next.CDROMs = []vm.CDROM{{Image: image}}
		outcomes, err := appliedSo(h.Host, &next, vm.ApplyOptions{Force: true})
		if err != nil || len(outcomes) != 1 || outcomes[0].Err != nil || outcomes[0].When != vm.WhenDone {
			t.Fatalf("by force to %q: %+v, %v", image, outcomes, err)
		}
		if pending := h.pendingOf(&next); len(pending) > 0 {
			t.Errorf("by force to %q: pending %q", image, pending)
		}
	}
	h.stop(s, byForce)
}

// The old machine has no root ports: every slot takes a disk or a card, also those that were there from the start, if the guest lets go.
func TestWhatThePCMachineTakesWhileItRuns(t *testing.T) {
	t.Parallel()
	h := newSite(t)
	room := newTapRoom(t)
	h.Network = room.network
	s := vmtest.Spec(t, h.Host, "vm-olorin")
	s.Machine, s.Memory, s.MemoryMax, s.CPUsMax = "pc", 256*units.MiB, 512*units.MiB, 2
	s.Disks = []vm.Disk{{Image: h.image("raw"), Format: "raw", Bus: vm.BusVirtio, Cache: "writeback"}}
	h.start(s)
	h.ready(s.Name)
	says := func(next *vm.Spec) (all []string) {
		t.Helper()
		outcomes, err := applied(h.Host, next)
		if err != nil {
			t.Fatal(err)
		}
		for _, o := range outcomes {
			all = append(all, strings.TrimSpace(fmt.Sprintf("%s %s %s%s", o.Key, o.When, o.Reason, errText(o.Err))))
		}
		return all
	}
	more := *s
	more.CPUs = 2
	more.Disks = append(slices.Clone(s.Disks), vm.Disk{Image: h.image("qcow2"), Format: "qcow2", Bus: vm.BusVirtio, Cache: "writeback"},
		vm.Disk{Image: h.image("raw"), Format: "raw", Bus: vm.BusSCSI, Cache: "writeback"},
		vm.Disk{Image: h.image("raw"), Format: "raw", Bus: vm.BusSATA, Cache: "writeback"})
	more.NICs = []vm.NIC{{Bridge: "br0", Model: "virtio", Queues: 1}, {Bridge: "br0", Model: "e1000", Queues: 1}}
	want := []string{"cpus guest", "disk.1 done",
		`disk.2 next start the guest was started without a SCSI controller: bus = "virtio" needs none`,
		`disk.3 next start SATA knows no hotplug here: bus = "virtio" or "scsi" does`, "nic.0 done", "nic.1 done"}
	if got := says(&more); !slices.Equal(got, want) {
		t.Errorf("got  %q\nwant %q", got, want)
	}
	sees := func(there, word string) { // the guest needs a moment for each
		t.Helper()
		h.types(s.Name, `for d in 11 08 09; do until [ `+there+` -e /sys/bus/pci/devices/0000:00:$d.0 ]; do sleep 0.1; done; done; echo all''`+word, "all"+word)
	}
	sees("", "came")
	less := more
	less.Disks, less.NICs, less.CPUs = nil, nil, 1
	want = []string{"cpus done", "disk done", "disk done", "nic done", "nic done"}
	if got := says(&less); !slices.Equal(got, want) {
		t.Errorf("got  %q\nwant %q", got, want)
	}
	sees("!", "went")
	h.stop(s, byForce)
}

func init() {
	helpers["fault-snapshot"] = func() int {
		return faultAct(func(h *vm.Host, job faultJob) error {
			h.Step = dieAt(job.DieAt)
			tool := image.Tool{Runner: runner.Exec{}}
			name, act, _ := strings.Cut(job.File, " ")
			var err error
			switch act {
			case "create":
				_, err = h.CreateSnapshot(context.Background(), tool, job.Spec, name)
			case "restore":
				_, err = h.RestoreSnapshot(context.Background(), tool, job.Spec, name, vm.RestoreOptions{})
			case "delete":
				err = h.DeleteSnapshot(context.Background(), tool, job.Spec, name)
			}
			return err
		})
	}
}

// A kvmctl that is killed at work on a snapshot leaves a guest that is what it was or what it was to become, and the next command ends it.
func TestWorkOnASnapshotKilledAfterAnyStep(t *testing.T) {
	t.Parallel()
	h := newSite(t)
	tool := image.Tool{Runner: runner.Exec{}}
	s := vmtest.Spec(t, h.Host, "vm-olorin")
	for i := range 2 {
		path := fmt.Sprintf("%s/%d.qcow2", h.Root, i)
		if err := tool.Create(h.within(), image.CreateOptions{Path: path, Format: image.QCOW2, Size: 16 << 20}, nil); err != nil {
			t.Fatal(err)
		}
		s.Disks = append(s.Disks, vm.Disk{Image: path, Format: "qcow2", Bus: vm.BusVirtio, Cache: "writeback"})
	}
	killed := func(name, act, at string) {
		t.Helper()
		cmd, out := h.kvmctl("fault-snapshot", faultJob{Spec: s, File: name + " " + act, DieAt: at})
		wantKilled(t, cmd, out)
	}
	list := func() (all []string) {
		t.Helper()
		snapshots, err := vm.Snapshots(h.within(), tool, s)
		if err != nil {
			t.Fatal(err)
		}
		for _, x := range snapshots {
			all = append(all, fmt.Sprintf("%s memory %v missing %d", x.Name, x.Memory > 0, len(x.Missing)))
		}
		return all
	}
	wants := func(why string, want ...string) {
		t.Helper()
		if got := list(); !slices.Equal(got, want) {
			t.Errorf("%s: got %q, want %q", why, got, want)
		}
	}
	content := func(i int) string {
		t.Helper()
		out, err := exec.Command("qemu-io", "-r", "-f", "qcow2", "-c", "read -P 7 0 512", s.Disks[i].Image).CombinedOutput()
		if err == nil && !strings.Contains(string(out), "failed") {
			return "written"
		}
		return "clean"
	}
	scribble := func() {
		t.Helper()
		for _, d := range s.Disks {
			if out, err := exec.Command("qemu-io", "-f", "qcow2", "-c", "write -P 7 0 512", d.Image).CombinedOutput(); err != nil {
				t.Fatalf("%v: %s", err, out)
			}
		}
	}
	do := func(err error) {
		t.Helper()
		if err != nil {
			t.Error(err)
		}
	}

	// Off: made on one disk, it is listed as half, cannot be restored, and goes.
	killed("half", "create", "disk kept")
	wants("killed between two disks", "half memory false missing 1")
	_, err := h.RestoreSnapshot(h.within(), tool, s, "half", vm.RestoreOptions{})
	if no := new(vm.NoSnapshotError); !errors.As(err, &no) {
		t.Errorf("half a snapshot was restored: %v", err)
	}
	do(h.DeleteSnapshot(h.within(), tool, s, "half"))
	wants("half a snapshot deleted")
	_, err = h.CreateSnapshot(h.within(), tool, s, "whole")
	do(err)
	scribble()
	killed("whole", "restore", "disk turned back")
	if got := content(0) + " " + content(1); got != "clean written" {
		t.Errorf("killed between two disks: %s", got)
	}
	_, err = h.RestoreSnapshot(h.within(), tool, s, "whole", vm.RestoreOptions{})
	do(err)
	if got := content(0) + " " + content(1); got != "clean clean" {
		t.Errorf("turned back again: %s", got)
	}
	killed("whole", "delete", "disk without")
	wants("its deletion was killed", "whole memory false missing 1")
	do(h.DeleteSnapshot(h.within(), tool, s, "whole"))
	wants("deleted again")

	// While it runs.
	h.start(s)
	h.ready(s.Name)
	h.counts(s.Name)
	goesOn := func(why string) {
		t.Helper()
		h.until("it runs, "+why, func() bool { return h.status(s.Name).State == vm.StateRunning })
		n := h.counted(s.Name)
		h.until("it counts on, "+why, func() bool { return h.counted(s.Name) > n+3 })
	}
	killed("live", "create", "snapshot begins")
	goesOn("killed before QEMU began")
	wants("killed before QEMU began")
	killed("live", "create", "snapshot made")
	goesOn("killed when it was made")
	wants("killed when it was made", "live memory true missing 0")
	killed("live", "restore", "snapshot loaded")
	goesOn("killed when it was turned back")
	_, err = h.RestoreSnapshot(h.within(), tool, s, "live", vm.RestoreOptions{})
	do(err)
	goesOn("turned back again")
	do(h.DeleteSnapshot(h.within(), tool, s, "live"))
	wants("deleted")
	h.stop(s, byForce)
}
