package vm_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"kvmctl/internal/units"
	"kvmctl/test/guest"
	"kvmctl/vm"
	"kvmctl/vm/vmtest"
)

// afterExit is how long a stop may take once QEMU has gone, and what it is allowed on a busy machine.
const (
	afterExit     = 50 * time.Millisecond
	afterExitMost = 20 * afterExit
)

// stopOf is what a stop did, as its caller and a bystander saw it.
type stopOf struct {
	*vm.Stopped
	said []string
	lag  time.Duration // from QEMU's exit to the return of Stop
}

// stopSeen stops a guest and watches its QEMU meanwhile.
func (h site) stopSeen(s *vm.Spec, o vm.StopOptions) stopOf {
	h.t.Helper()
	got := stopOf{}
	o.Say = func(rung string) { got.said = append(got.said, rung) }
	exited := make(chan time.Time, 1)
	if p := vmtest.Owner(h.t, h.Host, s.Name); p != nil {
		go func() {
			defer p.Close()
			if p.Wait(h.t.Context(), 2*vmtest.Patience) {
				exited <- time.Now()
			}
			close(exited)
		}()
	} else {
		close(exited)
	}
	var err error
	if got.Stopped, err = h.Stop(h.t.Context(), s, o); err != nil {
		h.t.Fatalf("stop %s: %v", s.Name, err)
	}
	back := time.Now()
	if at, ok := <-exited; ok {
		got.lag = back.Sub(at)
		h.t.Logf("stop %s: rung %s after %v, back %v after QEMU's exit (promised: %v)", s.Name, got.Rung, got.Took.Round(time.Millisecond),
			got.lag.Round(100*time.Microsecond), afterExit)
		if got.lag > afterExitMost {
			h.t.Errorf("stop came back %v after QEMU's exit", got.lag)
		}
		h.nothingLeft(s.Name)
	}
	return got
}

// wantStop compares a stop with what it should have been.
func wantStop(t *testing.T, got stopOf, rung vm.Rung, clean bool, reason string, said ...string) {
	t.Helper()
	if got.Rung != rung || got.Clean != clean || got.Reason != reason {
		t.Errorf("rung %s, clean %v, %q; want rung %s, clean %v, %q", got.Rung, got.Clean, got.Reason, rung, clean, reason)
	}
	if d := cmp.Diff(said, got.said); d != "" {
		t.Errorf("rungs: %s", d)
	}
}

func tookTime(t *testing.T, got stopOf, least, most time.Duration) {
	t.Helper()
	if got.Took < least || got.Took > most {
		t.Errorf("it took %v, want %v to %v", got.Took, least, most)
	}
}

func TestAStoppedQEMUIsKilledWithinTheLaddersTimes(t *testing.T) {
	t.Parallel()
	h := newSite(t)
	s := h.idle("vm-olorin")
	vmtest.Start(t, h.Host, s)
	h.signal(s.Name, unix.SIGSTOP)
	got := h.stopSeen(s, vm.StopOptions{Timeout: time.Second})
	wantStop(t, got, vm.RungKill, false, "killed by kvmctl: it did not end otherwise", "quit", "sigterm", "sigkill")
	// The guest's own time, for its monitor might come back; then 2 s for quit and for SIGTERM, and what the last greeting took.
	tookTime(t, got, 3*time.Second, late*8*time.Second)
	h.shows(s.Name, vm.StateStopped, "killed by kvmctl: it did not end otherwise")
}

// A stray client of the tool's monitor, which no kvmctl is, costs the guest its clean end and nothing else.
func TestAStrayClientOnTheMonitorHoldsNobodyUp(t *testing.T) {
	t.Parallel()
	h := newSite(t)
	s := h.idle("vm-olorin")
	vmtest.Start(t, h.Host, s)
	stray, err := net.Dial("unix", h.QMPSocket(s.Name))
	if err != nil {
		t.Fatal(err)
	}
	defer stray.Close()
	if greeting, err := bufio.NewReader(stray).ReadString('\n'); err != nil || !strings.Contains(greeting, `"QMP"`) {
		t.Fatalf("the stray client is not served: %q, %v", greeting, err)
	}
	began := time.Now()
	h.shows(s.Name, vm.StateWedged, "QEMU does not answer")
	if d := time.Since(began); d > late*time.Second { // a guest that is named has one
		t.Errorf("status took %v", d)
	}
	got := h.stopSeen(s, vm.StopOptions{Timeout: time.Second})
	wantStop(t, got, vm.RungTerm, false, "ended by kvmctl stop (SIGTERM)", "quit", "sigterm")
	tookTime(t, got, time.Second, late*6*time.Second)
	h.shows(s.Name, vm.StateStopped, "ended by kvmctl stop (SIGTERM)")
}

