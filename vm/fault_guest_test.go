package vm_test

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"kvmctl/internal/flock"
	"kvmctl/internal/units"
	"kvmctl/test/guest"
	"kvmctl/vm"
	"kvmctl/vm/qmp"
	"kvmctl/vm/vmtest"
)

// statusPromise is how long a table may take, wedged guests or not; late is what a busy machine and the race detector add to it.
const (
	statusPromise = 300 * time.Millisecond
	late          = 3
)

// idle describes a guest that costs no processor: its firmware finds nothing to boot. It hears no power button.
func (h site) idle(name string) *vm.Spec {
	h.t.Helper()
	s := vmtest.Spec(h.t, h.Host, name)
	s.Kernel, s.Initrd, s.Cmdline = "", "", ""
	return s
}

// execute runs a command on a guest's monitor and harvests nothing.
func (h site) execute(name, command string) {
	h.t.Helper()
	ctx, cancel := context.WithTimeout(h.t.Context(), vmtest.Patience)
	defer cancel()
	c, closeMonitor, err := h.Monitor(ctx, name)
	if err != nil {
		h.t.Fatalf("monitor of %s: %v", name, err)
	}
	defer closeMonitor()
	err = c.Execute(ctx, command, nil, nil)
	if command == "quit" && errors.Is(err, qmp.ErrClosed) {
		return // QEMU may be gone before its answer is sent
	}
	if err != nil {
		h.t.Fatal(err)
	}
}

// endedByItself waits until a guest's QEMU is gone, and looks at nothing else.
func (h site) endedByItself(name string) {
	h.t.Helper()
	p := vmtest.Owner(h.t, h.Host, name)
	if p == nil {
		return
	}
	defer p.Close()
	if !p.Wait(h.t.Context(), vmtest.Patience) {
		h.t.Fatalf("%s does not end", name)
	}
}

// shows compares what a table says of a guest. A busy machine may keep a well QEMU silent for longer than a table waits: that is no
// answer yet, unless it is the one that is wanted.
func (h site) shows(name string, state vm.StateWord, note string) vm.Status {
	h.t.Helper()
	var s vm.Status
	h.until("QEMU of "+name+" answers", func() bool {
		s = h.status(name)
		return s.State != vm.StateWedged || state == vm.StateWedged
	})
	if s.State != state || s.Note != note || s.Err != nil {
		h.t.Errorf("%s is %s %q (%v), want %s %q", name, s.State, s.Note, s.Err, state, note)
	}
	return s
}

// facts gives a guest's history.
func (h site) facts(name string) []vm.Fact {
	h.t.Helper()
	all, err := h.Log(name)
	if err != nil {
		h.t.Fatal(err)
	}
	return all
}

// said counts the facts of a kind in a history, and of an event, if one is named.
func (h site) said(name string, kind vm.FactKind, event string) (n int) {
	h.t.Helper()
	for _, f := range h.facts(name) {
		if f.Kind == kind && (event == "" || f.Event == event) {
			n += max(1, f.Count)
		}
	}
	return n
}

func size(t *testing.T, path string) int64 {
	t.Helper()
	st, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return 0
	}
	if err != nil {
		t.Fatal(err)
	}
	return st.Size()
}

func room(t *testing.T, dir string) uint64 {
	t.Helper()
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		t.Fatal(err)
	}
	return st.Bfree
}

// Nobody looks while the guest fills its recorder: QEMU loses the last words, and the guest is not called crashed for it.
func TestAnUnseenFloodOfEventsEndsAsAFullLog(t *testing.T) {
	t.Parallel()
	h := newSite(t)
	s := vmtest.Spec(t, h.Host, "vm-flood", guest.FloodEvents)
	vmtest.Start(t, h.Host, s)
	events := filepath.Join(h.RunDir(s.Name), "rec", "events")
	h.until("the recorder is full", func() bool { return size(t, events) == int64(h.RecorderSize) })
	began := time.Now()
	h.execute(s.Name, "query-status")
	t.Logf("QMP answers under the flood in %v", time.Since(began).Round(time.Millisecond))
	h.execute(s.Name, "system_powerdown")
	h.endedByItself(s.Name)
	h.shows(s.Name, vm.StateStopped, "reason unknown: log full")
	if h.said(s.Name, vm.KindLogFull, "") == 0 || h.said(s.Name, vm.KindEvent, "ACPI_DEVICE_OST") < 1000 {
		t.Errorf("%+v", h.facts(s.Name))
	}
	h.nothingLeft(s.Name)
}

