package vm_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"kvmctl/vm"
	"kvmctl/vm/vmtest"
)

// hooked gives a guest all five hooks, which write down what they are told, and a reader of that.
func (h site) hooked(body string) (*vm.Spec, func() []string) {
	h.t.Helper()
	s := h.idle("vm-olorin")
	log := filepath.Join(h.Root, "told")
	path := h.script("all", `echo "$KVM_HOOK $KVM_EVENT${KVM_PID:+ pid}${KVM_REASON:+ $KVM_REASON}" >>`+log+"\n"+body)
	s.Hooks = vm.Hooks{PreStart: path, PostStart: path, PreStop: path, PostStop: path, OnCrash: path, Timeout: 20 * time.Second}
	return s, func() []string {
		b, _ := os.ReadFile(log) // not there yet: nothing was told
		_ = os.Remove(log)
		return strings.Split(strings.TrimSpace(string(b)), "\n")
	}
}

func (h site) told(got []string, want ...string) {
	h.t.Helper()
	if d := cmp.Diff(want, got); d != "" {
		h.t.Errorf("told (-want +got):\n%s", d)
	}
}

// One guest through its ends: a crash is noticed by the next start, an end of its own by whoever cleans up, a stop by itself.
func TestTheHooksOfEachEndRunOnce(t *testing.T) {
	t.Parallel()
	h := newSite(t)
	s, told := h.hooked("")
	vmtest.Start(t, h.Host, s)
	h.told(told(), "pre_start starting", "post_start running pid")

	vmtest.Kill(t, h.Host, s.Name)
	crashed := "QEMU ended without a word: SIGKILL, out of memory, or a crash"
	h.shows(s.Name, vm.StateCrashed, crashed)
	h.told(told(), "")
	vmtest.Start(t, h.Host, s)
	h.told(told(), "on_crash crashed pid "+crashed, "post_stop crashed pid "+crashed, "pre_start starting", "post_start running pid")

	h.execute(s.Name, "quit") // as a guest that shuts down by itself
	h.endedByItself(s.Name)
	for range 2 {
		if notes, err := h.Notice(h.within(), s.Name); err != nil || notes != nil {
			t.Fatal(notes, err)
		}
	}
	h.told(told(), "post_stop stopped pid ended from a monitor (quit)")

	vmtest.Start(t, h.Host, s)
	told()
	if _, err := h.Stop(h.within(), s, vm.StopOptions{Force: true}); err != nil {
		t.Fatal(err)
	}
	h.told(told(), "pre_stop stopping pid", "post_stop stopped pid ended by kvmctl stop (quit)")
	if _, err := h.Stop(h.within(), s, vm.StopOptions{}); err != nil {
		t.Fatal(err)
	}
	h.told(told(), "")
}

// A kvmctl that is killed takes its hook with it, and the next one begins that hook again.
func TestAHookWhoseKvmctlWasKilledRunsAgain(t *testing.T) {
	t.Parallel()
	h := newSite(t)
	once := filepath.Join(h.Root, "once")
	s, told := h.hooked(`[ $KVM_HOOK != post_stop ] || [ -e ` + once + ` ] || { echo $$ >` + once + `; kill -KILL $PPID; exec sleep 1000; }`)
	vmtest.Start(t, h.Host, s)
	told()
	cmd, out := h.kvmctl("fault-stop", faultJob{Spec: s})
	wantKilled(t, cmd, out, "quit")
	ended := "post_stop stopped pid ended by kvmctl stop (quit)"
	h.told(told(), "pre_stop stopping pid", ended)
	pid, err := os.ReadFile(once)
	if err != nil {
		t.Fatal(err)
	}
	h.until("the hook has gone with its kvmctl", func() bool {
		b, err := os.ReadFile("/proc/" + strings.TrimSpace(string(pid)) + "/stat")
		return err != nil || strings.Contains(string(b), ") Z ")
	})
	if _, err := h.Notice(h.within(), s.Name); err != nil {
		t.Fatal(err)
	}
	h.told(told(), ended)
	h.nothingLeft(s.Name)
}

// What pre_start set up is taken down when the start fails after it, or its kvmctl is killed in it; not when it refused.
func TestPostStopTakesDownWhatPreStartSetUp(t *testing.T) {
	t.Parallel()
	h := newSite(t)
	once := filepath.Join(h.Root, "once")
	s, told := h.hooked(`[ $KVM_HOOK != pre_start ] || [ -e ` + once + ` ] || { : >` + once + `; kill -KILL $PPID; }`)
	cmd, out := h.kvmctl("fault-start", faultJob{Spec: s})
	wantKilled(t, cmd, out)
	s.QEMUArgs = []string{"-device", "no-such-device"}
	if _, err := h.Start(h.within(), s); err == nil {
		t.Fatal("it started")
	}
	got := told()
	if len(got) != 4 || !strings.HasPrefix(got[3], "post_stop stopped pid start failed: QEMU ended before it was ready") {
		t.Fatalf("%q", got)
	}
	h.told(got[:3], "pre_start starting", "post_stop stopped its start failed or was interrupted", "pre_start starting")

	refuses := h.script("refuses", "echo no >&2; exit 1")
	h.Hooks, s.QEMUArgs, s.Hooks.PreStart = s.Hooks, nil, refuses
	if _, err := h.Start(h.within(), s); errText(err) != "hook pre_start ("+refuses+"): exit status 1: no" {
		t.Fatal(err)
	}
	h.told(told(), "pre_start starting", "post_stop stopped its start failed or was interrupted") // both the host's
	if h.HooksOwed(s.Name) {
		t.Error("something is still owed")
	}
}

// A guest that the host's power cut ended: its run directory is gone, and the boot is another one.
func TestAPowerCutRunsPostStopAtTheNextStart(t *testing.T) {
	t.Parallel()
	h := newSite(t)
	s, told := h.hooked("")
	vmtest.Start(t, h.Host, s)
	told()
	vmtest.Kill(t, h.Host, s.Name)
	for _, sub := range []string{"rec", "con"} {
		if err := unix.Unmount(filepath.Join(h.RunDir(s.Name), sub), unix.MNT_DETACH); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.RemoveAll(h.RunDir(s.Name)); err != nil {
		t.Fatal(err)
	}
	boot, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{h.History(s.Name), h.HooksDue(s.Name)} {
		b, err := os.ReadFile(path)
		if err == nil {
			err = os.WriteFile(path, []byte(strings.ReplaceAll(string(b), strings.TrimSpace(string(boot)), "another-boot")), 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	vmtest.Start(t, h.Host, s)
	h.told(told(), "post_stop stopped pid the host went down while it ran", "pre_start starting", "post_start running pid")
}