func TestAGuestThatIgnoresTheButtonIsEndedAfterItsTime(t *testing.T) {
	t.Parallel()
	h := newSite(t)
	s := vmtest.Spec(t, h.Host, "vm-olorin", guest.NoButton)
	vmtest.Start(t, h.Host, s)
	h.ready(s.Name)
	got := h.stopSeen(s, vm.StopOptions{Timeout: 2 * time.Second})
	wantStop(t, got, vm.RungQuit, false, "ended by kvmctl stop (quit)", "acpi", "quit")
	tookTime(t, got, 2*time.Second, late*4*time.Second)
	if n := h.said(s.Name, vm.KindEvent, "POWERDOWN"); n != 3 {
		t.Errorf("the button was pressed %d times, want at 0, 0.5 s and half time", n)
	}
}

// A paused guest hears no button: it is woken. One that takes its time and keeps within it goes down cleanly.
func TestAPausedAndSlowGuestGoesDownCleanly(t *testing.T) {
	t.Parallel()
	h := newSite(t)
	s := vmtest.Spec(t, h.Host, "vm-olorin", guest.SlowButton+"3")
	vmtest.Start(t, h.Host, s)
	h.ready(s.Name)
	h.execute(s.Name, "stop")
	h.shows(s.Name, vm.StatePaused, "")
	got := h.stopSeen(s, vm.StopOptions{Timeout: vmtest.Patience})
	wantStop(t, got, vm.RungACPI, true, "guest shut down, asked by kvmctl stop", "acpi")
	tookTime(t, got, 2*time.Second, vmtest.Patience)
	h.shows(s.Name, vm.StateStopped, "guest shut down, asked by kvmctl stop")
}

func TestAGuestWithAnAgentIsAskedByIt(t *testing.T) {
	t.Parallel()
	h := newSite(t)
	s := vmtest.WithAgent(t, vmtest.Spec(t, h.Host, "vm-olorin", guest.NoButton))
	vmtest.Start(t, h.Host, s)
	check := h.CheckAgent(s.Name)
	h.until("the agent answers", func() bool { return check(t.Context()) == nil })
	got := h.stopSeen(s, vm.StopOptions{Timeout: vmtest.Patience})
	wantStop(t, got, vm.RungAgent, true, "guest shut down, asked by kvmctl stop", "agent")
}

func TestAMuteAgentCostsOneSecond(t *testing.T) {
	t.Parallel()
	h := newSite(t)
	s := vmtest.WithAgent(t, vmtest.Spec(t, h.Host, "vm-olorin", guest.MuteAgent))
	vmtest.Start(t, h.Host, s)
	h.ready(s.Name)
	got := h.stopSeen(s, vm.StopOptions{Timeout: vmtest.Patience})
	wantStop(t, got, vm.RungACPI, true, "guest shut down, asked by kvmctl stop", "acpi")
	tookTime(t, got, time.Second, vmtest.Patience)
}

// faultJob is what a helper process, a kvmctl of its own, shall do on the test's host.
type faultJob struct {
	Layout                        vm.Layout
	UIDBase                       int
	QEMU                          string
	Recorder, ConsoleLog, History units.Size
	Spec                          *vm.Spec
	Timeout                       time.Duration
	DieAt                         string // a rung: before anything of it is done; a step: after it
	File                          string
}

// faultJobEnv holds the job of a helper as JSON.
const faultJobEnv = "KVM_VM_TEST_FAULT_JOB"

func init() {
	helpers["fault-start"] = func() int {
		return faultAct(func(h *vm.Host, job faultJob) error {
			h.Step = dieAt(job.DieAt)
			_, err := h.Start(context.Background(), job.Spec)
			return err
		})
	}
	helpers["fault-save"] = func() int {
		return faultAct(func(h *vm.Host, job faultJob) error {
			h.Step = dieAt(job.DieAt)
			_, err := h.Save(context.Background(), job.Spec, vm.SaveOptions{File: job.File})
			return err
		})
	}
	helpers["fault-stop"] = func() int {
		return faultAct(func(h *vm.Host, job faultJob) error {
			say := func(rung string) {
				fmt.Println(rung)
				if rung == job.DieAt {
					_ = unix.Kill(os.Getpid(), unix.SIGKILL)
				}
			}
			_, err := h.Stop(context.Background(), job.Spec, vm.StopOptions{Timeout: job.Timeout, Say: say})
			return err
		})
	}
}