// Every command that looks makes room: the guest's end is seen, and its history keeps its size whatever it writes.
func TestAFloodOfEventsThatIsHarvestedHidesNothing(t *testing.T) {
	t.Parallel()
	h := newSite(t)
	h.HistorySize, h.RecorderSize = 8*units.KiB, 32*units.KiB
	s := vmtest.Spec(t, h.Host, "vm-flood", guest.FloodEvents)
	vmtest.Start(t, h.Host, s)
	h.until("the recorder is full", func() bool { return room(t, filepath.Join(h.RunDir(s.Name), "rec")) == 0 })
	bounded := func() {
		t.Helper()
		for _, path := range []string{h.History(s.Name), h.HistoryOld(s.Name)} {
			if n := size(t, path); n > int64(h.HistorySize)/2 {
				t.Fatalf("%s has %d bytes", path, n)
			}
		}
	}
	var last os.FileInfo
	rotations := 0
	h.until("the history is rotated twice", func() bool {
		h.shows(s.Name, vm.StateRunning, "")
		bounded()
		now, err := os.Stat(h.History(s.Name))
		if err != nil {
			t.Fatal(err)
		}
		if last != nil && !os.SameFile(last, now) {
			rotations++
		}
		last = now
		return rotations == 2
	})
	got := h.stopSeen(s, vm.StopOptions{Timeout: vmtest.Patience})
	seen := h.said(s.Name, vm.KindEvent, "SHUTDOWN") > 0
	switch {
	case got.Rung != vm.RungACPI || !got.Clean,
		seen && !strings.HasPrefix(got.Reason, "guest shut down"),
		!seen && got.Reason != "reason unknown: log full":
		t.Errorf("%+v, the end seen: %v", got, seen)
	}
	bounded()
	h.shows(s.Name, vm.StateStopped, got.Reason)
}

// The flood pauses, a command looks and so makes room: what comes then is seen, although the log was full before.
func TestALogThatWasFullHidesNoLaterEnd(t *testing.T) {
	t.Parallel()
	h := newSite(t)
	h.RecorderSize = 32 * units.KiB
	s := vmtest.Spec(t, h.Host, "vm-flood", guest.FloodEvents)
	vmtest.Start(t, h.Host, s)
	h.until("the recorder is full", func() bool { return room(t, filepath.Join(h.RunDir(s.Name), "rec")) == 0 })
	h.execute(s.Name, "stop")
	h.shows(s.Name, vm.StatePaused, "")
	got := h.stopSeen(s, byForce)
	wantStop(t, got, vm.RungQuit, true, "ended by kvmctl stop (quit)", "quit")
	if h.said(s.Name, vm.KindLogFull, "") == 0 || h.said(s.Name, vm.KindEvent, "SHUTDOWN") != 1 {
		t.Errorf("%+v", h.facts(s.Name))
	}
}

