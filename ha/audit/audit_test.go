package audit

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"kvmctl/internal/testenv"
)

var at = time.Date(2026, 11, 22, 20, 31, 2, 0, time.UTC)

func entry(n int) Entry {
	return Entry{Time: at.Add(time.Duration(n) * time.Second), Node: "varda2", Group: "dns", From: "standby", To: "promoting", Event: "elected",
		Cause: fmt.Sprintf("varda1 silent, %d", n), Facts: []string{"carrier on"}}
}

// run writes with a log until stop is called.
func run(t *testing.T, l *Log) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() { l.Run(ctx) })
	once := sync.OnceFunc(func() { cancel(); wg.Wait() })
	t.Cleanup(once)
	return once
}

func read(t *testing.T, path string) []Entry {
	t.Helper()
	all, _, bad, err := Read(path)
	if err != nil || bad != 0 {
		t.Fatalf("%d bad, %v", bad, err)
	}
	return all
}

func TestWhatIsRecordedIsRead(t *testing.T) {
	path := filepath.Join(t.TempDir(), "not", "yet", "audit.jsonl")
	also := filepath.Join(t.TempDir(), "kvmha.log")
	l := &Log{Path: path, Also: File{also}}
	var want []Entry
	for n := range 3 {
		want = append(want, entry(n))
		l.Record(want[n])
	}
	run(t, l)() // what waits is written at the end
	if diff := cmp.Diff(want, read(t, path)); diff != "" {
		t.Error(diff)
	}
	text, err := os.ReadFile(also)
	if err != nil {
		t.Fatal(err)
	}
	first, _, _ := strings.Cut(string(text), "\n")
	if want := "2026-11-22T20:31:02Z varda2 dns: standby -> promoting: elected: varda1 silent, 0"; first != want {
		t.Errorf("%q, want %q", first, want)
	}
	if st, err := os.Stat(path); err != nil || st.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", st.Mode(), err)
	}
}

func TestHalfALineOfACrashIsWrittenOver(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit.jsonl")
	whole, err := entry(0).marshal()
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, append(whole, whole[:40]...), 0o600); err != nil {
		t.Fatal(err)
	}
	l := &Log{Path: path}
	l.Record(entry(1))
	run(t, l)()
	if diff := cmp.Diff([]Entry{entry(0), entry(1)}, read(t, path)); diff != "" {
		t.Error(diff)
	}
}

func TestTheLogIsBoundedAndFollowed(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit.jsonl")
	l := &Log{Path: path}
	stop := run(t, l)
	ctx, cancel := context.WithCancel(t.Context())
	var seen []string
	followed := make(chan struct{}, 1)
	var wg sync.WaitGroup
	wg.Go(func() {
		_ = Follow(ctx, path, Place{}, func(e Entry) {
			if seen = append(seen, e.Cause); e.Cause == "last" {
				followed <- struct{}{}
			}
		})
	})
	long := strings.Repeat("x", maxText)
	const many = 2600 // more than two files' worth
	for n := range many {
		e := entry(n)
		e.Facts = []string{long[:maxText-n%7]}
		for len(l.queue()) > waiting/2 { // the test is faster than the disk; the loss of those without room is shown below
			time.Sleep(time.Millisecond)
		}
		l.Record(e)
	}
	l.Record(Entry{Node: "varda2", Group: "dns", To: "active", Cause: "last"})
	select {
	case <-followed:
	case <-time.After(30 * time.Second):
		t.Error("the last entry was not seen")
	}
	cancel()
	wg.Wait()
	stop()
	all := read(t, path)
	if last := all[len(all)-1]; last.Cause != "last" || last.Time.IsZero() {
		t.Errorf("last: %+v", last)
	}
	for i := 1; i < len(all)-1; i++ {
		if got := all[i].Time.Sub(all[i-1].Time); got != time.Second {
			t.Fatalf("%v between %d and %d", got, i-1, i)
		}
	}
	for _, p := range []string{path, path + ".1"} {
		if st, err := os.Stat(p); err != nil || st.Size() > maxFile {
			t.Errorf("%s: %d bytes, %v", p, st.Size(), err)
		}
	}
	if len(seen) == 0 || seen[len(seen)-1] != "last" {
		t.Errorf("followed %d", len(seen))
	}
}