// dieAt is a Host.Step that kills this process after a step.
func dieAt(step string) func(string) {
	return func(name string) {
		if name == step {
			_ = unix.Kill(os.Getpid(), unix.SIGKILL)
			select {}
		}
	}
}

func faultAct(act func(*vm.Host, faultJob) error) int {
	var job faultJob
	err := json.Unmarshal([]byte(os.Getenv(faultJobEnv)), &job)
	if err == nil {
		err = act(&vm.Host{Layout: job.Layout, UIDBase: job.UIDBase, QEMU: job.QEMU, KVMDevice: "/dev/kvm",
			RecorderSize: job.Recorder, ConsoleSize: job.ConsoleLog, HistorySize: job.History, By: "root, helper"}, job)
	}
	if err != nil {
		fmt.Println(err)
		return 1
	}
	return 0
}

// kvmctl starts a kvmctl of its own for job and gives what it says, line by line.
func (h site) kvmctl(act string, job faultJob) (*exec.Cmd, *bufio.Scanner) {
	h.t.Helper()
	job.Layout, job.UIDBase, job.QEMU = h.Layout, h.UIDBase, h.QEMU
	job.Recorder, job.ConsoleLog, job.History = h.RecorderSize, h.ConsoleSize, h.HistorySize
	b, err := json.Marshal(job)
	if err != nil {
		h.t.Fatal(err)
	}
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), helperEnv+"="+act, faultJobEnv+"="+string(b))
	cmd.Stderr = h.t.Output()
	out, err := cmd.StdoutPipe()
	if err != nil {
		h.t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		h.t.Fatal(err)
	}
	h.t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	return cmd, bufio.NewScanner(out)
}

// wantKilled reads what a helper says until it is gone, and makes sure that SIGKILL ended it.
func wantKilled(t *testing.T, cmd *exec.Cmd, out *bufio.Scanner, said ...string) {
	t.Helper()
	var got []string
	for out.Scan() {
		got = append(got, out.Text())
	}
	_ = cmd.Wait() // its words are in ProcessState
	if st, ok := cmd.ProcessState.Sys().(syscall.WaitStatus); !ok || st.Signal() != unix.SIGKILL {
		t.Fatalf("the helper was not killed: %v", cmd.ProcessState)
	}
	if d := cmp.Diff(said, got); d != "" {
		t.Errorf("it said: %s", d)
	}
}

func TestAStopThatWasKilledIsFinishedByTheNext(t *testing.T) {
	for _, rung := range []string{"acpi", "quit"} {
		t.Run("at "+rung, func(t *testing.T) {
			t.Parallel()
			h := newSite(t)
			s := h.idle("vm-olorin")
			vmtest.Start(t, h.Host, s)
			said := []string{"acpi"}
			if rung == "quit" {
				said = append(said, "quit")
			}
			cmd, out := h.kvmctl("fault-stop", faultJob{Spec: s, Timeout: time.Second, DieAt: rung})
			wantKilled(t, cmd, out, said...)
			h.shows(s.Name, vm.StateRunning, "")
			got := h.stopSeen(s, vm.StopOptions{Timeout: time.Second})
			wantStop(t, got, vm.RungQuit, false, "ended by kvmctl stop (quit)", "acpi", "quit")
			h.shows(s.Name, vm.StateStopped, "ended by kvmctl stop (quit)")
		})
	}
}

// The guest was asked, and obeys although nobody waits for it any more.
func TestAGuestWhoseStopWasKilledIsSeenToGoDown(t *testing.T) {
	t.Parallel()
	h := newSite(t)
	s := vmtest.Spec(t, h.Host, "vm-olorin", guest.SlowButton+"3")
	vmtest.Start(t, h.Host, s)
	h.ready(s.Name)
	cmd, out := h.kvmctl("fault-stop", faultJob{Spec: s, Timeout: vmtest.Patience})
	if !out.Scan() || out.Text() != "acpi" {
		t.Fatalf("the helper says %q", out.Text())
	}
	h.until("others see the rung", func() bool {
		st := h.status(s.Name)
		return st.State == vm.StateStopping && st.Note == "acpi"
	})
	h.until("the button was pressed", func() bool {
		if err := h.Harvest(s.Name); err != nil {
			t.Fatal(err)
		}
		return h.said(s.Name, vm.KindEvent, "POWERDOWN") > 0
	})
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	wantKilled(t, cmd, out)
	h.shows(s.Name, vm.StateRunning, "")
	h.endedByItself(s.Name)
	h.shows(s.Name, vm.StateStopped, "guest shut down, asked by kvmctl stop")
	h.nothingLeft(s.Name)
}

