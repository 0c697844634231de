package fence

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"kvmctl/internal/runner"
	"kvmctl/internal/testenv"
)

// script is an agent in a few lines of shell, which has its parameters in $in and its action in $action.
func script(t *testing.T, lines string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "fence_double")
	text := "#!/bin/sh\ncd " + filepath.Dir(path) + "\nin=$(cat)\naction=$(echo \"$in\" | sed -n s/^action=//p)\n" + lines + "\n"
	if err := os.WriteFile(path, []byte(text), 0o700); err != nil {
		t.Fatal(err)
	}
	return path
}

// works is an agent that does what it says.
const works = `
[ $action = off ] && { echo off >power; echo Success: Powered OFF; exit 0; }
[ "$(cat power)" = off ] && { echo Status: OFF; exit 2; }
echo Status: ON; exit 0`

func TestAgent(t *testing.T) {
	for _, tc := range []struct {
		name, lines string
		want        error  // nil: it is certain
		says        string // part of the error
	}{
		{"it works", works, nil, ""},
		{"it lies about off", `[ $action = off ] && exit 0; echo Status: ON; exit 0`, ErrStillOn, ""},
		{"it lies about off, and says nothing more", `exit 0`, ErrStillOn, ""},
		{"it cannot switch", `echo "Unable to connect" >&2; exit 1`, ErrNotCertain, "Unable to connect"},
		{"it cannot switch, and the node is off", `[ $action = off ] && exit 7; echo Status: OFF; exit 2`, ErrNotCertain, "exit 7"},
		{"it does not know the status", `[ $action = off ] && exit 0; exit 1`, ErrNotCertain, "exit 1"},
		{"its status is that of wrong arguments", `[ $action = off ] && exit 0; echo usage >&2; exit 2`, ErrNoStatus, ""},
		{"its status and its word differ", `[ $action = off ] && exit 0; echo Status: ON; exit 2`, ErrNoStatus, ""},
		{"its word and its status differ", `[ $action = off ] && exit 0; echo Status: OFF; exit 0`, ErrNoStatus, ""},
		{"it prints garbage", `[ $action = off ] && exit 0; head -c 3000000 /dev/zero; printf '\377Status: OFF'; exit 2`, ErrNoStatus, ""},
		{"it is killed", `kill -9 $$`, ErrNotCertain, "signal"},
		{"it ignores a parameter", "echo \"WARNING:root:Parse error: Ignoring unknown option 'ip=10.0.0.1'\" >&2" + works, ErrNoParameter, "10.0.0.1"},
		{"it repeats the password", `echo "$in" | grep ^password >&2; exit 1`, ErrNotCertain, "password=…"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			a, err := NewAgent(script(t, tc.lines), []string{"ip=10.0.0.1"}, "s3cret", runner.Exec{})
			if err != nil {
				t.Fatal(err)
			}
			r := ask
			r.Within = time.Minute
			got, err := Ask(t.Context(), a, r)
			if err != nil && strings.Contains(err.Error(), "s3cret") || strings.Contains(fmt.Sprintf("%v %+v %#v", a, a, a), "s3cret") {
				t.Errorf("the password is told: %v, %#v", err, a)
			}
			if tc.want != nil {
				notCertain(t, got, err, tc.want)
				if !strings.Contains(err.Error(), tc.says) {
					t.Errorf("%v: not a word of %q", err, tc.says)
				}
			} else if err != nil || got.ID != ask.ID {
				t.Errorf("%+v, %v", got, err)
			}
		})
	}
}

