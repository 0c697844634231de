package confsync

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"kvmctl/internal/testenv"
)

// killAt, in the environment, makes this binary a run of the job below a directory that ends by SIGKILL before its n-th step.
const killAt = "KVMHA_TEST_KILL_AT"

func TestMain(m *testing.M) {
	if at := os.Getenv(killAt); at != "" {
		n, err := strconv.Atoi(at)
		if err != nil {
			panic(err)
		}
		e, job := engine(os.Args[1])
		e.Step = func(string) {
			if n--; n == 0 {
				_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
				select {}
			}
		}
		act := func() error { _, err := e.Run(context.Background(), job, false); return err }
		if len(os.Args) > 2 {
			act = func() error { return e.Rollback(context.Background(), job) }
		}
		if err := act(); err != nil {
			panic(err)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// engine is one whose source is the directory there beside here, with a tree and a file.
func engine(dir string) (*Engine, Job) {
	here := filepath.Join(dir, "here")
	e := &Engine{State: filepath.Join(dir, "state"), Source: func(job Job, i int) (string, string) {
		return "", strings.Replace(job.Paths[i], here, filepath.Join(dir, "there"), 1)
	}}
	return e, Job{Name: "dns", Paths: []string{here + "/zones/", here + "/named.conf"}, Exclude: []string{"*.jnl"}, MaxDelete: DefaultMaxDelete, Keep: 2,
		Validate: []string{"/bin/sh", "-c", "! grep -q broken " + here + "/zones/a.zone || { echo line 1: broken; exit 1; }"},
		Reload:   []string{"/bin/sh", "-c", "cat " + here + "/zones/a.zone " + here + "/named.conf >" + dir + "/reloaded"}}
}

// site fills both ends: the source newer, here with a journal of its own.
func site(t *testing.T) (dir string, e *Engine, job Job) {
	t.Helper()
	testenv.Need(t, testenv.Netns)
	dir = t.TempDir()
	for name, text := range map[string]string{
		"there/zones/a.zone": "new zone\n", "there/zones/sub/b.zone": "b\n", "there/zones/a.zone.jnl": "of the source\n", "there/named.conf": "new conf\n",
		"here/zones/a.zone": "old\n", "here/zones/a.zone.jnl": "of here\n", "here/named.conf": "old conf\n", "here/zones/gone.zone": "gone\n",
	} {
		put(t, filepath.Join(dir, name), text)
	}
	e, job = engine(dir)
	return dir, e, job
}

func put(t *testing.T, path, text string) {
	t.Helper()
	if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(text), 0o644)); err != nil {
		t.Fatal(err)
	}
}

// tree is all files below a directory, the places beside apart, as one text.
func tree(t *testing.T, dir string) string {
	t.Helper()
	all, _, err := entries(dir, []string{".*.kvmha"})
	if err != nil {
		t.Fatal(err)
	}
	var lines []string
	for _, name := range []string{"named.conf", "zones/a.zone", "zones/a.zone.jnl", "zones/gone.zone", "zones/sub/b.zone"} {
		info, there := all[name]
		if !there {
			continue
		}
		delete(all, name)
		text, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil || !info.Mode().IsRegular() {
			t.Fatal(name, err)
		}
		lines = append(lines, name+": "+strings.TrimSpace(string(text)))
	}
	for name, info := range all {
		if !info.IsDir() {
			t.Errorf("%s is there, too", name)
		}
	}
	return strings.Join(lines, "\n")
}

const (
	before = "named.conf: old conf\nzones/a.zone: old\nzones/a.zone.jnl: of here\nzones/gone.zone: gone"
	after  = "named.conf: new conf\nzones/a.zone: new zone\nzones/a.zone.jnl: of here\nzones/sub/b.zone: b"
)

func is(t *testing.T, what, got, want string) {
	t.Helper()
	if got != want {
		t.Errorf("%s:\n%s\nwant:\n%s", what, got, want)
	}
}

func TestWhatIsNewIsSwappedInAndBack(t *testing.T) {
	dir, e, job := site(t)
	here := filepath.Join(dir, "here")
	want := Changes{Old: 3, New: 3, Added: 1, Changed: 2, Deleted: 1}
	if got, err := e.Run(t.Context(), job, true); err != nil || got != want {
		t.Fatalf("a dry run counts %+v: %v", got, err)
	}
	is(t, "after a dry run", tree(t, here), before)
	if got, err := e.Run(t.Context(), job, false); err != nil || got != want {
		t.Fatalf("counts %+v: %v", got, err)
	}
	is(t, "after the run", tree(t, here), after)
	text, err := os.ReadFile(filepath.Join(dir, "reloaded"))
	if err != nil {
		t.Fatal(err)
	}
	is(t, "reloaded", string(text), "new zone\nnew conf\n")
	if err := os.Remove(filepath.Join(dir, "reloaded")); err != nil {
		t.Fatal(err)
	}
	if got, err := e.Run(t.Context(), job, false); err != nil || !got.None() {
		t.Fatalf("the second run counts %+v: %v", got, err)
	}
	if inode(filepath.Join(dir, "reloaded")) != 0 {
		t.Error("reloaded although nothing had changed")
	}
	if err := e.Rollback(t.Context(), job); err != nil {
		t.Fatal(err)
	}
	is(t, "after the rollback", tree(t, here), before)
	if err := e.Rollback(t.Context(), job); err != nil {
		t.Fatal(err)
	}
	is(t, "after the second rollback", tree(t, here), after)
}

func TestARollbackWantsAVersion(t *testing.T) {
	_, e, job := site(t)
	if _, ok := errors.AsType[*NothingKeptError](e.Rollback(t.Context(), job)); !ok {
		t.Error("goes back to nothing")
	}
}

func TestWhatIsRefusedChangesNothing(t *testing.T) {
	for name, c := range map[string]struct {
		spoil func(t *testing.T, there string)
		want  string
	}{
		"a zone that the validator refuses": {func(t *testing.T, there string) { put(t, there+"/zones/a.zone", "broken\n") }, "line 1: broken"},
		"an empty directory": {func(t *testing.T, there string) {
			if err := errors.Join(os.RemoveAll(there+"/zones"), os.Mkdir(there+"/zones", 0o755)); err != nil {
				t.Fatal(err)
			}
		}, "zones/ is empty on the source, and has 2 files here"},
		"empty files only": {func(t *testing.T, there string) {
			put(t, there+"/zones/a.zone", "")
			put(t, there+"/zones/sub/b.zone", "")
		}, "zones/ is empty on the source, and has 2 files here"},
		"an empty file": {func(t *testing.T, there string) { put(t, there+"/named.conf", "") }, "named.conf is empty on the source"},
		"no directory": {func(t *testing.T, there string) {
			if err := os.RemoveAll(there + "/zones"); err != nil {
				t.Fatal(err)
			}
		}, "rsync ends with 23"},
		"most of it gone": {func(t *testing.T, there string) {
			for _, n := range []string{"1", "2", "3", "4"} {
				put(t, filepath.Join(filepath.Dir(there), "here/zones", n), n)
			}
		}, "5 of the 6 files in"},
	} {
		t.Run(name, func(t *testing.T) {
			dir, e, job := site(t)
			c.spoil(t, filepath.Join(dir, "there"))
			_, err := e.Run(t.Context(), job, false)
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("says %v", err)
			}
			text, err := os.ReadFile(filepath.Join(dir, "here/zones/a.zone"))
			if err != nil {
				t.Fatal(err)
			}
			is(t, "the zone", string(text), "old\n")
			if inode(filepath.Join(dir, "reloaded")) != 0 {
				t.Error("reloaded")
			}
		})
	}
}

