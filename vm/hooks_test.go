package vm

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"kvmctl/internal/testenv"
	"kvmctl/internal/units"
)

// hookHost is a host whose guest has one hook, a shell script; it needs root, to whom hooks belong.
func hookHost(t *testing.T, script string) (*Host, *Spec) {
	t.Helper()
	testenv.Need(t, testenv.Netns)
	h := &Host{Layout: library(t), HistorySize: units.MiB}
	path := filepath.Join(h.Root, "hook")
	if err := os.WriteFile(path, []byte("#!/bin/sh\n"+script+"\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	return h, &Spec{Name: "g", Hooks: Hooks{PreStart: path, Timeout: 20 * time.Second}}
}

// before runs the guest's pre_start.
func before(ctx context.Context, h *Host, spec *Spec) error {
	for _, c := range h.calls(spec.Hooks, hookPreStart) {
		if err := h.runHook(ctx, spec.Name, c, hookNews{State: StateStarting}); err != nil {
			return err
		}
	}
	return nil
}

func TestAHookLearnsItsGuestAndLeavesItsWords(t *testing.T) {
	h, spec := hookHost(t, `echo "$KVM_VM $KVM_HOOK $KVM_ROOT $PWD"; env | sort | cut -d= -f1 | tr '\n' ' ' >&2`)
	if err := before(t.Context(), h, spec); err != nil {
		t.Fatal(err)
	}
	facts := history(t, h.Layout)
	if len(facts) != 1 {
		t.Fatalf("%+v", facts)
	}
	facts[0].Time = time.Time{}
	want := Fact{V: 1, Kind: KindHook, Event: "pre_start", Reason: "g pre_start " + h.Root + " /\nKVM_EVENT KVM_HOOK KVM_ROOT KVM_VM PATH PWD"}
	if d := cmp.Diff(want, facts[0]); d != "" {
		t.Error(d)
	}
}

func TestAHookThatFailsSaysWhy(t *testing.T) {
	h, spec := hookHost(t, "echo first; echo no disk >&2; exit 7")
	err := before(t.Context(), h, spec)
	if want := "hook pre_start (" + spec.Hooks.PreStart + "): exit status 7: no disk"; errText(err) != want {
		t.Errorf("got  %q\nwant %q", errText(err), want)
	}
	if facts := history(t, h.Layout); len(facts) != 1 || facts[0].Reason != "exit status 7: first\nno disk" {
		t.Errorf("%+v", facts)
	}
}

// A tidy script says more after its error: the reason is the last line of stderr.
func TestTheReasonIsTheLastLineOfTheErrors(t *testing.T) {
	h, spec := hookHost(t, "trap 'echo tidied up' EXIT; echo looking >&2; echo no disk >&2; exit 7")
	want := "hook pre_start (" + spec.Hooks.PreStart + "): exit status 7: no disk"
	if err := before(t.Context(), h, spec); errText(err) != want {
		t.Errorf("got  %q\nwant %q", errText(err), want)
	}
	if facts := history(t, h.Layout); len(facts) != 1 || facts[0].Reason != "exit status 7: tidied up\nlooking\nno disk" {
		t.Errorf("%+v", facts)
	}
}

func TestAHooksTimeoutEndsItsWholeGroup(t *testing.T) {
	h, spec := hookHost(t, `sleep 1000 & echo $! >"$KVM_ROOT/child"; wait`)
	spec.Hooks.Timeout = time.Second
	began := time.Now()
	err := before(t.Context(), h, spec)
	if want := "hook pre_start (" + spec.Hooks.PreStart + "): no end within 1s"; errText(err) != want {
		t.Errorf("got  %q\nwant %q", errText(err), want)
	}
	if took := time.Since(began); took > 10*time.Second {
		t.Errorf("took %v", took)
	}
	pid := strings.TrimSpace(string(mustRead(t, filepath.Join(h.Root, "child"))))
	until(t, "the hook's child has ended", func() bool {
		b, err := os.ReadFile("/proc/" + pid + "/stat")
		return err != nil || strings.Contains(string(b), ") Z ")
	})
}

func TestAHookMayLeaveAProgramBehind(t *testing.T) {
	h, spec := hookHost(t, `sleep 1000 & echo $! >"$KVM_ROOT/child"; echo done`)
	began := time.Now()
	if err := before(t.Context(), h, spec); err != nil {
		t.Error(err)
	}
	if took := time.Since(began); took > 10*time.Second {
		t.Errorf("took %v", took)
	}
	child := filepath.Join("/proc", strings.TrimSpace(string(mustRead(t, filepath.Join(h.Root, "child")))))
	if _, err := os.Stat(child); err != nil {
		t.Errorf("the program is gone: %v", err)
	}
	killNamed(t, child)
}

func TestAnInterruptEndsAHook(t *testing.T) {
	h, spec := hookHost(t, `: >"$KVM_ROOT/up"; exec sleep 1000`)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	done := make(chan error, 1)
	go func() { done <- before(ctx, h, spec) }()
	until(t, "the hook runs", func() bool { return exists(filepath.Join(h.Root, "up")) })
	cancel()
	select {
	case err := <-done:
		if err == nil {
			t.Error("it counts as done")
		}
	case <-time.After(20 * time.Second):
		t.Fatal("it goes on")
	}
}

func TestAHookThatTalksWithoutEndIsCutShort(t *testing.T) {
	h, spec := hookHost(t, `yes 0123456789 | head -c 1000000`)
	if err := before(t.Context(), h, spec); err != nil {
		t.Fatal(err)
	}
	facts := history(t, h.Layout)
	if len(facts) != 1 || len(facts[0].Reason) > maxHookOutput || len(facts[0].Reason) < maxHookOutput-20 {
		t.Errorf("%d facts, %d bytes", len(facts), len(facts[0].Reason))
	}
}

func TestHooksThatOthersCouldHaveWrittenAreRefused(t *testing.T) {
	for _, tt := range []struct {
		name, want string
		refused    bool
		change     func(t *testing.T, path string) error
	}{
		{"of another owner", "may be written by others than root", true, func(_ *testing.T, p string) error { return os.Chown(p, 12345, 0) }},
		{"writable by its group", "may be written by others than root", true, func(_ *testing.T, p string) error { return os.Chmod(p, 0o775) }},
		{"writable by all", "may be written by others than root", true, func(_ *testing.T, p string) error { return os.Chmod(p, 0o757) }},
		{"not executable", "is not executable", false, func(_ *testing.T, p string) error { return os.Chmod(p, 0o644) }},
		{"a FIFO", "is not a regular file", true, func(_ *testing.T, p string) error { return errors.Join(os.Remove(p), unix.Mkfifo(p, 0o755)) }},
		{"a symlink", "is not a regular file", true, func(_ *testing.T, p string) error { return errors.Join(os.Remove(p), os.Symlink("/bin/true", p)) }},
		{"a directory", "is not a regular file", true, func(_ *testing.T, p string) error { return errors.Join(os.Remove(p), os.Mkdir(p, 0o755)) }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			h, spec := hookHost(t, `: >"$KVM_ROOT/ran"`)
			if err := tt.change(t, spec.Hooks.PreStart); err != nil {
				t.Fatal(err)
			}
			err := before(t.Context(), h, spec)
			if want := "hook pre_start: " + spec.Hooks.PreStart + " " + tt.want; errText(err) != want {
				t.Errorf("got  %q\nwant %q", errText(err), want)
			}
			var foreign *ForeignError
			if errors.As(err, &foreign) != tt.refused {
				t.Errorf("a refusal: %v", !tt.refused)
			}
			if exists(filepath.Join(h.Root, "ran")) {
				t.Error("it ran")
			}
		})
	}
	h, spec := hookHost(t, "")
	spec.Hooks.PreStart += ".none"
	if err := before(t.Context(), h, spec); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a missing hook: %v", err)
	}
	spec.Hooks.PreStart = ""
	if err := before(t.Context(), h, spec); err != nil {
		t.Errorf("no hook: %v", err)
	}
}

func mustRead(t *testing.T, path string) []byte {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// until waits for a fact.
func until(t *testing.T, fact string, holds func() bool) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); !holds(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("in vain: %s", fact)
		}
	}
}

// killNamed ends a process that the test made, by its directory in /proc.
func killNamed(t *testing.T, proc string) {
	t.Helper()
	p, err := os.FindProcess(atoi(t, filepath.Base(proc)))
	if err == nil {
		err = p.Kill()
	}
	if err != nil && !errors.Is(err, os.ErrProcessDone) {
		t.Error(err)
	}
}
