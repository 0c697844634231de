package vm

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
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

// launcherSays runs the launcher with the given bytes as its plan, and gives its words and exit status.
func launcherSays(t *testing.T, plan string) (string, int) {
	t.Helper()
	l, err := newLauncher()
	if err != nil {
		t.Fatal(err)
	}
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	f, err := memfd("plan", []byte(plan))
	if err != nil {
		t.Fatal(err)
	}
	fds := unix.UnixRights(int(f.Fd()), int(w.Fd()), int(w.Fd()))
	if err := unix.Sendmsg(int(l.sock.Fd()), []byte{0}, fds, nil, 0); err != nil {
		t.Fatal(err)
	}
	f.Close()
	w.Close()
	said, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	l.dismiss()
	return strings.TrimSpace(string(said)), l.cmd.ProcessState.ExitCode()
}

func planOf(t *testing.T, p launchPlan) string {
	t.Helper()
	b, err := json.Marshal(p)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestALauncherRefusesABadPlan(t *testing.T) {
	for _, tt := range []struct{ name, plan, want string }{
		{"nothing", "", "read the plan: unexpected end of JSON input"},
		{"no JSON", "hello", "read the plan: invalid character 'h' looking for beginning of value"},
		{"root", `{"uid":0,"argv":["/bin/true"]}`, "the plan names no uid or no program"},
		{"below root", `{"uid":-1,"argv":["/bin/true"]}`, "the plan names no uid or no program"},
		{"no program", `{"uid":5}`, "the plan names no uid or no program"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			said, status := launcherSays(t, tt.plan)
			if want := LauncherName + ": " + tt.want; said != want || status != 126 {
				t.Errorf("got  %q (%d)\nwant %q (126)", said, status, want)
			}
		})
	}
}

// Whoever cleans up after a killed kvmctl waits for this lock: then the launcher is gone, or is QEMU and the guest's.
func TestALauncherLosesItsLockAsItBecomesQEMU(t *testing.T) {
	testenv.Need(t, testenv.Netns)
	path := filepath.Join(t.TempDir(), "lock")
	l, err := flock.TryLock(path)
	if err != nil {
		t.Fatal(err)
	}
	cmd, err := launch(launchPlan{UID: emptyBase, Argv: []string{"/bin/sleep", "1000"}}, nil, l.File(), nil)
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
		t.Errorf("the lock is free and the launcher is uid %d, %v", uid, err)
	}
}

func TestALauncherThatIsNotNeededEnds(t *testing.T) {
	l, err := newLauncher()
	if err != nil {
		t.Fatal(err)
	}
	l.dismiss() // waits for it
	if l.cmd.ProcessState == nil || l.cmd.ProcessState.ExitCode() != 126 {
		t.Errorf("it ended with %v", l.cmd.ProcessState)
	}
	c := beginLauncher()
	c.drop()
	if c.l.cmd.ProcessState == nil {
		t.Error("a dropped one lives")
	}
}

// More descriptors than one message carries, and each of them received where another one belongs.
func TestALauncherPutsManyDescriptorsInTheirPlaces(t *testing.T) {
	testenv.Need(t, testenv.Netns)
	var files []*os.File
	for i := range 2*maxPassed + 5 {
		f, err := memfd("file"+strconv.Itoa(i), nil)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		files = append(files, f)
	}
	lock, err := memfd("lock", nil)
	if err != nil {
		t.Fatal(err)
	}
	defer lock.Close()
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
		"-fprintf", "/dev/stderr", "%f %l\n"}}, files, lock, out)
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

func TestALauncherSaysWhatItCannotExecute(t *testing.T) {
	testenv.Need(t, testenv.Netns)
	said, status := launcherSays(t, planOf(t, launchPlan{UID: emptyBase, Argv: []string{"/none/qemu"}}))
	if want := LauncherName + ": exec /none/qemu: no such file or directory"; said != want || status != 126 {
		t.Errorf("got  %q (%d)\nwant %q (126)", said, status, want)
	}
}

func TestALauncherGivesUpEveryPrivilege(t *testing.T) {
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
	// The launcher's stderr is where the program's words go.
	cmd, err := launch(launchPlan{UID: emptyBase, Groups: []int{4242}, Argv: []string{"/bin/sh", "-c", "cat /proc/self/status >&2; id >&2; umask >&2; pwd >&2; env >&2"},
		Env: []string{"ONLY=this"}}, nil, f, f)
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
