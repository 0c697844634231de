package confsync

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// held is what Run says while a rollback keeps the source's files away.
func held(err error) bool {
	_, is := errors.AsType[*HeldError](err)
	return is
}

func TestARollbackHoldsUntilTheSourceChanges(t *testing.T) {
	t.Parallel()
	dir, e, job := site(t)
	here := filepath.Join(dir, "here")
	if _, err := e.Run(t.Context(), job, false); err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{"a.zone.jnl": "of here, later\n", "leases.jnl": "1\n"} { // what is excluded changes nothing, and stays
		put(t, here+"/zones/"+name+".new", text)
		if err := os.Rename(here+"/zones/"+name+".new", here+"/zones/"+name); err != nil {
			t.Fatal(err)
		}
	}
	began := time.Now().Add(-time.Second)
	if err := e.Rollback(t.Context(), job); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if _, err := e.Run(t.Context(), job, false); !held(err) {
			t.Fatalf("the next pass: %v", err)
		}
	}
	if text, err := os.ReadFile(here + "/zones/leases.jnl"); err != nil || string(text) != "1\n" {
		t.Errorf("an excluded file that came behind the swap: %q, %v", text, err)
	}
	if err := os.Remove(here + "/zones/leases.jnl"); err != nil {
		t.Fatal(err)
	}
	is(t, "after passes", tree(t, here), strings.Replace(before, "of here", "of here, later", 1))
	if since, err := Held(e.State, job.Name); err != nil || since.Before(began) || time.Since(since) < 0 {
		t.Errorf("held since %v, %v", since, err)
	}
	if _, err := os.Stat(here + "/.zones.kvmha/new"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("what was staged: %v", err)
	}

	// What is refused is no change that ends it.
	put(t, dir+"/there/zones/a.zone", "broken\n")
	if _, err := e.Run(t.Context(), job, false); err == nil || held(err) {
		t.Fatalf("a broken one: %v", err)
	}
	if since, err := Held(e.State, job.Name); err != nil || since.IsZero() {
		t.Errorf("behind a refused run held since %v, %v", since, err)
	}
	put(t, dir+"/there/zones/a.zone", "newer zone\n")
	if c, err := e.Run(t.Context(), job, false); err != nil || c.None() {
		t.Fatalf("a change: %+v, %v", c, err)
	}
	got, err := os.ReadFile(here + "/zones/a.zone")
	if err != nil || string(got) != "newer zone\n" {
		t.Errorf("behind the change: %q, %v", got, err)
	}
	if since, err := Held(e.State, job.Name); err != nil || !since.IsZero() {
		t.Errorf("behind the change held since %v, %v", since, err)
	}
}

func TestAPersonEndsARollback(t *testing.T) {
	dir, e, job := site(t)
	if _, err := e.Run(t.Context(), job, false); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(recordPath(e.State, job.Name)); err != nil { // then the next pass tells what is put away
		t.Fatal(err)
	}
	if err := e.Rollback(t.Context(), job); err != nil {
		t.Fatal(err)
	}
	if _, err := e.Run(t.Context(), job, false); !held(err) {
		t.Fatalf("the next pass: %v", err)
	}
	e.Anyway = true
	if c, err := e.Run(t.Context(), job, true); err != nil || c.None() {
		t.Fatalf("a dry run: %+v, %v", c, err)
	}
	if since, err := Held(e.State, job.Name); err != nil || since.IsZero() {
		t.Errorf("behind a dry run held since %v, %v", since, err)
	}
	if c, err := e.Run(t.Context(), job, false); err != nil || c.None() {
		t.Fatalf("%+v, %v", c, err)
	}
	is(t, "by hand", tree(t, filepath.Join(dir, "here")), after)
	if since, err := Held(e.State, job.Name); err != nil || !since.IsZero() {
		t.Errorf("held since %v, %v", since, err)
	}
}

