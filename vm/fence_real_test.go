package vm_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"kvmctl/internal/flock"
	"kvmctl/vm"
	"kvmctl/vm/image"
	"kvmctl/vm/vmtest"
)

const (
	fenceA = "0123456789abcdef0123456789abcdef"
	fenceB = "fedcba9876543210fedcba9876543210"
)

// guarded describes a bare guest with a disk.
func (h site) guarded(name string) *vm.Spec {
	h.t.Helper()
	s := h.bare(name)
	s.Disks = []vm.Disk{{Image: h.image("raw"), Format: "raw", Bus: vm.BusVirtio, Cache: "writeback"}}
	return s
}

// fence fences a guest, which has to succeed.
func (h site) fence(s *vm.Spec, request, node string) *vm.Fenced {
	h.t.Helper()
	f, err := h.Fence(h.within(), s, vm.FenceRequest{ID: request, For: node, Within: vmtest.Patience})
	if err != nil {
		h.t.Fatalf("fence %s: %v", s.Name, err)
	}
	return f
}

// isDead makes sure that nothing of a guest's is left that could write.
func (h site) isDead(s *vm.Spec) {
	h.t.Helper()
	if p := vmtest.Owner(h.t, h.Host, s.Name); p != nil {
		h.t.Errorf("pid %d owns %s", p.PID, s.Name)
		p.Close()
	}
	if abi, err := vm.LoadABI(h.ABILock(s.Name)); err == nil {
		for _, p := range h.processes(h.UIDBase + abi.UID) {
			h.t.Errorf("%s is a process of %s", p, s.Name)
		}
	}
	for _, d := range s.Disks {
		if err := image.CheckUnlocked(h.t.Context(), d.Image, true); err != nil {
			h.t.Error(err)
		}
	}
}

// isHeld makes sure that a guest is held for a node and a request.
func (h site) isHeld(s *vm.Spec, request, node string) {
	h.t.Helper()
	var held *vm.HeldError
	if !errors.As(h.CheckHold(s.Name), &held) || held.Hold == nil || held.Hold.Request != request || held.Hold.For != node {
		h.t.Errorf("held %+v, want for %s by %s", held, node, request)
	}
}

func TestAFencedGuestIsDeadAndStaysSo(t *testing.T) {
	t.Parallel()
	h := newSite(t)
	s := h.guarded("vm-varda")
	h.start(s)
	f := h.fence(s, fenceA, "varda2")
	h.isDead(s)
	t.Logf("killed in %v", f.Took)
	if f.State != vm.FenceKilled || f.Took <= 0 {
		t.Errorf("%+v", f)
	}
	h.isHeld(s, fenceA, "varda2")
	st := h.wantState(s.Name, vm.StateStopped, "fenced for varda2")
	if st.Held != "held for varda2" || time.Since(st.Since) > time.Minute {
		t.Errorf("%+v", st)
	}
	var held *vm.HeldError
	for what, act := range map[string]func() error{
		"start":       func() error { _, err := h.Start(h.within(), s); return err },
		"a dry run":   func() error { _, err := h.PrepareFrom(h.within(), s, vm.Origin{}); return err },
		"from a CD":   func() error { _, err := h.StartFrom(h.within(), s, vm.Origin{CD: "/dev/null"}); return err },
		"from a file": func() error { _, err := h.StartFrom(h.within(), s, vm.Origin{File: "/nowhere"}); return err },
		"turn back": func() error {
			_, err := h.RestoreSnapshot(h.within(), image.Tool{}, s, "a", vm.RestoreOptions{})
			return err
		},
	} {
		if err := act(); !errors.As(err, &held) || !strings.HasPrefix(err.Error(), "it was fenced for varda2 at ") {
			t.Errorf("%s: %v", what, err)
		}
	}

	// The request that is repeated is answered alike; another one, too, and the guest is held for that.
	if f := h.fence(s, fenceA, "varda2"); f.State != vm.FenceKilled {
		t.Errorf("once more: %+v", f)
	}
	if f := h.fence(s, fenceB, "olorin2"); f.State != vm.FenceWasStopped {
		t.Errorf("another: %+v", f)
	}
	h.isHeld(s, fenceB, "olorin2")
	if n := h.said(s.Name, vm.KindFence, ""); n != 2 {
		t.Errorf("the history has %d fences", n)
	}

	if was, err := h.Unhold(s.Name); err != nil || was == nil || was.Hold.For != "olorin2" {
		t.Errorf("unhold: %+v, %v", was, err)
	}
	st2 := h.start(s)
	var spent *vm.SpentError
	if _, err := h.Fence(h.within(), s, vm.FenceRequest{ID: fenceA, For: "varda2", Within: time.Second}); !errors.As(err, &spent) {
		t.Errorf("a copy that came late: %v", err)
	}
	if st := h.wantState(s.Name, vm.StateRunning, ""); st.PID != st2.PID || st.Held != "" {
		t.Errorf("%+v", st)
	}
	h.stop(s, byForce)
}