// The log fills up and loses the end while somebody harvests what was there before: the room that makes must not hide it.
func TestALogThatFillsUpDuringAHarvestIsKnownToHaveBeenFull(t *testing.T) {
	t.Parallel()
	h := newSite(t)
	h.RecorderSize = 4 * units.MiB
	s := vmtest.Spec(t, h.Host, "vm-flood", guest.FloodEvents)
	vmtest.Start(t, h.Host, s)
	dir := filepath.Join(h.RunDir(s.Name), "rec")
	events := filepath.Join(dir, "events")
	h.until("the recorder holds much, but not all that it can", func() bool {
		if size(t, events) < 64<<10 {
			return false
		}
		h.execute(s.Name, "stop")
		if room(t, dir) > 0 {
			return true
		}
		h.shows(s.Name, vm.StatePaused, "") // it was too quick for us: again
		h.execute(s.Name, "cont")
		return false
	})
	// A harvest that dawdles between its reading and its writing.
	harvester, reading, goOn, harvested := *h.Host, make(chan struct{}), make(chan struct{}), make(chan error, 1)
	harvester.Step = func(step string) {
		if step == "events read" {
			close(reading)
			<-goOn
		}
	}
	go func() { harvested <- harvester.Harvest(s.Name) }()
	defer func() { // on every way out
		select {
		case <-goOn:
		default:
			close(goOn)
		}
	}()
	select {
	case <-reading:
	case err := <-harvested:
		t.Fatalf("the harvest read nothing (%v)", err)
	case <-time.After(vmtest.Patience):
		t.Fatal("the harvest does not read")
	}
	h.execute(s.Name, "cont")
	h.until("the recorder is full to its last byte", func() bool { return room(t, dir) == 0 && size(t, events)%4096 == 0 })
	h.execute(s.Name, "quit")
	h.endedByItself(s.Name)
	close(goOn)
	if err := <-harvested; err != nil {
		t.Fatal(err)
	}
	h.shows(s.Name, vm.StateStopped, "reason unknown: log full")
}

func TestAGuestThatResetsForEverIsCountedAndStopped(t *testing.T) {
	t.Parallel()
	h := newSite(t)
	s := vmtest.Spec(t, h.Host, "vm-reset", guest.FloodReset)
	pid := vmtest.Start(t, h.Host, s).PID
	h.until("a reset", func() bool {
		if st := h.shows(s.Name, vm.StateRunning, ""); st.PID != pid {
			t.Fatalf("pid %d, started as %d", st.PID, pid)
		}
		return h.said(s.Name, vm.KindEvent, "RESET") > 0
	})
	got := h.stopSeen(s, vm.StopOptions{Force: true})
	if got.Rung != vm.RungQuit || !got.Clean || got.Reason != "ended by kvmctl stop (quit)" {
		t.Errorf("%+v", got)
	}
}

func TestAFloodOfTheConsoleIsBoundedAndMoved(t *testing.T) {
	t.Parallel()
	h := newSite(t)
	h.ConsoleSize = 128 * units.KiB
	s := vmtest.Spec(t, h.Host, "vm-flood", guest.FloodConsole)
	pid := vmtest.Start(t, h.Host, s).PID
	dir := filepath.Join(h.RunDir(s.Name), "con")
	h.until("the console's log is full", func() bool { return room(t, dir) == 0 })
	if n := size(t, h.ConsoleLive(s.Name)); n > int64(h.ConsoleSize) {
		t.Errorf("the tmpfs of %v holds %d bytes", h.ConsoleSize, n)
	}
	h.execute(s.Name, "query-status")
	full := 0
	var last os.FileInfo
	for rounds := 0; rounds < 3; {
		h.until("the console's log is full again", func() bool { return room(t, dir) == 0 })
		if st := h.shows(s.Name, vm.StateRunning, ""); st.PID != pid {
			t.Fatalf("pid %d, started as %d", st.PID, pid)
		}
		for _, path := range []string{h.ConsoleLog(s.Name), h.ConsoleLogOld(s.Name)} {
			if n := size(t, path); n > int64(h.ConsoleSize)/2 {
				t.Fatalf("%s has %d bytes", path, n)
			}
		}
		now, err := os.Stat(h.ConsoleLog(s.Name))
		if err != nil {
			t.Fatal(err)
		}
		if last == nil || !os.SameFile(last, now) {
			rounds++
		}
		last = now
		b, err := os.ReadFile(h.ConsoleLog(s.Name))
		if err != nil {
			t.Fatal(err)
		}
		if strings.HasSuffix(string(b), "\r\n[kvmctl: the console's log was full here: output is missing]\r\n") {
			full++
		}
		if !strings.Contains(string(b), "the quick brown fox jumps over the lazy dog\r\n") {
			t.Fatal("the log is of something else")
		}
	}
	if full < 3 {
		t.Errorf("the log says %d times that output is missing", full)
	}
	if size(t, h.ConsoleLogOld(s.Name)) == 0 {
		t.Error("the log was not rotated")
	}
}

