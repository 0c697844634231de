package check

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// testDaemon is a name that no process of another run has.
var testDaemon = fmt.Sprint("kvmha", os.Getpid())

// daemon starts a process with a name of its own and gives it.
func daemon(t *testing.T, name string) *exec.Cmd {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	b, err := os.ReadFile("/bin/sleep")
	if err == nil {
		err = os.WriteFile(path, b, 0o755)
	}
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(path, "1000")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	return cmd
}

func writePID(t *testing.T, path string, pid int) {
	t.Helper()
	if err := os.WriteFile(path+".new", fmt.Appendf(nil, "%d\nmore\n", pid), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		t.Fatal(err)
	}
}

// running runs a Runner with one check until the test ends.
func running(t *testing.T, it Item, env Env) *Runner {
	t.Helper()
	r := NewRunner(env, time.Now)
	if err := r.Add(it); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	go func() { done <- r.Run(ctx) }()
	t.Cleanup(func() { cancel(); <-done })
	return r
}

// next waits for a check's next state.
func next(t *testing.T, r *Runner) Status {
	t.Helper()
	select {
	case <-r.News():
		return r.Take()[0]
	case <-time.After(20 * time.Second):
		t.Fatalf("no news: %+v", r.All())
		return Status{}
	}
}

// toldAtOnce ends a green subject and holds when it became red, as the Runner noted it, against a promise. A machine that is busy may keep this
// process from running for longer than that, but not each time: where it came too late the subject is revived, and it is tried again.
func toldAtOnce(t *testing.T, r *Runner, promise time.Duration, end func() (began time.Time, want *regexp.Regexp), revive func()) {
	t.Helper()
	var each []time.Duration
	for range 5 {
		began, want := end()
		s := next(t, r)
		if s.State != Red || !want.MatchString(s.Reason) {
			t.Fatalf("%v: %q, want %s", s.State, s.Reason, want)
		}
		each = append(each, s.Since.Sub(began))
		if s.Since.Sub(began) <= promise {
			t.Logf("told after %v: %s", each, s.Reason)
			return
		}
		revive()
		if s := next(t, r); s.State != Green {
			t.Fatalf("revived: %+v", s)
		}
	}
	t.Errorf("told after %v, each time later than %v", each, promise)
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// lazy is a policy by which a question is never asked in time: only what is pushed counts.
var lazy = Policy{Interval: time.Hour, Timeout: 10 * time.Second, Fall: 3, Rise: 1}

// The end of a process is told within 0.3 s, whatever the interval is, and it needs no three answers.
func TestTheEndOfAProcessIsToldAtOnce(t *testing.T) {
	file := filepath.Join(t.TempDir(), "pid")
	for name, spec := range map[string]Process{"pidfile": {PIDFile: file}, "name": {Name: testDaemon}, "both": {file, testDaemon}} {
		t.Run(name, func(t *testing.T) {
			cmd := daemon(t, testDaemon)
			writePID(t, file, cmd.Process.Pid)
			r := running(t, Item{Name: "d", Policy: lazy, Spec: spec}, Env{})
			if s := next(t, r); s.State != Green {
				t.Fatalf("%+v", s)
			}
			toldAtOnce(t, r, quickRestart+100*time.Millisecond, func() (time.Time, *regexp.Regexp) {
				want := regexp.MustCompile(fmt.Sprintf(`^process %d ended [0-9.]+m?s ago: `, cmd.Process.Pid)) // 200 ms, on a machine with nothing else to do
				began := time.Now()
				_ = cmd.Process.Kill() // and not reaped: a zombie has ended, too
				return began, want
			}, func() {
				cmd = daemon(t, testDaemon)
				writePID(t, file, cmd.Process.Pid)
				must(t, r.AskNow("d"))
			})
		})
	}
}

// What is back within 200 ms was restarted by somebody and is no failure.
func TestAQuickRestartIsNoFailure(t *testing.T) {
	file := filepath.Join(t.TempDir(), "pid")
	first, second := daemon(t, "kvmha-first"), daemon(t, "kvmha-second")
	writePID(t, file, first.Process.Pid)
	r := running(t, Item{Name: "d", Policy: lazy, Spec: Process{PIDFile: file}}, Env{})
	if s := next(t, r); s.State != Green {
		t.Fatalf("%+v", s)
	}
	_ = first.Process.Kill()
	writePID(t, file, second.Process.Pid)
	asked := func() time.Time { return r.All()[0].Asked }
	before := asked()
	for deadline := time.Now().Add(10 * time.Second); asked().Equal(before); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("not asked again")
		}
	}
	if s := r.All()[0]; s.State != Green {
		t.Errorf("%+v", s)
	}
	_ = second.Process.Kill() // it is held now
	if s := next(t, r); s.State != Red || !strings.Contains(s.Reason, fmt.Sprintf("process %d ", second.Process.Pid)) {
		t.Errorf("%+v", s)
	}
}