func TestAGuestThatNeverRanIsFenced(t *testing.T) {
	t.Parallel()
	h := newSite(t)
	s := h.guarded("vm-varda")
	if f := h.fence(s, fenceA, "varda2"); f.State != vm.FenceWasStopped {
		t.Errorf("%+v", f)
	}
	if _, err := h.Start(h.within(), s); !errors.As(err, new(*vm.HeldError)) {
		t.Errorf("start: %v", err)
	}
	h.nothingLeft(s.Name)
}

// A fence meets a start in each of its steps, and at moments that no step marks. It never ends while the guest may come up.
func TestAStartAndAFenceThatRace(t *testing.T) {
	type race struct {
		name   string
		after  string        // this step the fence begins,
		pause  time.Duration // or so much later
		stands string        // until then the start stands still: "held", the hold is written; "answered"; "" it does not
	}
	var races []race
	for i, step := range []string{"pre-start hook", "run directory", "files", "state", "network", "QEMU", "flight recorder", "monitor", "settings", "scope", "let go"} {
		races = append(races, race{"after " + step, step, 0, ""}, race{"held after " + step, step, 0, "held"})
		if i < 3 { // from then on the fence waits for the start
			races = append(races, race{"answered after " + step, step, 0, "answered"})
		}
	}
	for i := range 24 {
		races = append(races, race{fmt.Sprintf("%d ms after files", 3*i), "files", time.Duration(3*i) * time.Millisecond, ""})
	}
	h := newSite(t)
	s := h.guarded("vm-varda")
	killed := 0
	for i, r := range races {
		t.Run(r.name, func(t *testing.T) {
			h := site{h.Host, t}
			starter, fencer := *h.Host, *h.Host // two kvmctl, as the locks see it
			reached, held, answered := make(chan struct{}), make(chan struct{}), make(chan struct{})
			starter.Step = func(name string) {
				if name != r.after {
					return
				}
				close(reached)
				switch r.stands {
				case "held":
					<-held
				case "answered":
					<-answered
				}
			}
			fencer.Step = func(name string) {
				if name == "held" {
					close(held)
				}
			}
			started := make(chan error, 1)
			go func() { // ends with its start; awaited below
				_, err := starter.Start(h.within(), s)
				started <- err
			}()
			select {
			case <-reached:
			case err := <-started:
				t.Fatalf("it did not come to %s: %v", r.after, err)
			}
			if r.pause > 0 {
				<-time.After(r.pause)
			}
			f := site{&fencer, t}.fence(s, fmt.Sprintf("%032x", i+1), "varda2")
			close(answered)
			if p := vmtest.Owner(t, h.Host, s.Name); p != nil {
				t.Errorf("it lives: pid %d", p.PID)
				p.Close()
			}
			if f.State == vm.FenceKilled {
				killed++
			}
			err := <-started
			switch {
			case err != nil && !errors.As(err, new(*vm.HeldError)):
				t.Errorf("start: %v", err)
			case err == nil && r.stands != "" && r.after != "let go":
				t.Error("it was started after the hold was written")
			case err != nil && r.after == "let go":
				t.Errorf("a start that was over: %v", err)
			}
			h.isDead(s)
			if st := h.status(s.Name); st.State != vm.StateStopped {
				t.Errorf("%+v", st)
			}
			for _, f := range h.facts(s.Name) {
				if f.Event == "RESUME" && err != nil {
					t.Errorf("a start that failed had let it go: %+v", f)
				}
			}
			if _, err := h.Unhold(s.Name); err != nil {
				t.Fatal(err)
			}
			if err := os.Remove(h.History(s.Name)); err != nil {
				t.Fatal(err)
			}
		})
	}
	t.Logf("%d of %d were killed, the others ended by themselves", killed, len(races))
	if killed < 3 || killed == len(races) {
		t.Errorf("%d of %d were killed: the races are not races", killed, len(races))
	}
}

