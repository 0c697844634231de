package child_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/sys/unix"

	"kvmctl/internal/child"
)

// The first thread stays with the tests: a program's umask is set on a thread that ends with it, which the first one cannot.
func init() { runtime.LockOSThread() }

func TestMain(m *testing.M) {
	if os.Getenv("CHILD_TEST_RUN") != "" {
		runAndDie()
	}
	if err := child.CloseInherited(); err != nil { // as an agent does; whoever ran the tests may have left us descriptors
		panic(err)
	}
	goleak.VerifyTestMain(m)
}

func sh(script string) []string { return []string{"/bin/sh", "-c", script} }

func within(t *testing.T, d time.Duration) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), d)
	t.Cleanup(cancel)
	return ctx
}

func TestHowItEnds(t *testing.T) {
	for _, tt := range []struct {
		name, script, err string
	}{
		{"well", "echo fine", ""},
		{"badly, with its last line that says something", "echo one; echo two >&2; echo; exit 3", "exit 3: two"},
		{"badly, silent", "exit 4", "exit 4"},
		{"by a signal", "echo ouch; kill -SEGV $$", "ended by signal segmentation fault: ouch"},
		{"with control characters and no UTF-8", `printf 'a\033[31m\007b\377\n'; exit 1`, "exit 1: a [31m b\uFFFD"},
		{"with a carriage return", `printf 'working\rdone badly\r'; exit 1`, "exit 1: done badly"},
		{"with far too much", "yes why | head -c 3000000; echo because; exit 1", "exit 1: because"},
		{"with one long line", "head -c 100000 /dev/zero | tr '\\0' x; exit 1", "exit 1: " + strings.Repeat("x", 197) + "…"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r, err := child.Run(within(t, 30*time.Second), child.Command{Argv: sh(tt.script)})
			if err != nil {
				t.Fatal(err)
			}
			got := ""
			if err := r.Err(); err != nil {
				got = err.Error()
			}
			if got != tt.err {
				t.Errorf("got %q, want %q", got, tt.err)
			}
			if len(r.Output) > child.MaxOutput {
				t.Errorf("%d bytes are kept", len(r.Output))
			}
		})
	}
}

func TestWhatCannotBeStarted(t *testing.T) {
	for _, argv := range [][]string{nil, {"/nonexistent/program"}, {"nonexistentprogram"}, {"/etc/passwd"}} {
		if _, err := child.Run(t.Context(), child.Command{Argv: argv}); err == nil {
			t.Errorf("%q: no error", argv)
		}
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	why := errors.New("demoted")
	cancel(why)
	if _, err := child.Run(ctx, child.Command{Argv: sh("echo")}); !errors.Is(err, why) {
		t.Errorf("after the end: %v", err)
	}
}

// pidsIn waits until a file holds as many lines and gives their numbers.
func pidsIn(t *testing.T, path string, want int) []int {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		b, _ := os.ReadFile(path)
		f := strings.Fields(string(b))
		if len(f) >= want {
			var pids []int
			for _, s := range f {
				n, err := strconv.Atoi(s)
				if err != nil {
					t.Fatal(err)
				}
				pids = append(pids, n)
			}
			return pids
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s: %q", path, b)
		}
	}
}

// lives reports whether a process is there and has not ended.
func lives(pid int) bool {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return false
	}
	_, rest, _ := strings.Cut(string(b), ") ")
	return rest[0] != 'Z'
}

func eventually(t *testing.T, what string, f func() bool) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); !f(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("never: %s", what)
		}
	}
}

func TestTheTimeoutEndsTheWholeGroup(t *testing.T) {
	for _, tt := range []struct {
		name, script string
		grace        time.Duration
		least, most  time.Duration
	}{
		{"a child that hangs, at once", "echo $$ >$F; sleep 1000 & echo $! >>$F; echo waiting; wait", 0, 200 * time.Millisecond, 5 * time.Second},
		{"SIGTERM is enough", "echo $$ >$F; sleep 1000 & echo $! >>$F; echo waiting; wait", time.Minute, 200 * time.Millisecond, 20 * time.Second},
		{"SIGTERM is ignored", "trap '' TERM; echo $$ >$F; sleep 1000 & echo $! >>$F; echo waiting; while :; do wait; done",
			300 * time.Millisecond, 500 * time.Millisecond, 10 * time.Second},
		{"the leader goes at SIGTERM, its child does not", "(trap '' TERM; sleep 1000) & echo $$ >$F; echo $! >>$F; echo waiting; wait",
			300 * time.Millisecond, 200 * time.Millisecond, 10 * time.Second},
		{"stopped", "echo $$ >$F; sleep 1000 & echo $! >>$F; echo waiting; kill -STOP $!; kill -STOP $$", time.Minute, 200 * time.Millisecond, 20 * time.Second},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			file := filepath.Join(t.TempDir(), "pids")
			ctx, cancel := context.WithCancelCause(t.Context())
			var pids []int
			var began time.Time
			go func() {
				pids = pidsIn(t, file, 2)
				time.Sleep(200 * time.Millisecond) // what it hangs in has begun, mostly
				began = time.Now().Add(-200 * time.Millisecond)
				cancel(context.DeadlineExceeded)
			}()
			r, err := child.Run(ctx, child.Command{Argv: sh(tt.script), Env: []string{"F=" + file}, Grace: tt.grace, Leave: true})
			took := time.Since(began)
			var timeout *child.TimeoutError
			if !errors.As(err, &timeout) || !errors.Is(err, context.DeadlineExceeded) || timeout.Reason != "waiting" {
				t.Errorf("got %v, %q", err, r.Output)
			}
			if took < tt.least || took > tt.most {
				t.Errorf("took %v", took)
			}
			for _, pid := range pids {
				eventually(t, fmt.Sprintf("the end of %d of %v", pid, pids), func() bool { return !lives(pid) })
			}
		})
	}
}