// A rollback that is undone by another one holds nothing any more.
func TestARollbackThatIsUndoneEnds(t *testing.T) {
	_, e, job := site(t)
	_, err := e.Run(t.Context(), job, false)
	if err := errors.Join(err, e.Rollback(t.Context(), job), e.Rollback(t.Context(), job)); err != nil {
		t.Fatal(err)
	}
	if since, err := Held(e.State, job.Name); err != nil || !since.IsZero() {
		t.Errorf("held since %v, %v", since, err)
	}
	if c, err := e.Run(t.Context(), job, false); err != nil || !c.None() {
		t.Fatalf("%+v, %v", c, err)
	}
	if since, err := Held(e.State, job.Name); err != nil || !since.IsZero() {
		t.Errorf("held since %v, %v", since, err)
	}
}

// A rollback that is killed is finished by the next pass, or was none; once it is one it holds.
func TestAKilledRollback(t *testing.T) {
	t.Parallel()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	for n := 1; ; n++ {
		dir, e, job := site(t)
		if _, err := e.Run(t.Context(), job, false); err != nil {
			t.Fatal(err)
		}
		cmd := exec.CommandContext(t.Context(), self, dir, "rollback")
		cmd.Env = append(os.Environ(), killAt+"="+strconv.Itoa(n))
		out, err := cmd.CombinedOutput()
		if err == nil {
			if n < 10 {
				t.Errorf("only %d steps", n)
			}
			return
		}
		if status, ok := errors.AsType[*exec.ExitError](err); !ok || status.Sys().(syscall.WaitStatus).Signal() != syscall.SIGKILL {
			t.Fatalf("step %d: %v: %s", n, err, out)
		}
		begun := inode(e.journalPath(job.Name)) != 0
		want := map[bool]string{false: after, true: before}[begun]
		for range 2 {
			if _, err := e.Run(t.Context(), job, false); held(err) != begun || err != nil && !begun {
				t.Errorf("step %d: %v", n, err)
			}
			is(t, "step "+strconv.Itoa(n)+", after the next run", tree(t, filepath.Join(dir, "here")), want)
		}
		e.Anyway = true
		if _, err := e.Run(t.Context(), job, false); err != nil {
			t.Errorf("step %d: %v", n, err)
		}
		is(t, "step "+strconv.Itoa(n)+", by hand", tree(t, filepath.Join(dir, "here")), after)
	}
}

// A reload that failed behind a rollback is tried again, too.
func TestARollbackThatIsNotInUse(t *testing.T) {
	dir, e, job := site(t)
	if _, err := e.Run(t.Context(), job, false); err != nil {
		t.Fatal(err)
	}
	good := job.Reload
	job.Reload = []string{"/bin/false"}
	if err := e.Rollback(t.Context(), job); err == nil {
		t.Error("the reload did not fail")
	}
	if _, err := e.Run(t.Context(), job, false); err == nil || held(err) {
		t.Errorf("the next pass: %v", err)
	}
	job.Reload = good
	if _, err := e.Run(t.Context(), job, false); !held(err) {
		t.Errorf("the pass behind it: %v", err)
	}
	if text, err := os.ReadFile(filepath.Join(dir, "reloaded")); err != nil || string(text) != "old\nold conf\n" {
		t.Errorf("reloaded: %q, %v", text, err)
	}
	if err := os.Remove(filepath.Join(dir, "reloaded")); err != nil {
		t.Error(err)
	}
	if _, err := e.Run(t.Context(), job, false); !held(err) || inode(filepath.Join(dir, "reloaded")) != 0 {
		t.Errorf("reloaded twice: %v", err)
	}
}