// What a killed start has left is ended, whether or not it is QEMU already.
func TestAFenceEndsWhatAKilledStartLeft(t *testing.T) {
	for _, step := range []string{"run directory", "state", "QEMU", "flight recorder", "scope", "let go"} {
		t.Run(step, func(t *testing.T) {
			t.Parallel()
			h := newSite(t)
			s := h.guarded("vm-varda")
			h.killedAfter(kvmctlJob{Spec: s, Die: step})
			if step == "state" { // as if its child had not become QEMU yet
				child, err := flock.TryLock(filepath.Join(h.RunDir(s.Name), "starting"))
				if err != nil {
					t.Fatal(err)
				}
				if f, err := h.Fence(h.within(), s, vm.FenceRequest{ID: fenceB, For: "varda2", Within: 200 * time.Millisecond}); err == nil {
					t.Errorf("with a child on its way: %+v", f)
				}
				child.Unlock()
			}
			f := h.fence(s, fenceA, "varda2")
			h.isDead(s)
			if step == "let go" && f.State != vm.FenceKilled {
				t.Errorf("%+v", f)
			}
			if st := h.status(s.Name); st.State != vm.StateStopped {
				t.Errorf("%+v", st)
			}
			h.nothingLeft(s.Name)
		})
	}
}

// A kvmctl that is asking the guest to shut down has its lock for half a minute: a fence does not wait for it.
func TestAFenceDoesNotWaitForAStop(t *testing.T) {
	t.Parallel()
	h := newSite(t)
	s := h.guarded("vm-varda")
	h.start(s)
	stopper := *h.Host
	asks := make(chan struct{})
	stopped := make(chan error, 1)
	go func() { // awaited below
		_, err := stopper.Stop(h.within(), s, vm.StopOptions{Timeout: vmtest.Patience, Say: func(string) { close(asks) }})
		stopped <- err
	}()
	<-asks
	if f := h.fence(s, fenceA, "varda2"); f.State != vm.FenceKilled || f.Took > 10*time.Second {
		t.Errorf("%+v", f)
	}
	h.isDead(s)
	if err := <-stopped; err != nil {
		t.Errorf("stop: %v", err)
	}
	h.wantState(s.Name, vm.StateStopped, "fenced for varda2")
}

// outlivesSIGKILL keeps a process from ending until release: it stops in its exit, for a debugger that does not look (ptrace(2),
// PTRACE_O_TRACEEXIT), as one does that waits for storage.
func outlivesSIGKILL(t *testing.T, pid int) (release func()) {
	t.Helper()
	seized, let, done := make(chan error), make(chan struct{}), make(chan struct{})
	go func() { // ends with release
		defer close(done)
		runtime.LockOSThread() // the debugger is a thread
		defer runtime.UnlockOSThread()
		_, _, e := unix.RawSyscall6(unix.SYS_PTRACE, unix.PTRACE_SEIZE, uintptr(pid), 0, unix.PTRACE_O_TRACEEXIT, 0, 0)
		if e != 0 {
			seized <- e
			return
		}
		seized <- nil
		<-let
		var ws unix.WaitStatus
		if _, err := unix.Wait4(pid, &ws, unix.WALL, nil); err != nil || !ws.Stopped() {
			t.Errorf("it did not stop in its exit: %x, %v", ws, err)
		}
		if err := unix.PtraceDetach(pid); err != nil {
			t.Errorf("let it end: %v", err)
		}
	}()
	if err := <-seized; err != nil {
		t.Fatalf("seize pid %d: %v", pid, err)
	}
	return func() { close(let); <-done }
}