// A kvmctl that dies right after the release leaves a guest like any other. Its last act here is the hook that kills it.
func TestAGuestRunsOnWhenItsStarterIsKilled(t *testing.T) {
	t.Parallel()
	h := newSite(t)
	s := h.idle("vm-olorin")
	s.Hooks.PostStart = h.script("post", "kill -KILL $PPID")
	cmd, out := h.kvmctl("fault-start", faultJob{Spec: s})
	wantKilled(t, cmd, out)
	st := h.shows(s.Name, vm.StateRunning, "")
	s.Hooks = vm.Hooks{}
	if again := vmtest.Start(t, h.Host, s); !again.Already || again.PID != st.PID {
		t.Errorf("another start: %+v", again)
	}
	if b, err := os.ReadFile("/proc/" + strconv.Itoa(st.PID) + "/stat"); err != nil || strings.Contains(string(b), ") Z ") {
		t.Errorf("%s %v", b, err)
	}
	got := h.stopSeen(s, vm.StopOptions{Force: true})
	wantStop(t, got, vm.RungQuit, true, "ended by kvmctl stop (quit)", "quit")
}

// Sockets have short names for the kernel; ours may lie as deep as the admin likes.
func TestARootOf150Characters(t *testing.T) {
	t.Parallel()
	h := newSite(t)
	deep := h.Root + "/" + strings.Repeat("a-deep-directory/", 10)
	deep = deep[:150]
	if strings.HasSuffix(deep, "/") {
		deep = deep[:149] + "x"
	}
	if err := vm.MakeDirs(deep, 0o755); err != nil {
		t.Fatal(err)
	}
	below := *h.Host // the first host removes its own root
	below.Root = deep
	t.Cleanup(func() { vmtest.CleanUp(t, &below) })
	h = site{&below, t}
	s := vmtest.WithAgent(t, vmtest.Spec(t, h.Host, "vm-olorin"))
	vmtest.Start(t, h.Host, s)
	h.shows(s.Name, vm.StateRunning, "")
	if m, err := h.PeopleMonitor(t.Context(), s.Name, vm.Visitor{}); err != nil {
		t.Error(err)
	} else {
		m.Close()
	}
	h.ready(s.Name)
	console, err := h.Console(t.Context(), s.Name, vm.Visitor{})
	if err != nil {
		t.Fatal(err)
	}
	if err := console.Close(); err != nil {
		t.Error(err)
	}
	check := h.CheckAgent(s.Name)
	h.until("the agent answers", func() bool { return check(t.Context()) == nil })
	got := h.stopSeen(s, vm.StopOptions{Timeout: vmtest.Patience})
	wantStop(t, got, vm.RungAgent, true, "guest shut down, asked by kvmctl stop", "agent")
}

func TestAChangedUIDBaseFindsTheGuestsThatRun(t *testing.T) {
	t.Parallel()
	h := newSite(t)
	s := h.idle("vm-olorin")
	before := vmtest.Start(t, h.Host, s)
	other := *h.Host
	other.UIDBase = vmtest.UIDBase()
	changed := site{&other, t}
	if st := changed.shows(s.Name, vm.StateRunning, ""); st.PID != before.PID {
		t.Errorf("pid %d, started as %d", st.PID, before.PID)
	}
	if again := vmtest.Start(t, &other, s); !again.Already || again.PID != before.PID {
		t.Errorf("another start: %+v", again)
	}
	got, err := changed.Stop(t.Context(), s, vm.StopOptions{Force: true})
	if err != nil || got.Rung != vm.RungQuit || got.Reason != "ended by kvmctl stop (quit)" {
		t.Fatalf("%+v, %v", got, err)
	}
	h.nothingLeft(s.Name)
	after := vmtest.Start(t, &other, s)
	if want := before.State.UID - h.UIDBase + changed.UIDBase; after.State.UID != want {
		t.Errorf("started as uid %d, want %d", after.State.UID, want)
	}
	vmtest.Kill(t, &other, s.Name)
}