// TestAKillBetweenAnyTwoSteps: what the killed run left is the old or, by the next run, the new; never a mixture of both behind a run's end.
func TestAKillBetweenAnyTwoSteps(t *testing.T) {
	t.Parallel()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	for n := 1; ; n++ {
		dir, e, job := site(t)
		cmd := exec.CommandContext(t.Context(), self, dir)
		cmd.Env = append(os.Environ(), killAt+"="+strconv.Itoa(n))
		out, err := cmd.CombinedOutput()
		if err == nil {
			if n < 12 {
				t.Errorf("only %d steps", n)
			}
			return
		}
		if status, ok := errors.AsType[*exec.ExitError](err); !ok || status.Sys().(syscall.WaitStatus).Signal() != syscall.SIGKILL {
			t.Fatalf("step %d: %v: %s", n, err, out)
		}
		begun := inode(e.journalPath(job.Name)) != 0
		if !begun {
			is(t, "step "+strconv.Itoa(n)+", before the journal", tree(t, filepath.Join(dir, "here")), before)
		} else { // the source goes away: what was begun is finished without it
			e.Source = func(Job, int) (string, string) { return "", filepath.Join(dir, "nowhere") }
		}
		if _, err := e.Run(t.Context(), job, false); begun == (err == nil) {
			t.Errorf("step %d: %v", n, err)
		}
		is(t, "step "+strconv.Itoa(n)+", after the next run", tree(t, filepath.Join(dir, "here")), after)
		text, err := os.ReadFile(filepath.Join(dir, "reloaded"))
		if err != nil {
			t.Fatal(err)
		}
		is(t, "step "+strconv.Itoa(n)+", reloaded", string(text), "new zone\nnew conf\n")
		if err := e.Rollback(t.Context(), job); err != nil {
			t.Errorf("step %d: %v", n, err)
		}
		is(t, "step "+strconv.Itoa(n)+", rolled back", tree(t, filepath.Join(dir, "here")), before)
	}
}

func TestTheSourceFollowsNoLink(t *testing.T) {
	dir := t.TempDir()
	put(t, dir+"/secret/key", "x")
	if err := errors.Join(os.Symlink(dir+"/secret", dir+"/zones"), os.Symlink(dir+"/secret/key", dir+"/file")); err != nil {
		t.Fatal(err)
	}
	for _, p := range []string{dir + "/zones/", dir + "/file", dir + "/secret", dir + "/secret/key/"} {
		if _, ok := errors.AsType[*KindError](Offered(p)); !ok {
			t.Errorf("offers %s", p)
		}
	}
	if err := errors.Join(Offered(dir+"/secret/"), Offered(dir+"/secret/key")); err != nil {
		t.Error(err)
	}
}

func FuzzJournal(f *testing.F) {
	f.Add([]byte(`{"version":1,"from":"new","kept":"old.3","keep":3,"trees":[{"path":"/etc/bind","inode":7}],"reload":["rndc","reload"],"record":{"source":"ab"}}`))
	f.Add([]byte(`{"version":1,"from":"..","trees":[{"path":"etc/../..","inode":0}]}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		j, err := parseJournal(text)
		if err != nil {
			if j.Trees != nil || j.From != "" {
				t.Error("a journal with an error has a value")
			}
			return
		}
		for _, c := range j.Trees {
			if !filepath.IsAbs(c.Path) || strings.Contains(c.Path, "..") && filepath.Clean(c.Path) != c.Path {
				t.Errorf("path %q", c.Path)
			}
		}
	})
}