func TestAQEMUThatWasKilledIsCrashedAndStartsAgain(t *testing.T) {
	t.Parallel()
	h := newSite(t)
	s := h.idle("vm-olorin")
	vmtest.Start(t, h.Host, s)
	vmtest.Kill(t, h.Host, s.Name)
	const words = "QEMU ended without a word: SIGKILL, out of memory, or a crash"
	for range 2 { // the one that notices, and one that reads
		h.shows(s.Name, vm.StateCrashed, words)
	}
	h.nothingLeft(s.Name)
	all := h.facts(s.Name)
	if end := all[len(all)-1]; end.Kind != vm.KindEnd || end.State != vm.StateCrashed || end.Reason != words || end.Run != all[0].Run {
		t.Errorf("the log ends with %+v", end)
	}
	if st := vmtest.Start(t, h.Host, s); st.Already {
		t.Error("it ran already")
	}
	h.shows(s.Name, vm.StateRunning, "")
}

// The next start, too, notices what nobody saw.
func TestAStartNoticesTheCrashBeforeIt(t *testing.T) {
	t.Parallel()
	h := newSite(t)
	s := h.idle("vm-olorin")
	vmtest.Start(t, h.Host, s)
	vmtest.Kill(t, h.Host, s.Name)
	if st := vmtest.Start(t, h.Host, s); st.Already {
		t.Error("it ran already")
	}
	var kinds []vm.FactKind
	for _, f := range h.facts(s.Name) {
		if f.Kind != vm.KindEvent {
			kinds = append(kinds, f.Kind)
		}
	}
	if d := cmp.Diff([]vm.FactKind{vm.KindStart, vm.KindEnd, vm.KindStart}, kinds); d != "" {
		t.Error(d)
	}
}

func TestATableIsNotHeldUpByStoppedQEMUs(t *testing.T) {
	h := newSite(t) // alone: it measures
	names := []string{"vm-olorin", "vm-varda", "vm-ulmo"}
	for _, name := range names {
		vmtest.Start(t, h.Host, h.idle(name))
	}
	states := func() (all []string) {
		for _, s := range h.Overview(t.Context(), names) {
			all = append(all, strings.TrimSpace(string(s.State)+" "+s.Note))
		}
		return all
	}
	h.signal("vm-olorin", unix.SIGSTOP)
	h.signal("vm-ulmo", unix.SIGSTOP)
	began := time.Now()
	got := states()
	took := time.Since(began)
	t.Logf("status of 3 guests, 2 under SIGSTOP: %v", took.Round(time.Millisecond))
	if took > late*statusPromise {
		t.Errorf("it took %v", took)
	}
	if d := cmp.Diff([]string{"wedged QEMU does not answer", "running", "wedged QEMU does not answer"}, got); d != "" {
		t.Error(d)
	}
	h.signal("vm-olorin", unix.SIGCONT)
	h.signal("vm-ulmo", unix.SIGCONT)
	h.until("all three run again", func() bool { return cmp.Equal([]string{"running", "running", "running"}, states()) })
}

func TestAnotherKvmctlOnTheMonitorIsNoWedge(t *testing.T) {
	t.Parallel()
	h := newSite(t)
	s := h.idle("vm-olorin")
	vmtest.Start(t, h.Host, s)
	lock := filepath.Join(h.RunDir(s.Name), "qmp.lock")
	hold := func() *flock.Lock {
		t.Helper()
		l, err := flock.TryLock(lock)
		if err != nil {
			t.Fatal(err)
		}
		return l
	}
	const busy = "its monitor is in use by another kvmctl"
	l := hold()
	h.wantState(s.Name, vm.StateRunning, busy)
	l.Unlock()
	// One that lets go late leaves less time than an answer may take. QEMU stands still so that it surely takes longer.
	h.signal(s.Name, unix.SIGSTOP)
	l = hold()
	time.AfterFunc(150*time.Millisecond, func() { l.Unlock() })
	h.wantState(s.Name, vm.StateRunning, busy)
	h.until("the monitor is free", func() bool { return h.status(s.Name).Note != busy })
	h.wantState(s.Name, vm.StateWedged, "QEMU does not answer")
	h.signal(s.Name, unix.SIGCONT)
	h.shows(s.Name, vm.StateRunning, "")
}

