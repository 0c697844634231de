package runner

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

// The test binary is its own programs, chosen by an argument: Run lets no environment through.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 {
		if f, ok := programs[os.Args[1]]; ok {
			os.Exit(f(os.Args[2:]))
		}
	}
	os.Exit(m.Run())
}

var programs = map[string]func(args []string) int{
	"act-say": func([]string) int { fmt.Print("out"); fmt.Fprint(os.Stderr, "err"); return 7 },
	"act-echo": func([]string) int {
		if _, err := io.Copy(os.Stdout, os.Stdin); err != nil {
			return 9
		}
		return 0
	},
	"act-env":  func([]string) int { fmt.Print(strings.Join(os.Environ(), "\n")); return 0 },
	"act-die":  func([]string) int { unix.Kill(unix.Getpid(), unix.SIGKILL); select {} },
	"act-hang": func([]string) int { fmt.Println(os.Getpid()); time.Sleep(time.Hour); return 0 },
	"act-flood": func([]string) int {
		fmt.Print(strings.Repeat("o", MaxStdout), "beyond")
		fmt.Fprint(os.Stderr, "begin", strings.Repeat("e", MaxStderr-3), "end")
		return 0
	},
	// A child that would outlive its parent and keeps its output open.
	"act-child": func([]string) int {
		child := exec.Command("/proc/self/exe", "act-hang")
		child.Stdout = os.Stdout
		if err := child.Start(); err != nil {
			return 9
		}
		time.Sleep(time.Hour)
		return 0
	},
	// A caller that runs a program and never gets to its end.
	"act-caller": func([]string) int {
		Exec{}.Run(context.Background(), Command{Argv: []string{"/proc/self/exe", "act-hang"}, Stdout: os.Stdout})
		return 0
	},
}

func self(t *testing.T, args ...string) []string {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	return append([]string{exe}, args...)
}

func TestRun(t *testing.T) {
	tests := []struct {
		name string
		act  string
		want Result
	}{
		{"output and status", "act-say", Result{Stdout: []byte("out"), Stderr: []byte("err"), Exit: 7}},
		{"only our environment", "act-env", Result{Stdout: []byte(strings.Join(environment, "\n"))}},
		{"death by a signal", "act-die", Result{Exit: -1, Signal: syscall.SIGKILL}},
		{"more output than is kept", "act-flood", Result{
			Stdout: bytes.Repeat([]byte("o"), MaxStdout), Truncated: true,
			Stderr: append(bytes.Repeat([]byte("e"), MaxStderr-3), "end"...),
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := Exec{}.Run(t.Context(), Command{Argv: self(t, tt.act)})
			if err != nil {
				t.Fatal(err)
			}
			// A comparison of a million bytes takes cmp seconds: only what is short goes there.
			if !bytes.Equal(got.Stdout, tt.want.Stdout) || !bytes.Equal(got.Stderr, tt.want.Stderr) {
				t.Errorf("stdout %d bytes %.80q, stderr %d bytes %.80q", len(got.Stdout), got.Stdout, len(got.Stderr), got.Stderr)
			}
			got.Stdout, got.Stderr, tt.want.Stdout, tt.want.Stderr = nil, nil, nil, nil
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("result (-want +got):\n%s", diff)
			}
		})
	}
}

func TestStdoutIsPassedOnAsItComes(t *testing.T) {
	var all bytes.Buffer
	if _, err := (Exec{}).Run(t.Context(), Command{Argv: self(t, "act-flood"), Stdout: &all}); err != nil {
		t.Fatal(err)
	}
	if got, want := all.Len(), MaxStdout+len("beyond"); got != want {
		t.Errorf("%d bytes, want %d", got, want)
	}
}

func TestWhatCannotRun(t *testing.T) {
	ctx, cancel := context.WithCancelCause(t.Context())
	cause := errors.New("had enough")
	cancel(cause)
	tests := []struct {
		name string
		ctx  context.Context
		argv []string
		want error
	}{
		{"no such program", t.Context(), []string{"kvmctl-test-no-such-program"}, exec.ErrNotFound},
		{"no such path", t.Context(), []string{"/nonexistent/program"}, os.ErrNotExist},
		{"no permission", t.Context(), []string{"/dev/null"}, os.ErrPermission},
		{"a context that has ended", ctx, self(t, "act-hang"), cause},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if _, err := (Exec{}).Run(tt.ctx, Command{Argv: tt.argv}); !errors.Is(err, tt.want) {
				t.Errorf("got %v, want %v", err, tt.want)
			}
		})
	}
	if _, err := (Exec{}).Run(t.Context(), Command{}); err == nil {
		t.Error("an empty argv ran")
	}
}

func TestTheWholeGroupEndsWithTheContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	r, w := io.Pipe()
	done := make(chan error)
	go func() {
		_, err := Exec{}.Run(ctx, Command{Argv: self(t, "act-child"), Stdout: w})
		w.Close()
		done <- err
	}()
	grandchild := readPid(t, r)
	cancel()
	select {
	case err := <-done:
		if !errors.Is(err, context.Canceled) {
			t.Errorf("got %v, want %v", err, context.Canceled)
		}
	case <-time.After(20 * time.Second):
		t.Fatal("Run does not return")
	}
	awaitGone(t, grandchild)
}

func TestAProgramDoesNotOutliveItsCaller(t *testing.T) {
	argv := self(t, "act-caller")
	caller := exec.Command(argv[0], argv[1:]...)
	out, err := caller.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := caller.Start(); err != nil {
		t.Fatal(err)
	}
	program := readPid(t, out)
	caller.Process.Kill()
	caller.Wait()
	awaitGone(t, program)
}

func readPid(t *testing.T, r io.Reader) int {
	t.Helper()
	line, err := bufio.NewReader(r).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(line))
	if err != nil {
		t.Fatal(err)
	}
	return pid
}

// awaitGone waits until pid is no more, or only a zombie that waits for its new parent.
func awaitGone(t *testing.T, pid int) {
	t.Helper()
	deadline := time.Now().Add(20 * time.Second)
	for {
		stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		if err != nil || bytes.Contains(stat, []byte(") Z ")) {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("process %d lives on: %s", pid, stat)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

func TestStdin(t *testing.T) {
	big := bytes.Repeat([]byte("x"), 1<<18) // more than a pipe takes
	for name, tc := range map[string]struct {
		act  string
		in   []byte
		want Result
	}{
		"given":         {"act-echo", []byte("action=off\n"), Result{Stdout: []byte("action=off\n")}},
		"empty":         {"act-echo", []byte{}, Result{}},
		"none":          {"act-echo", nil, Result{}},
		"more than fit": {"act-echo", big, Result{Stdout: big}},
		"nobody reads":  {"act-say", big, Result{Stdout: []byte("out"), Stderr: []byte("err"), Exit: 7}},
	} {
		t.Run(name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			r, err := Exec{}.Run(ctx, Command{Argv: self(t, tc.act), Stdin: tc.in})
			if diff := cmp.Diff(tc.want, r); err != nil || diff != "" {
				t.Errorf("%v\n%.500s", err, diff)
			}
		})
	}
}