func TestProcessOnce(t *testing.T) {
	dir := t.TempDir()
	file := func(text string) string {
		f, err := os.CreateTemp(dir, "pid")
		if err == nil {
			_, err = f.WriteString(text)
		}
		if err = errors.Join(err, f.Close()); err != nil {
			t.Fatal(err)
		}
		return f.Name()
	}
	alive := daemon(t, "kvmha-alive")
	ended := daemon(t, "kvmha-ended")
	_ = ended.Process.Kill()
	_ = ended.Wait()
	own := func(pid int) string { return file(fmt.Sprint(pid)) }
	if err := unix.Mkfifo(filepath.Join(dir, "fifo"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name string
		spec Process
		want string
	}{
		{"by name", Process{Name: "kvmha-alive"}, ""},
		{"by pidfile", Process{PIDFile: own(alive.Process.Pid)}, ""},
		{"by both", Process{own(alive.Process.Pid), "kvmha-alive"}, ""},
		{"no such name", Process{Name: "kvmha-nobody"}, "there is no process kvmha-nobody"},
		{"no pidfile", Process{PIDFile: "/nonexistent/pid"}, "there is no /nonexistent/pid"},
		{"a stale pidfile", Process{PIDFile: own(ended.Process.Pid)}, fmt.Sprintf("process %d of PIDFILE has ended", ended.Process.Pid)},
		{"a pidfile whose number is somebody else's now", Process{own(os.Getpid()), "named"}, fmt.Sprintf("process %d of PIDFILE is not named", os.Getpid())},
		{"garbage", Process{PIDFile: file("hello")}, `read PIDFILE: "hello" is no process number`},
		{"an empty pidfile, as it is while it is written", Process{PIDFile: file("")}, `read PIDFILE: "" is no process number`},
		{"far too long", Process{PIDFile: file(strings.Repeat("1", 10000))}, "read PIDFILE: file too long"},
		{"a FIFO", Process{PIDFile: filepath.Join(dir, "fifo")}, `read PIDFILE: "" is no process number`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, v, _ := once(t, tt.spec, long)
			if tt.spec.PIDFile != "" && tt.name != "no pidfile" {
				got = strings.ReplaceAll(got, tt.spec.PIDFile, "PIDFILE")
			}
			if got != tt.want || v != map[bool]Verdict{true: Pass, false: Certain}[tt.want == ""] {
				t.Errorf("got %q, %v; want %q", got, v, tt.want)
			}
		})
	}
	if err := alive.Process.Signal(unix.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(time.Millisecond) {
		got, v, _ := once(t, Process{Name: "kvmha-alive"}, long)
		if want := fmt.Sprintf("process %d (kvmha-alive) is stopped: kill -CONT %d", alive.Process.Pid, alive.Process.Pid); got == want && v == Fail {
			break
		} else if time.Now().After(deadline) {
			t.Errorf("stopped: %q, %v", got, v)
			break
		}
	}
}

// Of several of one name the eldest is the server, and a process of a container is not ours.
func TestProcessByNameTakesTheEldestOfOurOwn(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("needs root for a pid namespace")
	}
	path := filepath.Join(t.TempDir(), "kvmha-several")
	b, err := os.ReadFile("/bin/sleep")
	if err == nil {
		err = os.WriteFile(path, b, 0o755)
	}
	if err != nil {
		t.Fatal(err)
	}
	begin := func(flags uintptr) *exec.Cmd {
		cmd := exec.Command(path, "1000")
		cmd.SysProcAttr = &unix.SysProcAttr{Cloneflags: flags}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
		return cmd
	}
	begin(unix.CLONE_NEWPID)
	if got, _, _ := once(t, Process{Name: "kvmha-several"}, long); got != "there is no process kvmha-several" {
		t.Errorf("in a container: %q", got)
	}
	eldest := begin(0)
	time.Sleep(30 * time.Millisecond) // starts are counted in 10 ms
	begin(0)
	p, err := Process{Name: "kvmha-several"}.Probe(Env{})
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	if err := p.Ask(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := p.(*processProbe).held.PID; got != eldest.Process.Pid {
		t.Errorf("held %d, the eldest is %d", got, eldest.Process.Pid)
	}
}

func TestProcessValidate(t *testing.T) {
	for _, bad := range []Process{{}, {PIDFile: "run/x.pid"}, {Name: "/usr/sbin/named"}} {
		if bad.Validate() == nil {
			t.Errorf("%+v is valid", bad)
		}
	}
}