// What is written between reading and following is told, also when the log was rotated between: each entry once.
func TestNothingIsLostBetweenReadAndFollow(t *testing.T) {
	line := func(e Entry) []byte {
		b, err := json.Marshal(e)
		if err != nil {
			t.Fatal(err)
		}
		return append(b, '\n')
	}
	for _, rotated := range []bool{false, true} {
		path := filepath.Join(t.TempDir(), "audit.jsonl")
		put := func(e ...Entry) {
			f, err := os.OpenFile(path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			for _, e := range e {
				if _, err := f.Write(line(e)); err != nil {
					t.Fatal(err)
				}
			}
		}
		put(entry(0), entry(1))
		all, place, bad, err := Read(path)
		if err != nil || bad != 0 {
			t.Fatal(bad, err)
		}
		put(entry(2))
		if rotated {
			if err := os.Rename(path, path+".1"); err != nil {
				t.Fatal(err)
			}
			put(entry(3))
		}
		put(entry(4))
		want := []Entry{entry(0), entry(1), entry(2), entry(3), entry(4)}
		if !rotated {
			want = slices.Delete(want, 3, 4)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
		err = Follow(ctx, path, place, func(e Entry) {
			if all = append(all, e); len(all) == len(want) {
				cancel()
			}
		})
		cancel()
		if diff := cmp.Diff(want, all); diff != "" || err != nil {
			t.Errorf("rotated %v: %v %s", rotated, err, diff)
		}
	}
}

// Nobody waits for a disk: what finds no room is counted, and said by the next line.
func TestAFullQueueIsCounted(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit.jsonl")
	l := &Log{Path: path}
	for n := range waiting + 5 {
		l.Record(entry(n))
	}
	run(t, l)()
	all := read(t, path)
	if len(all) != waiting || all[0].Facts[1] != "5 records before this one were lost" {
		t.Errorf("%d entries, facts %q", len(all), all[0].Facts)
	}
}

func TestAFullDisk(t *testing.T) {
	testenv.Need(t, testenv.Netns)
	dir := t.TempDir()
	if err := unix.Mount("kvmctl-test", dir, "tmpfs", 0, "size=64k"); err != nil {
		t.Fatal(err)
	}
	defer unix.Unmount(dir, unix.MNT_DETACH)
	filler := filepath.Join(dir, "filler")
	if err := os.WriteFile(filler, make([]byte, 64<<10), 0o600); err != nil && !errors.Is(err, unix.ENOSPC) {
		t.Fatal(err)
	}
	states := make(chan error, 16)
	l := &Log{Path: filepath.Join(dir, "audit.jsonl"), Degrade: func(err error) { states <- err }}
	stop := run(t, l)
	l.Record(entry(0))
	next := func() error {
		select {
		case err := <-states:
			return err
		case <-time.After(30 * time.Second):
			t.Fatal("nothing was said")
			return nil
		}
	}
	if err := next(); !errors.Is(err, unix.ENOSPC) {
		t.Errorf("%v", err)
	}
	if err := os.Remove(filler); err != nil {
		t.Fatal(err)
	}
	l.Record(entry(1))
	for err := next(); err != nil; err = next() {
		t.Log(err)
	}
	stop()
	if diff := cmp.Diff([]Entry{entry(0), entry(1)}, read(t, l.Path)); diff != "" {
		t.Error(diff)
	}
}

func FuzzParse(f *testing.F) {
	line, err := entry(1).marshal()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(line)
	f.Add([]byte(`{"time":"2026-11-22T20:31:02Z","group":"dns","to":"act\u0000ive\u2028"}` + "\n{}\n\nnull\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		all, _ := ParseAll(text)
		for _, e := range all {
			if strings.ContainsAny(e.Line(), "\n\r\x1b") {
				t.Errorf("%q", e.Line())
			}
			b, err := e.marshal()
			if err != nil {
				continue // a year that JSON has no words for
			}
			again, err := parse(b)
			if diff := cmp.Diff(e, again); err != nil || diff != "" {
				t.Errorf("%v %s", err, diff)
			}
		}
	})
}

func TestALineForPeople(t *testing.T) {
	for want, e := range map[string]Entry{
		"web: standby -> promoting: elected: no master was heard": {Group: "web", From: "standby", To: "promoting", Event: "elected", Cause: "no master was heard"},
		"web: demoting -> waiting (checks): blocked: check gateway: no answer": {Group: "web", From: "demoting", To: "waiting", Reason: "checks", Event: "blocked",
			Cause: "check gateway: no answer"},
		"web: still waiting (cooling down): blocked: it gave the role away": {Group: "web", From: "waiting", To: "waiting", Reason: "cooling down", Event: "blocked",
			Cause: "it gave the role away"},
		"web: active -> demoting: deposed by 10.2.0.2: better": {Group: "web", From: "active", To: "demoting", Event: "deposed", Cause: "deposed by 10.2.0.2: better"},
	} {
		if got := e.Line(); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}
