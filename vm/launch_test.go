package vm

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"golang.org/x/sys/unix"

	"kvmctl/internal/flock"
	"kvmctl/internal/testenv"
)

func atoi(t *testing.T, s string) int {
	t.Helper()
	n, err := strconv.Atoi(s)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func TestAPlanWithoutAUIDOrAProgramIsRefused(t *testing.T) {
	for _, p := range []launchPlan{{}, {UID: 0, Argv: []string{"/bin/true"}}, {UID: -1, Argv: []string{"/bin/true"}}, {UID: emptyBase}} {
		if _, err := launch(p, nil, nil); err == nil || err.Error() != "the plan names no uid or no program" {
			t.Errorf("%+v: %v", p, err)
		}
	}
}

// Whoever cleans up after a killed kvmctl waits for this lock: then there is no child, or it is QEMU and the guest's.
func TestAChildLosesTheLockAsItBecomesQEMU(t *testing.T) {
	testenv.Need(t, testenv.Netns)
	path := filepath.Join(t.TempDir(), "lock")
	l, err := flock.TryLock(path)
	if err != nil {
		t.Fatal(err)
	}
	cmd, err := launch(launchPlan{UID: emptyBase, Argv: []string{"/bin/sleep", "1000"}}, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	if err := l.Leave(); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	next, err := flock.Wait(ctx, path)
	if err != nil {
		t.Fatal(err)
	}
	defer next.Leave()
	if uid, err := realUID(cmd.Process.Pid); err != nil || uid != emptyBase {
		t.Errorf("the lock is free and the child is uid %d, %v", uid, err)
	}
}

// Many descriptors, and each of them opened where another one belongs.
func TestManyDescriptorsComeToTheirPlaces(t *testing.T) {
	testenv.Need(t, testenv.Netns)
	var files []*os.File
	for i := range 500 {
		f, err := memfd("file"+strconv.Itoa(i), nil)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		files = append(files, f)
	}
	out, err := memfd("out", nil)
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	var want strings.Builder
	for i := range files {
		fmt.Fprintf(&want, "%d /memfd:file%d (deleted)\n", FirstFD+i, i)
	}
	cmd, err := launch(launchPlan{UID: emptyBase, Argv: []string{"/usr/bin/find", "/proc/self/fd", "-lname", "/memfd:*", "!", "-lname", "/memfd:out*",
		"-fprintf", "/dev/stderr", "%f %l\n"}}, files, out)
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil {
		t.Fatal(err)
	}
	said, err := io.ReadAll(io.NewSectionReader(out, 0, 1<<20))
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(strings.Split(want.String(), "\n"), strings.Split(string(said), "\n"), cmpopts.SortSlices(strings.Compare)); d != "" {
		t.Error(d)
	}
}

func TestWhatCannotBeExecutedIsSaid(t *testing.T) {
	testenv.Need(t, testenv.Netns)
	_, err := launch(launchPlan{UID: emptyBase, Argv: []string{"/none/qemu"}}, nil, nil)
	if want := "fork/exec /none/qemu: no such file or directory"; err == nil || err.Error() != want {
		t.Errorf("got  %v\nwant %s", err, want)
	}
}

// What was given up stays with the program: no thread of ours has lost anything, wherever the launch came from.
func TestALaunchSpoilsNoThreadOfOurs(t *testing.T) {
	testenv.Need(t, testenv.Netns)
	mask := unix.Umask(0o022)
	defer unix.Umask(mask)
	for range 20 {
		var all sync.WaitGroup
		for range 8 {
			all.Go(func() {
				cmd, err := launch(launchPlan{UID: emptyBase, Argv: []string{"/bin/true"}}, nil, nil)
				if err == nil {
					err = cmd.Wait()
				}
				if err != nil {
					t.Error(err)
				}
			})
		}
		all.Wait()
	}
	spoiled := func() (which []string) {
		threads, err := filepath.Glob("/proc/self/task/*/status")
		if err != nil || len(threads) == 0 {
			t.Fatal("no threads", err)
		}
		for _, path := range threads {
			b, err := os.ReadFile(path)
			if err == nil && (strings.Contains(string(b), "\nNoNewPrivs:\t1\n") || strings.Contains(string(b), "\nCapBnd:\t0000000000000000\n") ||
				!strings.Contains(string(b), "\nUmask:\t0022\n")) {
				which = append(which, path)
			}
		}
		return which
	}
	deadline := time.Now().Add(10 * time.Second) // a thread ends a moment after its goroutine
	for len(spoiled()) > 0 && time.Now().Before(deadline) {
		time.Sleep(time.Millisecond)
	}
	if which := spoiled(); len(which) > 0 {
		t.Errorf("%s: %s", which[0], mustRead(t, which[0]))
	}
}

func TestALaunchedProgramHasNoPrivilege(t *testing.T) {
	testenv.Need(t, testenv.Netns)
	out := filepath.Join(t.TempDir(), "status")
	if err := os.WriteFile(out, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(out, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	uid := strconv.Itoa(emptyBase)
	signal.Ignore(unix.SIGHUP) // as nohup(1) does; exec keeps it
	t.Cleanup(func() { signal.Reset(unix.SIGHUP) })
	cmd, err := launch(launchPlan{UID: emptyBase, Groups: []int{4242}, Argv: []string{"/bin/sh", "-c", "cat /proc/self/status >&2; id >&2; umask >&2; pwd >&2; env >&2"},
		Env: []string{"ONLY=this"}}, nil, f)
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil {
		t.Fatalf("%v: %s", err, mustRead(t, out))
	}
	said := string(mustRead(t, out))
	for _, want := range []string{
		"\nUid:\t" + strings.Repeat(uid+"\t", 3) + uid + "\n", "\nGid:\t" + strings.Repeat(uid+"\t", 3) + uid + "\n", "\nGroups:\t4242 \n",
		"\nCapInh:\t0000000000000000\n", "\nCapPrm:\t0000000000000000\n", "\nCapEff:\t0000000000000000\n", "\nCapBnd:\t0000000000000000\n",
		"\nCapAmb:\t0000000000000000\n", "\nNoNewPrivs:\t1\n", "\nSigBlk:\t0000000000000000\n", "\nSigIgn:\t0000000000000000\n", "\n0077\n/\n", "ONLY=this\n",
	} {
		if !strings.Contains(said, want) {
			t.Errorf("no %q in\n%s", want, said)
		}
	}
}

// A caller's `flock 9` must not live as long as a guest.
func TestInheritedDescriptorsAreSealed(t *testing.T) {
	if os.Getenv("KVM_VM_SEAL") == "1" {
		if err := SealInheritance(); err != nil {
			t.Fatal(err)
		}
		b, err := exec.Command("/bin/ls", "/proc/self/fd").Output()
		if err != nil {
			t.Fatal(err)
		}
		t.Logf("child has %q", strings.Fields(string(b)))
		return
	}
	lock, err := os.OpenFile(filepath.Join(t.TempDir(), "lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer lock.Close()
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("/proc/self/exe", "-test.run=^TestInheritedDescriptorsAreSealed$", "-test.v")
	cmd.Env = append(os.Environ(), "KVM_VM_SEAL=1")
	cmd.ExtraFiles = []*os.File{lock}
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if want := `child has ["0" "1" "2" "3"]`; !strings.Contains(string(out), want) { // 3 is ls's own, of the directory
		t.Errorf("no %s in %s", want, out)
	}
}
