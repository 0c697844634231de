package vm_test

import (
	"errors"
	"slices"
	"testing"

	"kvmctl/internal/runner"
	"kvmctl/test/guest"
	"kvmctl/vm"
	"kvmctl/vm/image"
	"kvmctl/vm/vmtest"
)

// A disk and a card that came while a guest ran are a part of its machine: it is saved and goes on with them, and so it is turned back to
// a snapshot, while it runs and off. So is one that lost a disk. (Both sides of a migration have to have the same devices:
// docs/devel/migration.rst; libvirt restores so, too.)
func TestAGuestThatGotADiskAndACardIsSavedAndTurnedBackWithThem(t *testing.T) {
	t.Parallel()
	h := newSite(t)
	tool := image.Tool{Runner: runner.Exec{}}
	room := newTapRoom(t)
	h.Network = room.network
	disk := func(name string) vm.Disk {
		path := h.Root + "/" + name + ".qcow2"
		if err := tool.Create(h.within(), image.CreateOptions{Path: path, Format: image.QCOW2, Size: 16 << 20}, nil); err != nil {
			t.Fatal(err)
		}
		return vm.Disk{Image: path, Format: "qcow2", Bus: vm.BusVirtio, Cache: "writeback"}
	}
	s := vmtest.Spec(t, h.Host, "vm-olorin")
	s.Disks = []vm.Disk{disk("root"), disk("going")}
	h.start(s)
	h.ready(s.Name)
	h.consoleSays(s.Name, guest.Prompt)
	apply := func(what string) {
		t.Helper()
		outcomes, err := applied(h.Host, s)
		if err != nil {
			t.Fatal(err)
		}
		for _, o := range outcomes {
			if o.Err != nil || o.When != vm.WhenDone {
				t.Errorf("%s: %s: %s %s %v", what, o.Key, o.When, o.Reason, o.Err)
			}
		}
	}
	s.Disks = append([]vm.Disk{disk("passing"), disk("come")}, s.Disks...) // first in the file, and last in QEMU
	s.NICs = append(slices.Clone(s.NICs), vm.NIC{Bridge: "br0", Model: "virtio", Queues: 1})
	apply("two disks and a card")
	h.types(s.Name, "until [ -b /dev/vdd ]; do sleep 1; done; echo both a''re", "both are")
	s.Disks = s.Disks[1:]
	apply("one of them leaves")
	h.types(s.Name, "until echo kept on the new disk >/dev/vdd; do sleep 1; done; sync; echo it is the''re", "it is there")
	h.types(s.Name, "ls /sys/class/net | grep -c eth; echo cards cou''nted", "cards counted")
	h.counts(s.Name)

	if memory, err := h.CreateSnapshot(h.within(), tool, s, "early"); err != nil || !memory {
		t.Fatalf("%v, %v", memory, err)
	}

	// What the file has and the guest has not is said before anything is done.
	two := *s
	two.Disks = append(slices.Clone(s.Disks), disk("never"))
	var changed *vm.ChangedError
	if _, err := h.Save(h.within(), &two, vm.SaveOptions{}); !errors.As(err, &changed) || changed.Hint() != "kvmctl restart vm-olorin; then the same again" {
		t.Errorf("a disk that was not plugged in: %v", err)
	}
	h.wantState(s.Name, vm.StateRunning, "")

	saved, err := h.Save(h.within(), s, vm.SaveOptions{})
	if err != nil {
		t.Fatal(err)
	}
	n := h.counted(s.Name)
	if st := h.start(s); st.State.Restored != saved.File {
		t.Errorf("%+v", st.State)
	}
	h.until("it counts on", func() bool { return h.counted(s.Name) > n+3 })
	h.types(s.Name, "echo 3 >/proc/sys/vm/drop_caches; head -c 15 /dev/vdd | tr a-z A-Z", "KEPT ON THE NEW")
	if p := h.pendingOf(s); len(p) > 0 {
		t.Errorf("after the restore: pending %q", p)
	}

	if err := h.DeleteSnapshot(h.within(), tool, s, "early"); err != nil {
		t.Error(err)
	}

	// A snapshot with it, and back: while it runs, and from off.
	if memory, err := h.CreateSnapshot(h.within(), tool, s, "with"); err != nil || !memory {
		t.Fatalf("%v, %v", memory, err)
	}
	then := h.counted(s.Name)
	h.types(s.Name, "echo other words there now >/dev/vdd; sync; echo over''written", "overwritten")
	if _, err := h.RestoreSnapshot(h.within(), tool, s, "with", vm.RestoreOptions{}); err != nil {
		t.Fatal(err)
	}
	h.until("it counts on from there", func() bool { return h.counted(s.Name) > then+3 })
	h.types(s.Name, "echo 3 >/proc/sys/vm/drop_caches; head -c 11 /dev/vdd | tr a-z A-Z; echo back aga''in", "back again")
	h.stop(s, byForce)
	if st, err := h.RestoreSnapshot(h.within(), tool, s, "with", vm.RestoreOptions{}); err != nil || st == nil {
		t.Fatalf("%+v, %v", st, err)
	}
	n = h.counted(s.Name)
	h.until("it counts on from there", func() bool { return h.counted(s.Name) > n+3 })

	// It was there at this start, behind its root port, and leaves.
	s.Disks = s.Disks[1:]
	apply("without the disk")
	if saved, err = h.Save(h.within(), s, vm.SaveOptions{}); err != nil {
		t.Fatal(err)
	}
	n = h.counted(s.Name)
	if st := h.start(s); st.State.Restored != saved.File {
		t.Errorf("%+v", st.State)
	}
	h.until("it counts on without", func() bool { return h.counted(s.Name) > n+3 })
	h.stop(s, byForce)
}
