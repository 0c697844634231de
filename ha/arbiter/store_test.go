//go:build linux

package arbiter

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"kvmctl/internal/testenv"
)

func open(t testing.TB, dir string, groups ...Group) *Store {
	t.Helper()
	s, err := Open(t.Context(), dir, groups)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestStore(t *testing.T) {
	s := open(t, filepath.Join(t.TempDir(), Dir), groups()...)
	testContract(t, backend{func(member string) Asker { return As(s, member) }, s.Create})
}

// TestStoreOfTwoProcesses has two stores on one directory, as the agent and a command beside it: their locks know nothing of each other but the file. And their
// clocks are years apart, as that of one arbiter is whose clock leaps while it stands still: no decision comes of a clock.
func TestStoreOfTwoProcesses(t *testing.T) {
	dir := filepath.Join(t.TempDir(), Dir)
	one, two := open(t, dir, groups()...), open(t, dir, groups()...)
	one.now, two.now = years(-56), years(100)
	testContract(t, backend{func(member string) Asker {
		if member == "a" {
			return As(one, member)
		}
		return As(two, member)
	}, one.Create})
}

// years gives a clock that is so many years off.
func years(n int) func() time.Time { return func() time.Time { return time.Now().AddDate(n, 0, 0) } }

func TestDamagedRecord(t *testing.T) {
	good, err := Record{"web", "a", 4, id(1), time.Date(2026, 11, 23, 3, 4, 5, 0, time.UTC)}.seal()
	if err != nil {
		t.Fatal(err)
	}
	other, err := Record{Group: "mail"}.seal()
	if err != nil {
		t.Fatal(err)
	}
	strange, err := Record{"web", "c", 4, id(1), time.Time{}}.seal()
	if err != nil {
		t.Fatal(err)
	}
	tests := map[string]string{
		"empty file (ext4 after a power cut without fsync)": "",
		"zeros (XFS likewise)":                              strings.Repeat("\x00", len(good)),
		"half of it":                                        string(good[:len(good)/2]),
		"a flipped digit":                                   strings.Replace(string(good), `"n":4`, `"n":3`, 1),
		"another group's":                                   string(other),
		"two of them":                                       string(good) + string(good),
		"too long":                                          string(good) + strings.Repeat(" ", maxRecord),
		"a later version":                                   strings.Replace(string(good), `"version":1`, `"version":2`, 1),
		"an earlier version, which there never was":         strings.Replace(string(good), `"version":1`, `"version":0`, 1),
		"null":                        "null",
		"of a node that is no member": string(strange),
	}
	for name, text := range tests {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			s := open(t, dir, pair)
			path := filepath.Join(dir, "web.json")
			if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
			r, err := s.AskFrom(t.Context(), "a", Request{"web", "a", 5, id(9)})
			if outcome(r, err) != "refused: damaged" {
				t.Errorf("%s: %v", outcome(r, err), err)
			}
			want := path + ": it is damaged: not a record, or not the whole of one"
			switch name {
			case "a later version":
				want = path + ": a later kvmha wrote it, and this one cannot read it"
			case "of a node that is no member":
				want = path + ": it is a record of other nodes: c, who went on alone as number 4, is no member of group web"
			}
			if err == nil || err.Error() != want {
				t.Errorf("the error is %v, want %s", err, want)
			}
			if kept, err := os.ReadFile(path); err != nil || string(kept) != text {
				t.Errorf("the file was touched: %q, %v", kept, err)
			}
			if no, ok := errors.AsType[*RefusedError](err); !ok || no.Hint() !=
				"kvmha arbiter create web --holder <node> --n <n>; if none of them ever went on alone: kvmha arbiter create web --force" {
				t.Errorf("the hint is %q", no.Hint())
			}
			if _, err := s.Create(t.Context(), "web", "", 0, false); !errors.Is(err, ErrThere) ||
				err.Error() != "an empty record in the place of a damaged one would forget who went on alone: "+want {
				t.Errorf("an empty one in its place: %v", err)
			}
			if _, err := s.Create(t.Context(), "web", "a", 4, false); err != nil {
				t.Errorf("restore: %v", err)
			}
			if r, err := s.AskFrom(t.Context(), "a", Request{"web", "a", 5, id(9)}); outcome(r, err) != "won a 5" {
				t.Errorf("after the restore: %s: %v", outcome(r, err), err)
			}
			if kept, err := os.ReadFile(path + damaged); err != nil || string(kept) != text {
				t.Errorf("what was damaged was not kept: %q, %v", kept, err)
			}
		})
	}
	if r, err := parseRecord("web", good); err != nil || r.N != 4 {
		t.Errorf("the good one: %v, %v", r, err)
	}
}

// TestFailedWrite makes the directory one that nothing can be written to: whoever asks is told of no win, and nothing has changed.
func TestFailedWrite(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, pair)
	if _, err := s.Create(t.Context(), "web", "", 0, false); err != nil {
		t.Fatal(err)
	}
	moved := dir + ".gone"
	if err := os.Rename(dir, moved); err != nil {
		t.Fatal(err)
	}
	r, err := s.AskFrom(t.Context(), "a", Request{"web", "a", 1, id(1)})
	if outcome(r, err) != "unknown" || !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("%s: %v", outcome(r, err), err)
	}
	if err := os.Rename(moved, dir); err != nil {
		t.Fatal(err)
	}
	if r, err := s.Look(t.Context(), "web"); err != nil || r.N != 0 {
		t.Errorf("the record is %v (%v)", r, err)
	}
}