// What is put in place again has to be newer than what it replaces: BIND compares the times, and loads nothing older.
func TestARollbackLooksNew(t *testing.T) {
	dir, e, job := site(t)
	zone, same := filepath.Join(dir, "here/zones/a.zone"), filepath.Join(dir, "here/zones/same.zone")
	old := time.Now().Add(-24 * time.Hour)
	put(t, same, "same\n")
	put(t, dir+"/there/zones/same.zone", "same\n")
	for _, p := range []string{zone, same, dir + "/there/zones/same.zone"} {
		if err := os.Chtimes(p, old, old); err != nil {
			t.Fatal(err)
		}
	}
	modified := func(p string) time.Time {
		info, err := os.Stat(p)
		if err != nil {
			t.Fatal(err)
		}
		return info.ModTime()
	}
	if _, err := e.Run(t.Context(), job, false); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		last := modified(zone)
		if err := e.Rollback(t.Context(), job); err != nil {
			t.Fatal(err)
		}
		if now := modified(zone); !now.After(last) {
			t.Errorf("%v behind %v", now, last)
		}
		if now := modified(same); !now.Equal(old) {
			t.Errorf("what has not changed is of %v, not %v", now, old)
		}
	}

	// Neither does what ends the rollback, which does not come twice for that.
	e.Anyway = true
	last := modified(zone)
	if c, err := e.Run(t.Context(), job, false); err != nil || c.None() {
		t.Fatalf("%+v, %v", c, err)
	}
	if now := modified(zone); !now.After(last) {
		t.Errorf("%v behind %v", now, last)
	}
	for range 2 {
		if c, err := e.Run(t.Context(), job, false); err != nil || !c.None() {
			t.Fatalf("again: %+v, %v", c, err)
		}
	}
	put(t, zone, "of here\n") // as ever
	if c, err := e.Run(t.Context(), job, false); err != nil || c.None() {
		t.Fatalf("what was changed here: %+v, %v", c, err)
	}
}

func TestSoManyVersionsAreKept(t *testing.T) {
	t.Parallel()
	dir, e, job := site(t)
	here := filepath.Join(dir, "here")
	began := time.Now().Add(-2 * time.Second)
	for i := range 4 {
		put(t, dir+"/there/zones/a.zone", fmt.Sprintf("zone %d\n", i))
		if _, err := e.Run(t.Context(), job, false); err != nil {
			t.Fatal(err)
		}
	}
	numbers := func() (text string) {
		all, err := Versions(job)
		if err != nil {
			t.Fatal(err)
		}
		for _, v := range all {
			text += fmt.Sprintf("%d: %d files\n", v.Number, v.Files)
			if v.Until.Before(began) || time.Since(v.Until) < 0 {
				t.Errorf("version %d until %v", v.Number, v.Until)
			}
		}
		return text
	}
	is(t, "versions", numbers(), "4: 4 files\n3: 4 files\n")
	if names, err := os.ReadDir(here + "/.zones.kvmha"); err != nil || len(names) != 3 || names[2].Name() != spare {
		t.Errorf("beside: %v, %v", names, err)
	}
	if err := e.RollbackTo(t.Context(), job, 2); err == nil || err.Error() != "version 2 is not kept" {
		t.Errorf("one that is gone: %v", err)
	}
	if err := e.RollbackTo(t.Context(), job, 3); err != nil {
		t.Fatal(err)
	}
	is(t, "behind a rollback", numbers(), "5: 4 files\n4: 4 files\n")
	for _, want := range []string{"zone 1\n", "zone 3\n", "zone 1\n"} {
		got, err := os.ReadFile(here + "/zones/a.zone")
		if err != nil || string(got) != want {
			t.Errorf("in place: %q, %v, want %q", got, err, want)
		}
		if err := e.Rollback(t.Context(), job); err != nil {
			t.Fatal(err)
		}
	}
}

func FuzzRecord(f *testing.F) {
	f.Add([]byte(`{"version":1,"source":"ab","held":"2026-01-02T03:04:05Z"}`))
	f.Add([]byte(`{"version":2}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		if r, err := parseRecord(text); err != nil && r != (record{}) {
			t.Error("a record with an error has a value")
		}
	})
}
