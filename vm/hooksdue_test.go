package vm

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"kvmctl/internal/testenv"
	"kvmctl/internal/units"
)

func TestWhatAnEndTellsItsHooks(t *testing.T) {
	resumed, ended := event("r", "RESUME", ""), func(s StateWord, why string) *Fact { return &Fact{Kind: KindEnd, Run: "r", State: s, Reason: why} }
	begun := start("r")
	begun.PID = 77
	never := hookNews{State: StateStopped, Reason: "its start failed or was interrupted"}
	for _, tt := range []struct {
		name     string
		run      []Fact
		end      *Fact
		rebooted bool
		want     hookEnd
	}{
		{"killed before anything", nil, nil, false, hookEnd{news: never}},
		{"killed before anything, then the host", nil, nil, true, hookEnd{news: never}},
		{"QEMU refused", []Fact{begun}, ended(StateStopped, "start failed: no"), false,
			hookEnd{news: hookNews{StateStopped, "start failed: no", 77}}},
		{"stopped", []Fact{begun, resumed, asked(RungACPI), down("guest-shutdown")}, ended(StateStopped, "guest shut down"), false,
			hookEnd{news: hookNews{StateStopped, "guest shut down", 77}, ran: true}},
		{"crashed", []Fact{begun, resumed}, ended(StateCrashed, "gone"), false,
			hookEnd{news: hookNews{StateCrashed, "gone", 77}, ran: true, crashed: true}},
		{"panicked", []Fact{begun, resumed, down("guest-panic")}, ended(StateStopped, "guest panicked"), false,
			hookEnd{news: hookNews{StateCrashed, "guest panicked", 77}, ran: true, crashed: true}},
		{"the end was not noted", []Fact{begun, resumed}, nil, false,
			hookEnd{news: hookNews{StateCrashed, "QEMU ended without a word: SIGKILL, out of memory, or a crash", 77}, ran: true, crashed: true}},
		{"a power cut", []Fact{begun}, nil, true,
			hookEnd{news: hookNews{StateStopped, "the host went down while it ran", 77}, ran: true}},
		{"the beginning was rotated away", []Fact{event("r", "BLOCK_IO_ERROR", "")}, ended(StateStopped, "guest shut down"), false,
			hookEnd{news: hookNews{StateStopped, "guest shut down", 0}, ran: true}},
		{"interrupted before it ran", []Fact{begun}, ended(StateStopped, "its start was interrupted before it ran"), false,
			hookEnd{news: hookNews{StateStopped, "its start was interrupted before it ran", 77}}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if d := cmp.Diff(tt.want, hookEndOf(tt.run, tt.end, !tt.rebooted), cmp.AllowUnexported(hookEnd{})); d != "" {
				t.Error(d)
			}
		})
	}
}

func TestWhichHooksAnEndOwes(t *testing.T) {
	h := &Host{Hooks: Hooks{PreStart: "/h/pre", PostStop: "/h/post", OnCrash: "/h/crash", Timeout: time.Second}}
	h.Layout = library(t)
	if err := h.oweHooks(&Spec{Name: "g", Hooks: Hooks{PostStop: "/g/post", OnCrash: "/g/crash", Timeout: time.Second}}, "r"); err != nil {
		t.Fatal(err)
	}
	d, err := h.loadDue("g")
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name string
		end  hookEnd
		want string
	}{
		{"a crash", hookEnd{ran: true, crashed: true}, "/g/crash /h/crash /g/post /h/post"},
		{"an end", hookEnd{ran: true}, "/g/post /h/post"},
		{"a start that failed: only the host had a pre_start", hookEnd{}, "/h/post"},
	} {
		var got []string
		for _, c := range d.owed(tt.end) {
			got = append(got, c.Path)
		}
		if s := strings.Join(got, " "); s != tt.want {
			t.Errorf("%s: %s, want %s", tt.name, s, tt.want)
		}
	}
}

// owing is a host whose guest has crashed; its hooks for that and for the end write into one file.
func owing(t *testing.T) (*Host, func() string) {
	t.Helper()
	testenv.Need(t, testenv.Netns) // root, to whom hooks belong
	h := &Host{Layout: library(t), HistorySize: units.MiB}
	path := filepath.Join(h.Root, "hook")
	script := "#!/bin/sh\necho \"$KVM_HOOK $KVM_EVENT $KVM_PID $KVM_REASON\" >>\"$KVM_ROOT/ran\"\n[ $KVM_HOOK != on_crash ] || exit 5\n" +
		"grep on_crash \"$KVM_ROOT/var/lib/kvm/g/hooks.due\" && echo on_crash is still due >>\"$KVM_ROOT/ran\"\nexit 0\n"
	if err := os.WriteFile(path, []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	spec := &Spec{Name: "g", Hooks: Hooks{PostStop: path, OnCrash: path, Timeout: 20 * time.Second}}
	if err := h.oweHooks(spec, "r"); err != nil {
		t.Fatal(err)
	}
	begun := start("r")
	begun.PID = 77
	write(t, h.Layout, h.HistorySize, begun, event("r", "RESUME", ""), Fact{Kind: KindEnd, Run: "r", State: StateCrashed, Reason: "gone"})
	return h, func() string {
		b, err := os.ReadFile(filepath.Join(h.Root, "ran"))
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			t.Fatal(err)
		}
		return string(b)
	}
}

