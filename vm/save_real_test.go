package vm_test

import (
	"context"
	"errors"
	"io"
	"os"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"kvmctl/test/guest"
	"kvmctl/vm"
	"kvmctl/vm/vmtest"
)

// types types a line at a guest's console and stays until the guest has said a text. (The echo of the line may be torn by what it says.)
func (h site) types(name, line, until string) {
	h.t.Helper()
	h.consoleSays(name, guest.Prompt) // what is typed before the shell is there is lost
	var c *vm.Console
	h.until("the console is free", func() bool {
		var err error
		c, err = h.Console(h.within(), name, vm.Visitor{})
		return err == nil
	})
	var read sync.WaitGroup
	read.Go(func() { _, _ = io.Copy(io.Discard, c) }) // a serial port sends byte by byte: some hundreds that nobody reads stop the guest
	defer read.Wait()
	defer c.Close()
	if _, err := io.WriteString(c, line+"\r"); err != nil {
		h.t.Fatal(err)
	}
	h.consoleSays(name, until)
}

var count = regexp.MustCompile(`count ([0-9]+)`)

// counted gives the last number that a guest's counter said; 0: none yet.
func (h site) counted(name string) int {
	h.t.Helper()
	all := count.FindAllStringSubmatch(h.console(name), -1)
	if len(all) == 0 {
		return 0
	}
	n, err := strconv.Atoi(all[len(all)-1][1])
	if err != nil {
		h.t.Fatal(err)
	}
	return n
}

// counts lets a guest count in its memory, some ten times a second.
func (h site) counts(name string) {
	h.t.Helper()
	h.types(name, `n=0; while :; do n=$((n+1)); echo count $n; sleep 0.1; done &`, "count 4")
}

func TestASavedGuestGoesOnWhereItWas(t *testing.T) {
	t.Parallel()
	h := newSite(t)
	s := vmtest.Spec(t, h.Host, "vm-olorin")
	s.Disks = []vm.Disk{{Image: h.image("qcow2"), Format: "qcow2", Bus: vm.BusVirtio, Cache: "writeback"}}
	first := h.start(s)
	h.ready(s.Name)
	h.counts(s.Name)
	h.types(s.Name, `echo kept in the cache >/dev/vda; echo to the ca''che`, "to the cache")

	saved, err := h.Save(h.within(), s, vm.SaveOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if saved.File != h.SavedState(s.Name) || saved.Size < 1<<20 {
		t.Errorf("%+v", saved)
	}
	if st, err := os.Stat(saved.File); err != nil || st.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v: a guest's memory is root's alone", st, err)
	}
	h.nothingRuns(s.Name)
	h.wantState(s.Name, vm.StateSaved, "saved to "+saved.File)
	before := h.counted(s.Name)

	second := h.start(s)
	if second.State.Restored != saved.File || second.State.Run == first.State.Run {
		t.Errorf("%+v", second.State)
	}
	h.until("the counter goes on", func() bool { return h.counted(s.Name) > before+5 })
	for _, n := range count.FindAllStringSubmatch(h.console(s.Name), -1) {
		if n[1] == "1" && strings.Count(h.console(s.Name), "count 1\n") > 1 {
			t.Errorf("it began again at %s", n[1])
		}
	}
	if isThere(saved.File) {
		t.Error("what was restored is still there")
	}
	h.types(s.Name, `head -c 17 /dev/vda | tr a-z A-Z`, "KEPT IN THE CACHE")
	h.wantState(s.Name, vm.StateRunning, "")

	// And once more, to a file of the admin's, which stays.
	file := h.Root + "/olorin.state"
	if _, err := h.Save(h.within(), s, vm.SaveOptions{File: file}); err != nil {
		t.Fatal(err)
	}
	h.wantState(s.Name, vm.StateSaved, "saved to "+file)
	before = h.counted(s.Name)

	// Whatever does not fit any more is refused, and nothing is started or lost.
	image := s.Disks[0].Image
	was, err := os.Stat(image)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Chtimes(image, time.Time{}, time.Now()); err != nil {
		t.Fatal(err)
	}
	h.refusesToStart(s, "disk "+image+" was written to since the guest was saved: going on from there would destroy what is on it")
	if err := os.Chtimes(image, time.Time{}, was.ModTime()); err != nil {
		t.Fatal(err)
	}
	s.MemoryMax *= 2 // named, so it is wanted: the default's following memory is no other machine
	h.refusesToStart(s, "its hardware changed since then: it was -m size=196608k, and is -m size=196608k,maxmem=393216k")
	s.MemoryMax /= 2
	other := *s
	other.Name = "vm-gandalf"
	_, err = h.StartFrom(h.within(), &other, vm.Origin{File: file})
	if want := "what was saved in " + file + " cannot be restored: it is vm-olorin, or a guest of that name"; errText(err) != want {
		t.Errorf("got  %v\nwant %s", err, want)
	}

	h.start(s)
	h.until("the counter goes on", func() bool { return h.counted(s.Name) > before+5 })
	if !isThere(file) || isThere(h.SavedState(s.Name)) {
		t.Error("the admin's file is to stay, and what points to it to go")
	}
	h.types(s.Name, "echo written >/dev/vda; sync; echo all was sync''ed", "all was synced")
	h.stop(s, byForce)

	// A stale file is of no use.
	_, err = h.StartFrom(h.within(), s, vm.Origin{File: file})
	var written *vm.DiskWrittenError
	if !errors.As(err, &written) {
		t.Errorf("restored a second time: %v", err)
	}
	h.nothingLeft(s.Name)
}

