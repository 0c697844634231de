package vm_test

import (
	"errors"
	"os"
	"testing"

	"golang.org/x/sys/unix"

	"kvmctl/internal/runner"
	"kvmctl/vm"
	"kvmctl/vm/image"
	"kvmctl/vm/vmtest"
)

func TestARunningGuestIsTurnedBack(t *testing.T) {
	t.Parallel()
	h := newSite(t)
	tool := image.Tool{Runner: runner.Exec{}}
	small := h.Root + "/small"
	if err := os.Mkdir(small, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount("kvmctl-test", small, "tmpfs", 0, "size=600m"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Unmount(small, unix.MNT_DETACH) })
	resize := func(size string) {
		t.Helper()
		if err := unix.Mount("kvmctl-test", small, "tmpfs", unix.MS_REMOUNT, "size="+size); err != nil {
			t.Fatal(err)
		}
	}
	first := h.image("qcow2")
	onSmall := small + "/disk.qcow2"
	if err := os.Rename(first, h.Root+"/moved.qcow2"); err != nil {
		t.Fatal(err)
	}
	if err := tool.Create(h.within(), image.CreateOptions{Path: onSmall, Format: image.QCOW2, Size: 16 << 20}, nil); err != nil {
		t.Fatal(err)
	}
	s := vmtest.Spec(t, h.Host, "vm-olorin")
	s.Disks = []vm.Disk{{Image: onSmall, Format: "qcow2", Bus: vm.BusVirtio, Cache: "writeback"},
		{Image: h.Root + "/moved.qcow2", Format: "qcow2", Bus: vm.BusVirtio, Cache: "writeback"}}
	h.start(s)
	h.ready(s.Name)
	h.counts(s.Name)
	if memory, err := h.CreateSnapshot(h.within(), tool, s, "early"); err != nil || !memory {
		t.Fatalf("%v, %v", memory, err)
	}
	then := h.counted(s.Name)
	h.until("it counts on", func() bool { return h.counted(s.Name) > then+20 })
	late := h.counted(s.Name)
	if _, err := h.RestoreSnapshot(h.within(), tool, s, "early", vm.RestoreOptions{}); err != nil {
		t.Fatal(err)
	}
	h.until("it counts from where it was", func() bool { n := h.counted(s.Name); return n >= then-2 && n < late })
	h.until("and on", func() bool { return h.counted(s.Name) > then+3 })

	// No room: seen before, and met in the middle. The guest goes on, and there is no snapshot.
	goesOn := func(why string) {
		t.Helper()
		h.until("it runs, "+why, func() bool { return h.status(s.Name).State == vm.StateRunning })
		n := h.counted(s.Name)
		h.until("it counts on, "+why, func() bool { return h.counted(s.Name) > n+3 })
		all, err := vm.Snapshots(h.within(), tool, s)
		if err != nil || len(all) != 1 || all[0].Name != "early" || all[0].Memory == 0 || len(all[0].Missing) != 0 {
			t.Errorf("%s: %+v, %v", why, all, err)
		}
	}
	resize("120m")
	var no *vm.NoSpaceError
	if _, err := h.CreateSnapshot(h.within(), tool, s, "full"); !errors.As(err, &no) {
		t.Errorf("%v", err)
	}
	goesOn("room measured")
	resize("900m")
	h.Step = func(step string) {
		if step == "snapshot begins" {
			resize("130m")
		}
	}
	var job *vm.JobError
	if _, err := h.CreateSnapshot(h.within(), tool, s, "full"); !errors.As(err, &job) {
		t.Errorf("%v", err)
	}
	h.Step = nil
	goesOn("the disk was full")
	resize("900m")
	if err := h.DeleteSnapshot(h.within(), tool, s, "early"); err != nil {
		t.Error(err)
	}
	h.stop(s, byForce)
}