// TestLockedStore waits for a lock that is not given back no longer than its caller does.
func TestLockedStore(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, pair)
	unlock, err := s.lock(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	r, err := s.AskFrom(ctx, "a", Request{"web", "a", 1, id(1)})
	if outcome(r, err) != "unknown" || !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("%s: %v", outcome(r, err), err)
	}
	unlock()
}

// start begins the process that wins numbers; below is what runs it, such as strace.
func start(t *testing.T, dir string, below ...string) (*exec.Cmd, *bufio.Scanner) {
	t.Helper()
	argv := append(slices.Clone(below), "/proc/self/exe")
	if len(below) > 0 { // of strace, /proc/self/exe is strace
		exe, err := os.Executable()
		if err != nil {
			t.Fatal(err)
		}
		argv[len(argv)-1] = exe
	}
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Env = append(os.Environ(), victim+"="+dir)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	return cmd, bufio.NewScanner(out)
}

// survives checks that what was said to be won is in the record, and at most one more that was not said yet.
func survives(t *testing.T, dir string, said uint64) {
	t.Helper()
	s := open(t, dir, pair)
	r, err := s.Look(t.Context(), "web")
	if err != nil || r.N != said && r.N != said+1 {
		t.Errorf("number %d was won, and the record is %v (%v)", said, r, err)
	}
	if left, err := filepath.Glob(filepath.Join(dir, tempPrefix+"*")); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

func TestKilledAnywhere(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, pair)
	if _, err := s.Create(t.Context(), "web", "", 0, false); err != nil {
		t.Fatal(err)
	}
	said := uint64(0)
	for range 12 {
		cmd, out := start(t, dir)
		lines, delay := 1+rand.IntN(20), time.Duration(rand.IntN(3000))*time.Microsecond
		for i := 0; out.Scan(); i++ {
			n, err := strconv.ParseUint(out.Text(), 10, 64)
			if err != nil || n <= said {
				t.Fatalf("it said %q after %d: %v", out.Text(), said, err)
			}
			said = n
			if i == lines {
				time.AfterFunc(delay, func() { _ = cmd.Process.Kill() })
			}
		}
		_ = cmd.Wait()
		survives(t, dir, said)
		if t.Failed() {
			return
		}
		// The next process goes on where the record is.
		if r, err := s.Look(t.Context(), "web"); err == nil {
			said = r.N
		}
	}
}

// TestKilledAtEachCall kills the process at each system call of a write in turn.
func TestKilledAtEachCall(t *testing.T) {
	testenv.Need(t, testenv.Netns, "strace")
	for _, call := range []string{"fchmod", "fsync", "renameat", "unlinkat"} {
		for when := 1; when <= 2; when++ {
			t.Run(fmt.Sprintf("%s %d", call, when), func(t *testing.T) {
				t.Parallel()
				dir := t.TempDir()
				s := open(t, dir, pair)
				if _, err := s.Create(t.Context(), "web", "", 0, false); err != nil {
					t.Fatal(err)
				}
				if call == "unlinkat" { // Open's: of what the process before left behind
					for i := range when {
						if err := os.WriteFile(filepath.Join(dir, fmt.Sprintf("%s%d", tempPrefix, i)), nil, 0o600); err != nil {
							t.Fatal(err)
						}
					}
				}
				ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
				defer cancel()
				cmd, out := start(t, dir, "strace", "-f", "-o", "/dev/null", "-e", "trace="+call, "-e", fmt.Sprintf("inject=%s:signal=KILL:when=%d", call, when))
				defer context.AfterFunc(ctx, func() { _ = unix.Kill(-cmd.Process.Pid, unix.SIGKILL) })()
				said := uint64(0)
				for out.Scan() && said < 10 {
					n, err := strconv.ParseUint(out.Text(), 10, 64)
					if err != nil {
						t.Fatalf("it said %q: %v", out.Text(), err)
					}
					said = n
				}
				_ = unix.Kill(-cmd.Process.Pid, unix.SIGKILL)
				_ = cmd.Wait()
				if ctx.Err() != nil || said > 1 {
					t.Fatalf("it was not killed: %d, %v", said, ctx.Err())
				}
				survives(t, dir, said)
			})
		}
	}
}

func FuzzRecord(f *testing.F) {
	for _, r := range []Record{{Group: "web"}, {"web", "a", 4, id(1), time.Unix(1, 0)}} {
		text, err := r.seal()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(text)
	}
	f.Add([]byte(`{"version":1,"sha256":"","record":null}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		r, err := parseRecord("web", text)
		if err != nil {
			return
		}
		again, err := r.seal()
		if err != nil {
			t.Fatalf("%v cannot be kept: %v", r, err)
		}
		if back, err := parseRecord("web", again); err != nil || !back.Same(r) {
			t.Errorf("%v came back as %v (%v)", r, back, err)
		}
	})
}