// There is no receipt where something may still write, and the hold stays.
func TestAFenceThatIsNotSureGivesNoReceipt(t *testing.T) {
	t.Parallel()
	h := newSite(t)
	s := h.guarded("vm-varda")
	soon := vm.FenceRequest{ID: fenceA, For: "varda2", Within: 300 * time.Millisecond}
	refuses := func(what string, target any, q vm.FenceRequest) {
		t.Helper()
		if f, err := h.Fence(h.within(), s, q); f != nil || !errors.As(err, target) {
			t.Errorf("%s: %+v, %v", what, f, err)
		}
		h.isHeld(s, fenceA, "varda2")
		if _, err := h.Start(h.within(), s); !errors.As(err, new(*vm.HeldError)) {
			t.Errorf("%s: start: %v", what, err)
		}
	}

	f, err := os.OpenFile(s.Disks[0].Image, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := image.Hold(t.Context(), f, true); err != nil {
		t.Fatal(err)
	}
	refuses("somebody writes to its image", new(*image.LockedError), soon)
	f.Close()

	if _, err := h.Unhold(s.Name); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(h.History(s.Name)); err != nil && !errors.Is(err, os.ErrNotExist) { // or the request is spent
		t.Fatal(err)
	}
	if out, err := h.kvmctlStart(kvmctlJob{Spec: s}).CombinedOutput(); err != nil { // a child of ours would be waited for by its start
		t.Fatalf("%v: %s", err, out)
	}
	st := h.wantState(s.Name, vm.StateRunning, "")
	if err := os.Rename(h.Pidfile(s.Name), h.Pidfile(s.Name)+".away"); err != nil {
		t.Fatal(err)
	}
	var stray *vm.StrayError
	refuses("somebody removed its pidfile", &stray, soon)
	if stray != nil && stray.PID != st.PID {
		t.Errorf("%+v, its QEMU is %d", stray, st.PID)
	}
	if err := os.Rename(h.Pidfile(s.Name)+".away", h.Pidfile(s.Name)); err != nil {
		t.Fatal(err)
	}

	release := outlivesSIGKILL(t, st.PID)
	refuses("it is stuck in the kernel", new(*vm.StuckError), soon)
	release()
	if f := h.fence(s, fenceA, "varda2"); f.State != vm.FenceKilled {
		t.Errorf("%+v", f)
	}
	h.isDead(s)

	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := h.Fence(ctx, s, soon); err != nil && !errors.As(err, new(*vm.InterruptedError)) {
		t.Errorf("interrupted: %v", err)
	}
}

// A fence that is killed when the hold is written, or when QEMU has ended, is repeated by whoever got no answer.
func TestAFenceThatWasKilledIsFinishedByTheNext(t *testing.T) {
	for _, step := range []string{"held", "killed"} {
		t.Run(step, func(t *testing.T) {
			t.Parallel()
			h := newSite(t)
			s := h.guarded("vm-varda")
			h.start(s)
			cmd := h.kvmctlStart(kvmctlJob{Spec: s, Die: step})
			cmd.Env = append(cmd.Env, helperEnv+"=fence")
			if out, err := cmd.CombinedOutput(); err == nil {
				t.Fatalf("it was not killed: %s", out)
			}
			h.isHeld(s, fenceA, "varda2")
			if _, err := h.Start(h.within(), s); !errors.As(err, new(*vm.HeldError)) {
				t.Errorf("start: %v", err)
			}
			if f := h.fence(s, fenceA, "varda2"); f.State != vm.FenceKilled {
				t.Errorf("%+v", f)
			}
			h.isDead(s)
			h.wantState(s.Name, vm.StateStopped, "fenced for varda2")
			if n := h.said(s.Name, vm.KindFence, ""); n != 1 {
				t.Errorf("the history has %d fences", n)
			}
		})
	}
}

func init() {
	helpers["fence"] = func() int {
		job, err := theJob()
		if err == nil {
			_, err = job.Host.Fence(context.Background(), job.Spec, vm.FenceRequest{ID: fenceA, For: "varda2", Within: vmtest.Patience})
		}
		if err != nil {
			fmt.Println(err)
			return 1
		}
		return 0
	}
}

// Two nodes, or one that is in a hurry, at once: each gets its answer, and one of them is the hold's.
func TestTwoFencesAtOnce(t *testing.T) {
	t.Parallel()
	h := newSite(t)
	s := h.guarded("vm-varda")
	h.start(s)
	answers := make(chan error, 8)
	for i := range cap(answers) { // awaited below
		go func() {
			one := *h.Host
			_, err := one.Fence(h.within(), s, vm.FenceRequest{ID: fmt.Sprintf("%032x", i+1), For: "varda2", Within: vmtest.Patience})
			answers <- err
		}()
	}
	for range cap(answers) {
		if err := <-answers; err != nil {
			t.Error(err)
		}
	}
	h.isDead(s)
	if err := h.CheckHold(s.Name); err == nil {
		t.Error("it is not held")
	}
}