// TestAgentsSecretsAreInNoCommandLine looks at what everybody on the machine can see while an agent runs.
func TestAgentsSecretsAreInNoCommandLine(t *testing.T) {
	path := script(t, `tr '\0' ' ' </proc/$$/cmdline >seen; tr '\0' '\n' </proc/$$/environ >>seen; echo "$in" >given; exit 1`)
	a, err := NewAgent(path, []string{"ip=10.0.0.1", `plug= 1 `}, `"s3cret"`, runner.Exec{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := a.Status(t.Context()); err == nil {
		t.Fatal("a status")
	}
	read := func(name string) string {
		text, err := os.ReadFile(filepath.Join(filepath.Dir(path), name))
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	if seen := read("seen"); strings.Contains(seen, "s3cret") || strings.Contains(seen, "10.0.0.1") || seen == "" {
		t.Errorf("seen: %s", seen)
	}
	if got, want := read("given"), "action=status\nip=10.0.0.1\nplug=\" 1 \"\npassword=\"\"s3cret\"\"\n"; got != want {
		t.Errorf("given:\n%s\nwant:\n%s", got, want)
	}
}

// TestAgentThatHangs is killed when its time is over, with what it has started.
func TestAgentThatHangs(t *testing.T) {
	path := script(t, `sleep 1000 & echo $! >child; wait`)
	a, err := NewAgent(path, nil, "", runner.Exec{})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	defer cancel(nil)
	pid := make(chan int, 1)
	over := errors.New("time is over")
	go func() { // owned: it ends when it has the number
		for ctx.Err() == nil {
			text, err := os.ReadFile(filepath.Join(filepath.Dir(path), "child"))
			if n, bad := strconv.Atoi(strings.TrimSpace(string(text))); err == nil && bad == nil && strings.HasSuffix(string(text), "\n") {
				pid <- n
				cancel(over)
				return
			}
		}
		close(pid)
	}()
	r := ask
	r.Within = time.Minute
	got, err := Ask(ctx, a, r)
	notCertain(t, got, err, over)
	cancel(nil)
	child, ok := <-pid
	if !ok {
		t.Fatal("the agent did not begin")
	}
	for deadline := time.Now().Add(time.Minute); ; {
		if err := unix.Kill(child, 0); errors.Is(err, unix.ESRCH) {
			return
		}
		if stat, _ := os.ReadFile(fmt.Sprintf("/proc/%d/stat", child)); strings.Contains(string(stat), ") Z ") {
			return // dead; whoever inherited it has not looked yet
		}
		if time.Now().After(deadline) {
			t.Fatalf("process %d of the agent's still runs", child)
		}
	}
}

// TestFenceDummy runs the agents' own library, as a real one does.
func TestFenceDummy(t *testing.T) {
	testenv.Need(t, testenv.Netns, "fence_dummy")
	program, err := exec.LookPath("fence_dummy")
	if err != nil {
		t.Fatal(err)
	}
	power := filepath.Join(t.TempDir(), "power of a node")
	agent := func(t *testing.T, password string, parameters ...string) *Agent {
		a, err := NewAgent(program, parameters, password, runner.Exec{})
		if err != nil {
			t.Fatal(err)
		}
		return a
	}
	put := func(t *testing.T, text string) {
		if err := os.WriteFile(power, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	r := ask
	r.Within = time.Minute
	t.Run("on, then off", func(t *testing.T) {
		put(t, "on")
		a := agent(t, "", "status_file="+power)
		if got, err := a.Status(t.Context()); got != On || err != nil {
			t.Fatalf("%s, %v", got, err)
		}
		if got, err := Ask(t.Context(), a, r); err != nil || got.ID != r.ID {
			t.Fatalf("%+v, %v", got, err)
		}
		if text, err := os.ReadFile(power); string(text) != "off" || err != nil {
			t.Errorf("%q, %v", text, err)
		}
		if got, err := a.Status(t.Context()); got != Off || err != nil {
			t.Errorf("%s, %v", got, err)
		}
	})
	t.Run("off already", func(t *testing.T) {
		put(t, "off")
		if got, err := Ask(t.Context(), agent(t, "", "status_file="+power), r); err != nil || got.ID != r.ID {
			t.Errorf("%+v, %v", got, err)
		}
	})
	t.Run("a device that does not know", func(t *testing.T) {
		put(t, "maybe")
		got, err := Ask(t.Context(), agent(t, "", "status_file="+power), r)
		notCertain(t, got, err, ErrNotCertain)
		if !strings.Contains(err.Error(), "Unable to obtain correct plug status") {
			t.Error(err)
		}
	})
	// With a misspelt name fence_dummy finds no file, takes that for a node without power, and says "Success: Already OFF".
	t.Run("a misspelt parameter", func(t *testing.T) {
		put(t, "on")
		got, err := Ask(t.Context(), agent(t, "", "status_fiel="+power), r)
		notCertain(t, got, err, ErrNoParameter)
	})
	t.Run("a password that it does not know", func(t *testing.T) {
		put(t, "on")
		got, err := Ask(t.Context(), agent(t, "s3cret", "status_file="+power), r)
		notCertain(t, got, err, ErrNotCertain)
		if strings.Contains(err.Error(), "s3cret") {
			t.Error(err)
		}
	})
}