// A grandchild that keeps the output open delays nobody. With Leave it lives on and may go on talking: it is neither killed by SIGPIPE nor
// blocked when nobody reads. Without, it ends with its parent.
func TestWhatIsLeftInTheBackground(t *testing.T) {
	for _, leave := range []bool{true, false} {
		t.Run(fmt.Sprintf("leave=%t", leave), func(t *testing.T) {
			dir := t.TempDir()
			file, words := filepath.Join(dir, "pid"), filepath.Join(dir, "words")
			// 200,000 bytes are more than a pipe holds; a blocked writer would never come to its second file.
			script := `(while [ -e $D/stay ]; do sleep 0.01; done; i=0; while [ $i -lt 5000 ]; do echo 0123456789012345678901234567890123456789; i=$((i+1)); done; echo talked >$D/words; sleep 1000) & echo $! >$D/pid; echo begun`
			if err := os.WriteFile(filepath.Join(dir, "stay"), nil, 0o600); err != nil {
				t.Fatal(err)
			}
			began := time.Now()
			r, err := child.Run(within(t, 30*time.Second), child.Command{Argv: sh(script), Env: []string{"D=" + dir}, Leave: leave})
			if err != nil || r.Reason() != "begun" {
				t.Fatalf("%v, %q", err, r.Output)
			}
			if took := time.Since(began); took > 10*time.Second {
				t.Errorf("waited %v for whoever kept the output", took)
			}
			pid := pidsIn(t, file, 1)[0]
			if !leave {
				eventually(t, "its end", func() bool { return !lives(pid) })
				return
			}
			if err := os.Remove(filepath.Join(dir, "stay")); err != nil {
				t.Fatal(err)
			}
			eventually(t, "words", func() bool { _, err := os.Stat(words); return err == nil })
			if !lives(pid) {
				t.Error("it died of talking")
			}
			if err := unix.Kill(-getpgid(t, pid), unix.SIGKILL); err != nil {
				t.Error(err)
			}
		})
	}
}

func getpgid(t *testing.T, pid int) int {
	t.Helper()
	g, err := unix.Getpgid(pid)
	if err != nil || g == unix.Getpgrp() {
		t.Fatalf("group %d, %v", g, err)
	}
	return g
}

func TestItsEnvironmentIsTheSameWhoeverCalls(t *testing.T) {
	t.Setenv("SECRET", "x")
	defer unix.Umask(unix.Umask(0o077))
	r, err := child.Run(within(t, 30*time.Second), child.Command{Env: []string{"A=b"},
		Argv: sh("env | grep -v ^_= | sort; umask; pwd; ls /proc/self/fd | wc -l; cat; ps -o sid= -p $$ | grep -cx \" *$$\"")})
	if err != nil {
		t.Fatal(err)
	}
	want := "A=b\nHOME=/\nLC_ALL=C\nPATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin\nPWD=/\n0022\n/\n4\n1\n"
	if got := string(r.Output); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	if now := unix.Umask(0o077); now != 0o077 {
		t.Errorf("our own umask became %#o", now)
	}
}

// runAndDie is a process that was given a descriptor, runs a program, and is killed while that runs.
func runAndDie() {
	if os.Getenv("CHILD_TEST_RUN") == "closed" {
		if err := child.CloseInherited(); err != nil {
			panic(err)
		}
	}
	_, _ = child.Run(context.Background(), child.Command{Leave: os.Getenv("CHILD_TEST_LEAVE") != "",
		Argv: sh("echo $$ >$F.new; ls -l /proc/self/fd >$F.fds; mv $F.new $F; sleep 1000"), Env: []string{"F=" + os.Getenv("CHILD_TEST_FILE")}})
	os.Exit(0)
}

func TestItEndsWithItsParentUnlessItIsLeft(t *testing.T) {
	for _, leave := range []string{"", "1"} {
		t.Run("leave="+leave, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "pid")
			cmd := exec.Command("/proc/self/exe")
			cmd.Env = append(os.Environ(), "CHILD_TEST_RUN=closed", "CHILD_TEST_LEAVE="+leave, "CHILD_TEST_FILE="+file)
			cmd.ExtraFiles = []*os.File{os.Stderr} // descriptor 3, inherited
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			pid := pidsIn(t, file, 1)[0]
			fds, err := os.ReadFile(file + ".fds")
			if n := strings.Count(string(fds), "->"); err != nil || n != 4 { // 0, 1, 2, and ls's own of the directory
				t.Errorf("it has inherited descriptors: %v\n%s", err, fds)
			}
			if err := cmd.Process.Kill(); err != nil {
				t.Fatal(err)
			}
			_ = cmd.Wait()
			if leave == "" {
				eventually(t, "its end", func() bool { return !lives(pid) })
				return
			}
			time.Sleep(200 * time.Millisecond) // the signal would be there long since
			if !lives(pid) {
				t.Error("it was not left")
			}
			_ = unix.Kill(-getpgid(t, pid), unix.SIGKILL)
		})
	}
}

func FuzzPrintable(f *testing.F) {
	f.Add("a\x00b\u2028c\xff")
	f.Fuzz(func(t *testing.T, s string) {
		got := child.Printable(s)
		if len(got) > 200 || strings.ContainsFunc(got, func(r rune) bool { return r < ' ' || r == 0x7f || r == '\u2028' }) {
			t.Errorf("%q", got)
		}
		if child.Printable(got) != got {
			t.Errorf("%q is not its own", got)
		}
	})
}
