package vm_test

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"kvmctl/internal/units"
	"kvmctl/vm"
	"kvmctl/vm/vmtest"
)

func init() {
	helpers["apply"] = func() int {
		var job kvmctlJob
		if err := json.Unmarshal([]byte(os.Getenv("KVM_VM_TEST_JOB")), &job); err != nil {
			fmt.Println(err)
			return 1
		}
		h := &job.Host
		ns, err := os.Open(job.Netns)
		if err != nil {
			fmt.Println(err)
			return 1
		}
		h.Network = (&tapRoom{ns}).network
		h.Step = func(name string) {
			if name == job.Die {
				_ = unix.Kill(os.Getpid(), unix.SIGKILL)
				select {}
			}
		}
		if _, err := applied(h, job.Spec); err != nil {
			fmt.Println(err)
			return 1
		}
		return 0
	}
}

func applied(h *vm.Host, s *vm.Spec) ([]vm.Outcome, error) {
	return appliedSo(h, s, vm.ApplyOptions{})
}

func appliedSo(h *vm.Host, s *vm.Spec, o vm.ApplyOptions) (outcomes []vm.Outcome, err error) {
	lockErr := h.WithLock(context.Background(), s.Name, "set", func(bool) error {
		outcomes, err = h.Apply(context.Background(), s, o)
		return nil
	})
	if lockErr != nil {
		return nil, lockErr
	}
	return outcomes, err
}

// pendingOf gives what Compare says is not in force.
func (h site) pendingOf(s *vm.Spec) (all []string) {
	h.t.Helper()
	changes, running, err := h.Compare(h.within(), s)
	if err != nil || !running {
		h.t.Fatalf("compare: running %v, %v", running, err)
	}
	for _, c := range changes {
		if c.When != vm.WhenDone {
			all = append(all, fmt.Sprintf("%s %s", c.Key, c.When))
		}
	}
	return all
}

// A kvmctl that is killed in the middle of a change leaves what the next one sees and finishes: nothing is plugged in twice, no image and
// no TAP stays behind, and the place that the ABI lock gave is the one that the device has.
func TestAChangeKilledAfterAnyStepIsFinishedByTheNext(t *testing.T) {
	t.Parallel()
	h := newSite(t)
	room := newTapRoom(t)
	h.Network = room.network
	s := h.bare("vm-olorin")
	h.start(s)
	netns := fmt.Sprintf("/proc/%d/fd/%d", os.Getpid(), room.ns.Fd())
	for i, step := range []string{"pinned", "disk open", "applied", "pinned", "card's TAP taken", "applied"} {
		disk := i < 3
		what := "nic"
		if disk {
			what = fmt.Sprintf("disk.%d", len(s.Disks))
			s.Disks = append(slices.Clone(s.Disks), vm.Disk{Image: h.image("raw"), Format: "raw", Bus: vm.BusVirtio, Cache: "writeback"})
			if err := os.Rename(s.Disks[i].Image, fmt.Sprintf("%s.%d", s.Disks[i].Image, i)); err != nil {
				t.Fatal(err)
			}
			s.Disks[i].Image += fmt.Sprintf(".%d", i)
		} else {
			what = fmt.Sprintf("nic.%d", len(s.NICs))
			s.NICs = append(slices.Clone(s.NICs), vm.NIC{Bridge: fmt.Sprintf("br%d", i), Model: "virtio", Queues: 1})
		}
		cmd := h.kvmctlStart(kvmctlJob{Spec: s, Die: step, Netns: netns})
		cmd.Env = append(cmd.Env, helperEnv+"=apply")
		out, err := cmd.CombinedOutput()
		if status, ok := err.(*exec.ExitError); !ok || status.Sys().(syscall.WaitStatus).Signal() != syscall.SIGKILL {
			t.Fatalf("it was not killed after %q: %v, %s", step, err, out)
		}
		if pending := h.pendingOf(s); step != "applied" && !slices.Equal(pending, []string{what + " now"}) {
			t.Errorf("killed after %q: pending %q, want %s", step, pending, what)
		}
		if digest := h.status(s.Name).StateOf.Digest; digest == s.Digest() {
			t.Errorf("killed after %q: status would show no mark", step)
		}
		before, err := vm.LoadABI(h.ABILock(s.Name))
		if err != nil {
			t.Fatal(err)
		}
		outcomes, err := applied(h.Host, s)
		if err != nil {
			t.Fatalf("killed after %q: the next: %v", step, err)
		}
		for _, o := range outcomes {
			if o.Err != nil {
				t.Errorf("killed after %q: the next: %s: %v", step, o.Key, o.Err)
			}
		}
		if pending := h.pendingOf(s); len(pending) > 0 {
			t.Errorf("killed after %q: still pending %q", step, pending)
		}
		if digest := h.status(s.Name).StateOf.Digest; digest != s.Digest() {
			t.Errorf("killed after %q: status would still show a mark", step)
		}
		after, err := vm.LoadABI(h.ABILock(s.Name))
		if err != nil || fmt.Sprint(before) != fmt.Sprint(after) {
			t.Errorf("killed after %q: the lock changed: %v\n%+v\n%+v", step, err, before, after)
		}
	}
	c, closeMonitor, err := h.Monitor(h.within(), s.Name)
	if err != nil {
		t.Fatal(err)
	}
	defer closeMonitor()
	block, err := c.HMP(h.within(), "info block")
	if err != nil || strings.Count(block, "(raw)") != 3 {
		t.Errorf("want three disks: %v\n%s", err, block)
	}
	network, err := c.HMP(h.within(), "info network")
	if err != nil || strings.Count(network, "type=tap") != 3 {
		t.Errorf("want three cards: %v\n%s", err, network)
	}
	sets, err := c.HMP(h.within(), "info qtree")
	if err != nil || strings.Count(sets, "dev: virtio-blk-pci,") != 3 || strings.Count(sets, "dev: virtio-net-pci,") != 3 {
		t.Errorf("want three of each device: %v", err)
	}
}