func TestAGuestThatEndsByItselfIsNoticedByTheNextCommand(t *testing.T) {
	for _, tt := range []struct{ name, words, reason, console string }{
		{"it powers itself off", guest.Exit + "1", "guest shut down", guest.Off},
		{"its kernel panics", guest.Panic, "guest panicked", "Kernel panic"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			h := newSite(t)
			s := vmtest.Spec(t, h.Host, "vm-olorin", tt.words)
			began := time.Now()
			vmtest.Start(t, h.Host, s)
			h.endedByItself(s.Name)
			h.shows(s.Name, vm.StateStopped, tt.reason)
			h.nothingLeft(s.Name)
			all := h.facts(s.Name)
			end := all[len(all)-1]
			if end.Kind != vm.KindEnd || end.Reason != tt.reason || end.Noticed == nil {
				t.Fatalf("the log ends with %+v", end)
			}
			if end.Time.Before(began) || end.Noticed.Before(end.Time) {
				t.Errorf("ended at %v, noticed at %v", end.Time, end.Noticed)
			}
			var b strings.Builder
			if err := h.ReplayConsole(h.within(), s.Name, &b); err != nil || !strings.Contains(b.String(), tt.console) {
				t.Errorf("%v; the console's last words were lost:\n%s", err, b.String())
			}
			if got := h.stopSeen(s, vm.StopOptions{Timeout: vmtest.Patience}); got.Rung != vm.RungNone || !got.Clean {
				t.Errorf("a stop after the end: %+v", got)
			}
		})
	}
}

func TestTheABILockKeepsItsBytesAndADryRunTouchesNothing(t *testing.T) {
	t.Parallel()
	h := newSite(t)
	s := h.idle("vm-olorin")
	prepare := func(when string) {
		t.Helper()
		before := h.tree(s.Name)
		if _, err := h.Prepare(t.Context(), s); err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(before, h.tree(s.Name)); d != "" {
			t.Errorf("a dry run %s left traces:\n%s", when, d)
		}
	}
	prepare("before the first start")
	first := vmtest.Start(t, h.Host, s)
	argv := h.argv(s)
	lock, err := os.ReadFile(h.ABILock(s.Name))
	if err != nil {
		t.Fatal(err)
	}
	prepare("of a running guest")
	vmtest.Kill(t, h.Host, s.Name)
	prepare("of a crashed guest")
	second := vmtest.Start(t, h.Host, s)
	if second.Already || second.PID == first.PID {
		t.Errorf("no second start: %+v", second)
	}
	again, err := os.ReadFile(h.ABILock(s.Name))
	if err != nil || string(again) != string(lock) {
		t.Errorf("the lock changed (%v):\n%s\n%s", err, lock, again)
	}
	if d := cmp.Diff(argv, h.argv(s)); d != "" {
		t.Errorf("the machine changed:\n%s", d)
	}
}

// tree lists everything that belongs to a guest, with what would betray a change.
func (h site) tree(name string) map[string]string {
	h.t.Helper()
	all := map[string]string{}
	for _, dir := range []string{h.GuestEtcDir(name), h.GuestLibDir(name), h.RunDir(name), h.GuestLock(name)} {
		err := filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
			if err != nil {
				return err
			}
			var st unix.Stat_t
			if err := unix.Lstat(path, &st); err != nil {
				return err
			}
			grows := strings.HasSuffix(path, "/rec/events") || strings.HasSuffix(path, "/con/console") // QEMU's own
			if grows {
				st.Mtim, st.Ctim, st.Size = unix.Timespec{}, unix.Timespec{}, 0
			}
			all[path] = strings.Join([]string{fs.FileMode(st.Mode).String(), units.Size(st.Size).String(),
				time.Unix(st.Mtim.Unix()).String(), time.Unix(st.Ctim.Unix()).String()}, " ")
			return nil
		})
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			h.t.Fatal(err)
		}
	}
	return all
}