// script puts a hook where a guest's hooks lie.
func (h site) script(name, body string) string {
	h.t.Helper()
	dir := filepath.Join(h.Root, "hooks")
	if err := vm.MakeDirs(dir, 0o755); err != nil {
		h.t.Fatal(err)
	}
	path := filepath.Join(dir, name)
	if err := os.WriteFile(path, []byte("#!/bin/sh\n"+body+"\n"), 0o755); err != nil {
		h.t.Fatal(err)
	}
	return path
}

func TestAHookThatRefusesAStartLeavesNothing(t *testing.T) {
	t.Parallel()
	h := newSite(t)
	s := h.idle("vm-olorin")
	refused := func(why string) error {
		t.Helper()
		_, err := h.Start(t.Context(), s)
		if err == nil || err.Error() != why {
			t.Errorf("started: %v\nwant %s", err, why)
		}
		h.nothingLeft(s.Name)
		h.shows(s.Name, vm.StateStopped, "never started")
		return err
	}
	path := h.script("pre", `echo "$KVM_HOOK of $KVM_VM"; echo no licence >&2; exit 3`)
	s.Hooks.PreStart = path
	refused("hook pre_start (" + path + "): exit status 3: no licence")

	path = h.script("foreign", "exit 0")
	if err := os.Chown(path, h.UIDBase, 0); err != nil {
		t.Fatal(err)
	}
	s.Hooks.PreStart = path
	var foreign *vm.ForeignError
	if err := refused("hook pre_start: " + path + " may be written by others than root"); !errors.As(err, &foreign) {
		t.Errorf("%T", err)
	}

	path = h.script("slow", `sleep 1000 & echo $! >"$KVM_ROOT/child"; wait`)
	s.Hooks.PreStart, s.Hooks.Timeout = path, time.Second
	refused("hook pre_start (" + path + "): no end within 1s")
	child, err := os.ReadFile(filepath.Join(h.Root, "child"))
	if err != nil {
		t.Fatal(err)
	}
	h.until("what the hook started is dead", func() bool {
		b, err := os.ReadFile("/proc/" + strings.TrimSpace(string(child)) + "/stat")
		return err != nil || strings.Contains(string(b), ") Z ") // nobody need have fetched it
	})

	var words []string
	for _, f := range h.facts(s.Name) {
		words = append(words, string(f.Kind)+" "+f.Event+": "+f.Reason)
	}
	want := []string{"hook pre_start: exit status 3: pre_start of vm-olorin\nno licence", "hook pre_start: no end within 1s:"}
	if d := cmp.Diff(want, words); d != "" {
		t.Error(d)
	}

	s.Hooks = vm.Hooks{}
	vmtest.Start(t, h.Host, s)
	h.shows(s.Name, vm.StateRunning, "")
}

// Once the guest runs, and once it is to end, a hook that fails is a note.
func TestAHookThatFailsLaterIsANote(t *testing.T) {
	t.Parallel()
	h := newSite(t)
	s := h.idle("vm-olorin")
	fails := h.script("fails", `echo "$KVM_HOOK fails"; exit 1`)
	s.Hooks = vm.Hooks{PostStart: fails, PreStop: fails, PostStop: h.script("talks", "echo all is well"), Timeout: 10 * time.Second}
	st := vmtest.Start(t, h.Host, s)
	if d := cmp.Diff([]string{"hook post_start (" + fails + "): exit status 1: post_start fails"}, st.Notes); d != "" {
		t.Error(d)
	}
	h.shows(s.Name, vm.StateRunning, "")
	got, err := h.Stop(t.Context(), s, vm.StopOptions{Force: true})
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff([]string{"hook pre_stop (" + fails + "): exit status 1: pre_stop fails"}, got.Notes); d != "" {
		t.Error(d)
	}
	var words []string
	for _, f := range h.facts(s.Name) {
		if f.Kind == vm.KindHook {
			words = append(words, f.Event+": "+f.Reason)
		}
	}
	want := []string{"post_start: exit status 1: post_start fails", "pre_stop: exit status 1: pre_stop fails", "post_stop: all is well"}
	if d := cmp.Diff(want, words); d != "" {
		t.Error(d)
	}
}