// A guest without an agent may use what came, and nobody knows; one without a system lets go of nothing. Neither is waited for for ever.
func TestWhatAGuestDoesNotTellOrGiveIsPending(t *testing.T) {
	t.Parallel()
	h := newSite(t)
	s := vmtest.Spec(t, h.Host, "vm-varda")
	s.Memory, s.MemoryMax, s.CPUsMax = 256*units.MiB, 512*units.MiB, 2
	h.start(s)
	h.ready(s.Name)
	more := *s
	more.Memory, more.CPUs = 384*units.MiB, 2
	outcomes, err := applied(h.Host, &more)
	if err != nil {
		t.Fatal(err)
	}
	got := []string{}
	for _, o := range outcomes {
		got = append(got, fmt.Sprintf("%s %s %v %s %v", o.Key, o.When, o.InVain, o.Note, o.Err))
	}
	want := []string{"memory guest false added, not seen by the guest: boot it with memhp_default_state=online_movable <nil>",
		"cpus guest false added, not seen by the guest: it has no agent that tells <nil>"}
	if !slices.Equal(got, want) {
		t.Errorf("got  %q\nwant %q", got, want)
	}
	if st := h.status(s.Name).StateOf; !st.Unseen || st.Digest != more.Digest() {
		t.Errorf("state: unseen %v", st.Unseen)
	}
	if p := h.pendingOf(&more); !slices.Equal(p, []string{"memory guest", "cpus guest"}) {
		t.Errorf("pending %q", p)
	}
	if outcomes, err = applied(h.Host, s); err != nil { // given back: nothing is unseen any more
		t.Fatal(err)
	}
	for _, o := range outcomes {
		if o.Err != nil || o.When == vm.WhenGuest {
			t.Errorf("%s: %s %s %v", o.Key, o.When, o.Note, o.Err)
		}
	}
	if st := h.status(s.Name).StateOf; st.Unseen || len(h.pendingOf(s)) > 0 {
		t.Errorf("unseen %v, pending %q", st.Unseen, h.pendingOf(s))
	}

	none := h.bare("vm-este") // nothing in it knows virtio-mem
	none.Memory, none.MemoryMax = 256*units.MiB, 512*units.MiB
	h.start(none)
	more = *none
	more.Memory = 384 * units.MiB
	if outcomes, err = applied(h.Host, &more); err != nil || len(outcomes) != 1 {
		t.Fatalf("%+v, %v", outcomes, err)
	}
	if o := outcomes[0]; o.When != vm.WhenGuest || !o.InVain || o.Note != "the guest has taken 0 of 128M so far" {
		t.Errorf("%+v", o)
	}
}
