package vm

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"kvmctl/internal/testenv"
	"kvmctl/internal/units"
)

// recorded is a host with a guest whose recorder and console hold what a test wrote: no QEMU, no mounts.
type recorded struct {
	*Host
	t *testing.T
}

func record(t *testing.T) recorded {
	t.Helper()
	h := &Host{Layout: library(t), HistorySize: units.MiB, ConsoleSize: 8 * units.KiB}
	for _, sub := range []string{recDirName, conDirName} {
		if err := MakeDirs(h.run("g", sub), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	if err := h.saveState("g", &State{Version: stateVersion, Run: "r", Boot: bootID()}); err != nil {
		t.Fatal(err)
	}
	return recorded{h, t}
}

func (r recorded) put(path, text string) {
	r.t.Helper()
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o600)
	if err != nil {
		r.t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteString(text); err != nil {
		r.t.Fatal(err)
	}
}

func (r recorded) says(names ...string) {
	r.t.Helper()
	for _, n := range names {
		r.put(r.run("g", recDirName, eventsName), `{"timestamp": {"seconds": 1700000000, "microseconds": 5}, "event": "`+n+`"}`+"\r\n")
	}
}

func (r recorded) harvested() {
	r.t.Helper()
	if err := r.Harvest("g"); err != nil {
		r.t.Fatal(err)
	}
}

func (r recorded) events() (all []string) {
	r.t.Helper()
	for _, f := range history(r.t, r.Layout) {
		if f.Kind != KindEvent {
			all = append(all, string(f.Kind))
		} else if f.Count > 0 {
			all = append(all, fmt.Sprintf("%s×%d", f.Event, f.Count))
		} else {
			all = append(all, f.Event)
		}
	}
	return all
}

func TestAHarvestMovesWholeLinesOnce(t *testing.T) {
	r := record(t)
	r.says("RESUME", "STOP", "STOP")
	r.put(r.run("g", recDirName, eventsName), `{"timestamp": {"seconds": 17`)
	r.harvested()
	r.harvested()
	if d := cmp.Diff([]string{"RESUME", "STOP×2"}, r.events()); d != "" {
		t.Error(d)
	}
	r.put(r.run("g", recDirName, eventsName), `00000000, "microseconds": 5}, "event": "RESET"}`+"\r\n")
	r.harvested()
	if d := cmp.Diff([]string{"RESUME", "STOP×2", "RESET"}, r.events()); d != "" {
		t.Error(d)
	}
}

func TestAHarvestThatWasKilledBeforeItsCursorNotesNothingTwice(t *testing.T) {
	r := record(t)
	r.says("RESUME", "STOP")
	unread, err := os.ReadFile(r.run("g", recDirName, eventsName))
	if err != nil {
		t.Fatal(err)
	}
	r.harvested()
	if err := os.Remove(r.run("g", cursorName)); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(r.run("g", recDirName, eventsName), unread, 0o600); err != nil { // as if nothing was punched out
		t.Fatal(err)
	}
	r.says("RESET")
	r.harvested()
	if d := cmp.Diff([]string{"RESUME", "STOP", "RESET"}, r.events()); d != "" {
		t.Error(d)
	}
}

func TestALostCursorPutsNoHoleIntoTheConsolesLog(t *testing.T) {
	r := record(t)
	r.put(r.ConsoleLive("g"), strings.Repeat("x", 3<<20)+"first\n")
	r.harvested()
	if err := os.WriteFile(r.run("g", cursorName), []byte("damaged"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{r.ConsoleLog("g"), r.ConsoleLogOld("g")} {
		_ = os.Remove(path)
	}
	r.put(r.ConsoleLive("g"), "second\n")
	r.harvested()
	b, err := os.ReadFile(r.ConsoleLog("g"))
	if err != nil || string(b) != "second\n" {
		t.Errorf("%q, %v", b, err)
	}
}

func TestTheConsolesLogKeepsTheNewestPart(t *testing.T) {
	r := record(t)
	for i := range 1000 {
		r.put(r.ConsoleLive("g"), fmt.Sprintf("line %d\n", i))
		if i%50 == 0 {
			r.harvested()
		}
	}
	r.harvested()
	old, err1 := os.ReadFile(r.ConsoleLogOld("g"))
	now, err2 := os.ReadFile(r.ConsoleLog("g"))
	if err1 != nil || err2 != nil || len(old) > 4<<10 || len(now) > 4<<10 {
		t.Fatalf("%d and %d bytes, %v, %v", len(old), len(now), err1, err2)
	}
	both := string(old) + string(now)
	first, _, _ := strings.Cut(both, "\n")
	var from int
	if _, err := fmt.Sscanf(first, "line %d", &from); err != nil {
		t.Fatalf("the log begins with %q", first)
	}
	var want strings.Builder
	for i := from; i < 1000; i++ {
		fmt.Fprintf(&want, "line %d\n", i)
	}
	if both != want.String() {
		t.Errorf("a gap after line %d", from)
	}
}

// A recorder may be set larger than the history, and a guest can fill it with events that differ.
func TestOneHarvestDoesNotOutgrowTheHistory(t *testing.T) {
	r := record(t)
	r.HistorySize = 4 * units.KiB
	for range 200 {
		r.says("STOP", "RESUME")
	}
	r.says("SHUTDOWN")
	r.harvested()
	for _, path := range []string{r.History("g"), r.HistoryOld("g")} {
		if st, err := os.Stat(path); err != nil || st.Size() > int64(r.HistorySize)/2 {
			t.Errorf("%v, %v", st, err)
		}
	}
	if all := r.events(); len(all) < 10 || all[len(all)-1] != "SHUTDOWN" {
		t.Errorf("the newest are not kept: %q", all)
	}
}

// More events than one scan takes: all of them are moved, at the latest when the guest is buried.
func TestAHarvestGoesOnUntilNothingIsLeft(t *testing.T) {
	r := record(t)
	r.HistorySize = 64 * units.MiB
	var b strings.Builder
	for range 1<<16 + 10 {
		b.WriteString(`{"timestamp": {"seconds": 1700000000, "microseconds": 5}, "event": "ACPI_DEVICE_OST"}` + "\r\n")
	}
	r.put(r.run("g", recDirName, eventsName), b.String())
	r.says("SHUTDOWN")
	r.harvested()
	if d := cmp.Diff([]string{fmt.Sprintf("ACPI_DEVICE_OST×%d", 1<<16+10), "SHUTDOWN"}, r.events()); d != "" {
		t.Error(d)
	}
}

func TestTornLinesSayThatEventsAreMissing(t *testing.T) {
	r := record(t)
	r.says("RESUME")
	r.put(r.run("g", recDirName, eventsName), `{"timestamp": {"sec`) // the log was full here
	r.says("STOP")
	r.harvested()
	if d := cmp.Diff([]string{"RESUME", "STOP", "logfull"}, r.events()); d != "" {
		t.Error(d)
	}
}

func letGo(t *testing.T, r recorded) bool {
	t.Helper()
	ran, err := r.letGo("g")
	if err != nil {
		t.Fatal(err)
	}
	return ran
}

func TestAGuestThatWasLetGoIsKnownByItsRESUME(t *testing.T) {
	r := record(t)
	if letGo(t, r) {
		t.Error("an empty recorder lets go")
	}
	r.says("STOP")
	if letGo(t, r) {
		t.Error("STOP lets go")
	}
	r.says("RESUME")
	if !letGo(t, r) {
		t.Error("RESUME does not let go")
	}
	if err := os.Truncate(r.History("g"), 0); err != nil { // rotated away
		t.Fatal(err)
	}
	r.says("STOP")
	if !letGo(t, r) {
		t.Error("it was forgotten")
	}
}

// A guest can write so many events that the start of its own run is rotated out of the history.
func TestARunIsBuriedWhoseStartWasRotatedAway(t *testing.T) {
	testenv.Need(t, testenv.Netns) // root, to unmount what might be mounted
	r := record(t)
	r.HistorySize = 4 * units.KiB
	write(t, r.Layout, r.HistorySize, Fact{Kind: KindStart, Run: "r", Boot: bootID()})
	for i := range 100 {
		r.says([]string{"STOP", "RESUME"}[i%2])
		r.harvested()
	}
	if run, _ := factsOf(history(t, r.Layout), "r"); run[0].Kind == KindStart {
		t.Fatal("the start is still there")
	}
	r.put(r.run("g", recDirName, eventsName), `{"timestamp": {"seconds": 1700000000, "microseconds": 5}, "event": "SHUTDOWN", `+
		`"data": {"guest": true, "reason": "guest-shutdown"}}`+"\r\n")
	if err := r.bury("g", false); err != nil {
		t.Fatal(err)
	}
	if facts := history(t, r.Layout); facts[len(facts)-1].Kind != KindEnd {
		t.Errorf("its end is not noted: %+v", facts[len(facts)-1])
	}
	if got := r.stoppedStatus("g"); got.State != StateStopped || !strings.HasPrefix(got.Note, "guest shut down") {
		t.Errorf("%s %q", got.State, got.Note)
	}
	if _, err := os.Stat(r.RunDir("g")); !os.IsNotExist(err) {
		t.Errorf("the run directory is still there: %v", err)
	}
}

func TestMuchTalkOfHooksDoesNotHideTheEnd(t *testing.T) {
	r := record(t)
	write(t, r.Layout, r.HistorySize, Fact{Kind: KindStart, Run: "r", Boot: bootID()},
		Fact{Kind: KindEnd, Run: "r", State: StateStopped, Reason: "guest shut down"},
		Fact{Kind: KindHook, Reason: strings.Repeat("\x01", maxHookOutput)}) // six bytes each in JSON
	if got := r.stoppedStatus("g"); got.Note != "guest shut down" {
		t.Errorf("%+v", got)
	}
}

func TestStoppedStatusWords(t *testing.T) {
	for _, tt := range []struct {
		name  string
		facts []Fact
		state StateWord
		note  string
	}{
		{"nothing", nil, StateStopped, "never started"},
		{"the host went down", []Fact{{Kind: KindStart, Run: "a", Boot: "another"}}, StateStopped, "the host went down while it ran and came up again"},
		{"a start failed", []Fact{{Kind: KindStart, Run: "a", Boot: bootID()}, {Kind: KindEnd, Run: "a", State: StateStopped, Reason: "start failed: x"},
			{Kind: KindNote, Run: "a", Reason: "QEMU said: x"}}, StateStopped, "start failed: x"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			h := &Host{Layout: library(t)}
			write(t, h.Layout, units.MiB, tt.facts...)
			if got := h.stoppedStatus("g"); got.State != tt.state || got.Note != tt.note {
				t.Errorf("%s %q, want %s %q", got.State, got.Note, tt.state, tt.note)
			}
		})
	}
}

func TestMakeDirsWhateverTheUmask(t *testing.T) {
	root := t.TempDir()
	if err := MakeDirs(filepath.Join(root, "a/b/c"), 0o711); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]os.FileMode{"a": 0o755, "a/b": 0o755, "a/b/c": 0o711} {
		if st, err := os.Stat(filepath.Join(root, path)); err != nil || st.Mode().Perm() != want {
			t.Errorf("%s: %v, %v", path, st.Mode(), err)
		}
	}
}

// A guest can make QEMU talk by failing devices. What it said last is kept, and nothing that is in a file's middle moves.
func TestLongWordsOfQEMUAreTrimmedToTheirEnd(t *testing.T) {
	h := &Host{Layout: Layout{Root: t.TempDir()}}
	path := h.run("g", conDirName, stderrName)
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	blocks := func() int64 {
		t.Helper()
		var st unix.Stat_t
		if err := unix.Stat(path, &st); err != nil {
			t.Fatal(err)
		}
		return st.Blocks * 512
	}
	for _, tt := range []struct{ size, kept int }{{0, 0}, {maxStderr, maxStderr}, {maxStderr * 3, keepStderr}} {
		said := bytes.Repeat([]byte("0123456789abcde\n"), tt.size/16)
		if err := os.WriteFile(path, said, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := h.trimStderr("g"); err != nil {
			t.Fatal(err)
		}
		got, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if len(got) != len(said) || !bytes.Equal(got[len(got)-tt.kept:], said[len(said)-tt.kept:]) {
			t.Errorf("%d bytes: the end of what QEMU said is lost", tt.size)
		}
		if took := blocks(); took > int64(tt.kept)+8192 {
			t.Errorf("%d bytes: %d are still in use, want %d", tt.size, took, tt.kept)
		}
	}
}