const bothRan = "on_crash crashed 77 gone\npost_stop crashed 77 gone\n"

func TestWhatIsOwedIsPaidOnceWhoeverComes(t *testing.T) {
	h, ran := owing(t)
	var wg sync.WaitGroup
	var failed sync.Map
	for i := range 4 {
		wg.Go(func() {
			notes, err := h.Notice(t.Context(), "g")
			if err != nil {
				t.Error(err)
			}
			for _, n := range notes {
				failed.Store(i, n)
			}
		})
	}
	wg.Wait()
	if got := ran(); got != bothRan {
		t.Errorf("%q", got)
	}
	var notes []string
	failed.Range(func(_, n any) bool { notes = append(notes, n.(string)); return true })
	if d := cmp.Diff([]string{"hook on_crash (" + h.Root + "/hook): exit status 5"}, notes); d != "" {
		t.Error(d)
	}
	if h.HooksOwed("g") {
		t.Error("still owed")
	}
}

func TestAnEndThatOwesNothingLeavesNoDebt(t *testing.T) {
	h := &Host{Layout: library(t), HistorySize: units.MiB}
	if err := h.oweHooks(&Spec{Name: "g", Hooks: Hooks{OnCrash: "/g/crash", Timeout: time.Second}}, "r"); err != nil {
		t.Fatal(err)
	}
	write(t, h.Layout, h.HistorySize, start("r"), event("r", "RESUME", ""), Fact{Kind: KindEnd, Run: "r", State: StateStopped, Reason: "guest shut down"})
	if notes, err := h.Notice(t.Context(), "g"); err != nil || notes != nil || h.HooksOwed("g") {
		t.Errorf("%v %v, owed %v", notes, err, h.HooksOwed("g"))
	}
}

// A hook that ended is not run again when kvmctl is killed before the next one; one that was begun and not struck out is.
func TestOnlyWhatIsStruckOutIsNotRunAgain(t *testing.T) {
	h, ran := owing(t)
	d, err := h.loadDue("g")
	if err != nil {
		t.Fatal(err)
	}
	d.Calls = d.Calls[1:]
	if err := h.saveDue("g", d); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := h.WithLock(t.Context(), "g", "test", func(bool) error { return nil }); err != nil {
			t.Fatal(err)
		}
	}
	if got := ran(); got != "post_stop crashed 77 gone\n" {
		t.Errorf("%q", got)
	}
}

func TestThoseWhoOnlyLookRunNoHook(t *testing.T) {
	h, ran := owing(t)
	h.Status(t.Context(), []string{"g"})
	h.EndOf("g", "r")
	if got := ran(); got != "" || !h.HooksOwed("g") {
		t.Errorf("%q", got)
	}
	if _, err := h.Stop(t.Context(), &Spec{Name: "g"}, StopOptions{}); err != nil { // its file may be broken or gone: no hooks in it
		t.Fatal(err)
	}
	if got := ran(); got != bothRan {
		t.Errorf("%q", got)
	}
}

func TestAPaymentThatCannotBeReadIsAnErrorWithAWayOut(t *testing.T) {
	h, _ := owing(t)
	if err := os.WriteFile(h.HooksDue("g"), []byte("{}"), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := h.Notice(t.Context(), "g")
	var due *DueError
	if !errors.As(err, &due) || due.Hint() != "run its post_stop by hand if it matters, then: rm "+h.HooksDue("g") {
		t.Errorf("%v", err)
	}
}

// FuzzDecodeDue: what is taken has calls that can be run, and is taken again as it is written.
func FuzzDecodeDue(f *testing.F) {
	f.Add([]byte(`{"version":1,"run":"r","boot":"b","calls":[{"hook":"post_stop","path":"/x","timeout_ns":5,"prepared":true}]}`))
	f.Add([]byte(`{"version":1,"run":"r","calls":[{"hook":"pre_start","path":"/x","timeout_ns":5}]}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		d, err := decodeDue(b)
		if err != nil {
			if d != nil {
				t.Fatal("both")
			}
			return
		}
		for _, c := range d.owed(hookEnd{ran: true, crashed: true}) {
			if !filepath.IsAbs(c.Path) || c.Timeout <= 0 {
				t.Fatalf("%+v", c)
			}
		}
	})
}