// nothingRuns makes sure that a guest's QEMU has gone.
func (h site) nothingRuns(name string) {
	h.t.Helper()
	if p := vmtest.Owner(h.t, h.Host, name); p != nil {
		p.Close()
		h.t.Errorf("%s runs (pid %d)", name, p.PID)
	}
}

func (h site) refusesToStart(s *vm.Spec, why string) {
	h.t.Helper()
	_, err := h.Start(h.within(), s)
	var no *vm.NotRestorableError
	if !errors.As(err, &no) || errText(no.Err) != why {
		h.t.Errorf("got  %v\nwant %s", err, why)
	}
	h.nothingRuns(s.Name)
	if h.SavedIn(s.Name) == "" {
		h.t.Error("what was saved is gone")
	}
}

func TestASaveThatFailsLeavesTheGuestRunning(t *testing.T) {
	t.Parallel()
	h := newSite(t)
	s := vmtest.Spec(t, h.Host, "vm-olorin")
	h.start(s)
	h.ready(s.Name)
	h.counts(s.Name)
	small := h.Root + "/small"
	if err := os.Mkdir(small, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount("kvmctl-test", small, "tmpfs", 0, "size=4m"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Unmount(small, unix.MNT_DETACH) })
	goesOn := func(why string) {
		t.Helper()
		h.until("it runs on, "+why, func() bool { return h.status(s.Name).State == vm.StateRunning })
		n := h.counted(s.Name)
		h.until("it counts on, "+why, func() bool { return h.counted(s.Name) > n+3 })
	}
	empty := func(dir string) {
		t.Helper()
		if left, _ := os.ReadDir(dir); len(left) != 0 {
			t.Errorf("left in %s: %v", dir, left)
		}
	}
	_, err := h.Save(h.within(), s, vm.SaveOptions{File: small + "/state"})
	var no *vm.NoSpaceError
	if !errors.As(err, &no) {
		t.Errorf("%v", err)
	}
	goesOn("room measured")
	empty(small)

	// The room goes while it is being written.
	if err := unix.Mount("kvmctl-test", small, "tmpfs", unix.MS_REMOUNT, "size=400m"); err != nil {
		t.Fatal(err)
	}
	h.Step = func(step string) {
		if step == "begun" {
			if err := unix.Mount("kvmctl-test", small, "tmpfs", unix.MS_REMOUNT, "size=4m"); err != nil {
				t.Error(err)
			}
		}
	}
	if _, err := h.Save(h.within(), s, vm.SaveOptions{File: small + "/state"}); !errors.Is(err, unix.ENOSPC) {
		t.Errorf("%v", err)
	}
	goesOn("the disk was full")
	empty(small)

	// ^C, early and late.
	for _, at := range []string{"begun", "complete"} {
		ctx, cancel := context.WithCancel(t.Context())
		h.Step = func(step string) {
			if step == at {
				cancel()
			}
		}
		if _, err := h.Save(ctx, s, vm.SaveOptions{}); !errors.Is(err, context.Canceled) {
			t.Errorf("interrupted when it was %s: %v", at, err)
		}
		cancel()
		goesOn("interrupted when it was " + at)
	}
	h.Step = nil

	// SIGKILL, while the guest is not given up yet.
	for _, at := range []string{"file", "begun", "complete"} {
		cmd, out := h.kvmctl("fault-save", faultJob{Spec: s, DieAt: at})
		wantKilled(t, cmd, out)
		goesOn("its save was killed when it was " + at)
		if st := h.start(s); !st.Already {
			t.Errorf("killed at %s: %+v", at, st)
		}
	}
	entries, err := os.ReadDir(h.GuestLibDir(s.Name))
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if strings.Contains(e.Name(), "saved") {
			t.Errorf("left: %s", e.Name())
		}
	}

	// SIGKILL later: the next command goes on from there.
	for _, at := range []string{"given up", "in place", "noted"} {
		cmd, out := h.kvmctl("fault-save", faultJob{Spec: s, DieAt: at})
		wantKilled(t, cmd, out)
		n := h.counted(s.Name)
		if st := h.start(s); st.Already || st.State.Restored == "" {
			t.Errorf("killed when it was %s: %+v", at, st)
		}
		h.until("it counts on, its save killed when it was "+at, func() bool { return h.counted(s.Name) > n+3 })
	}

	// SIGKILL of a restore: nothing runs, and nothing is lost.
	if _, err := h.Save(h.within(), s, vm.SaveOptions{}); err != nil {
		t.Fatal(err)
	}
	n := h.counted(s.Name)
	for _, at := range []string{"state", "QEMU", "memory"} {
		cmd, out := h.kvmctl("fault-start", faultJob{Spec: s, DieAt: at})
		wantKilled(t, cmd, out)
		if err := h.WithLock(h.within(), s.Name, "test", func(running bool) error {
			if running {
				t.Errorf("a restore that was killed after %s left a guest running", at)
			}
			return nil
		}); err != nil {
			t.Error(err)
		}
		if st := h.status(s.Name); st.State != vm.StateSaved {
			t.Errorf("a restore that was killed after %s: %+v", at, st)
		}
	}
	cmd, out := h.kvmctl("fault-start", faultJob{Spec: s, DieAt: "let go"})
	wantKilled(t, cmd, out)
	h.until("it counts on", func() bool { return h.counted(s.Name) > n+3 })
	if st := h.start(s); !st.Already || isThere(h.SavedState(s.Name)) {
		t.Errorf("%+v", st)
	}
	h.stop(s, byForce)
}
